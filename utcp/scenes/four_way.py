"""four-way: the client closes first, and the server still has two messages to say."""

import asyncio
from typing import Final

from utcp.scenes.scene import Scene
from utcp.scenes.stage import ACTIVE, PASSIVE, PAUSE, Reader, Stage, Writer
from utcp.scenes.text import Text
from utcp.tcp.state import CLOSED

REQUEST: Final = b"That is all I wanted to say.\n"
ANSWERS: Final = (b"I have two things to add.\n", b"This was the second.\n")

OPENING: Final = Text(
    "The handshake: each end tells the other where its sequence numbers begin.",
    "三次握手：双方各自把初始序号告诉对方。",
)
REQUESTING: Final = Text("The client says what it has to say.", "客户端把要说的话说完。")
FIRST_FIN: Final = Text(
    'First: the client\'s FIN. "No more data from me." It goes on receiving.',
    "第一次挥手：客户端发出 FIN，表示“我不再发送数据”，但仍可以接收。",
)
FIRST_ACK: Final = Text(
    "Second was the server's ACK, at once. Its application read end-of-file, and still has two messages.",
    "第二次挥手是服务器立即发回的 ACK。它的应用程序读到了文件结束，但还有两条消息要说。",
)
SECOND_FIN: Final = Text(
    "Third: now the server has finished, and sends its FIN. Fourth: the client's ACK.",
    "第三次挥手：服务器也说完了，发出 FIN。第四次挥手：客户端发回 ACK。",
)
WAITING: Final = Text(
    "TIME_WAIT: the client keeps the ports for 2 MSL = {seconds:g} s. The server has nothing left to remember.",
    "TIME_WAIT：客户端把这对端口再保留 2 MSL = {seconds:g} 秒。服务器则已不必记住任何东西。",
)


async def play(stage: Stage) -> None:
    heard = []

    async def serve(reader: Reader, writer: Writer) -> None:
        heard.append(await reader.read())
        await asyncio.sleep(PAUSE)
        stage.note(FIRST_ACK)
        for answer in ANSWERS:
            writer.write(answer)
            await asyncio.sleep(PAUSE)
        stage.note(SECOND_FIN)
        writer.close()
        await writer.wait_closed()

    await stage.server_endpoint(serve)
    endpoint = await stage.client_endpoint()
    stage.note(OPENING)
    reader, writer = await stage.open(endpoint)
    await asyncio.sleep(PAUSE)
    stage.note(REQUESTING)
    writer.write(REQUEST)
    await asyncio.sleep(PAUSE)
    stage.note(FIRST_FIN)
    writer.write_eof()
    answers = await reader.read()
    writer.close()
    await writer.wait_closed()
    await stage.served()
    stage.note(WAITING.format(seconds=2 * endpoint.config.msl))
    await stage.until("client", CLOSED)

    stage.expect("the server read", heard, [REQUEST])
    stage.expect("the client read", answers, b"".join(ANSWERS))
    stage.expect_paths(ACTIVE, PASSIVE)
    stage.expect_time_wait("client", 2 * endpoint.config.msl)
    stage.expect_segments(
        stage.closing(),
        "client FIN,ACK 30 ack 1",
        "server ACK 1 ack 31",
        "server PSH,ACK 1:27 ack 31",
        "client ACK 31 ack 27",
        "server PSH,ACK 27:48 ack 31",
        "client ACK 31 ack 48",
        "server FIN,ACK 48 ack 31",
        "client ACK 31 ack 49",
    )


SCENE: Final = Scene(
    name="four-way",
    title=Text("Four segments close a connection", "四次挥手"),
    before=(
        Text(
            "A TCP connection is two streams of bytes, one each way, and each is closed by itself: a FIN says that no"
            " more bytes will follow, and an ACK answers it. Two FINs and two ACKs make four segments. Between the"
            " first two and the last two, the end that has not finished goes on sending.",
            "一条 TCP 连接包含两个方向的字节流，每个方向单独关闭：FIN 表示后面不再有数据，对方用 ACK 确认。"
            "两个 FIN 加两个 ACK，一共四个报文段，这就是四次挥手。在前两次挥手与后两次挥手之间，"
            "还没有说完的一方可以继续发送数据。",
        ),
        Text(
            "Watch the states. The end that closes first goes through FIN_WAIT_1 and FIN_WAIT_2 to TIME_WAIT; the other"
            " one goes through CLOSE_WAIT and LAST_ACK to CLOSED.",
            "请留意状态的变化：先关闭的一方（主动关闭方）经 FIN_WAIT_1、FIN_WAIT_2 进入 TIME_WAIT；"
            "另一方（被动关闭方）经 CLOSE_WAIT、LAST_ACK 到达 CLOSED。",
        ),
    ),
    after=(
        Text(
            "The ACK of a FIN does not wait for the application: TCP sends it at once, and the application closes when"
            " it likes. This is why closing takes four segments where opening takes three.",
            "对 FIN 的确认不等应用程序：TCP 立即发出 ACK，应用程序什么时候关闭由它自己决定。"
            "所以建立连接只需三次握手，释放连接却需要四次挥手。",
        ),
        Text(
            "Only the end that closes first has a TIME_WAIT: it cannot know whether its last ACK has arrived.",
            "只有先关闭的一方才有 TIME_WAIT，因为它无从知道自己的最后一个 ACK 是否已经到达。",
        ),
    ),
    sources="RFC 9293 3.6, 3.10.7.4",
    knobs="msl",
    script=play,
)
