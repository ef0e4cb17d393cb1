"""three-way: the server has nothing left to say, and its ACK and its FIN are one segment."""

import asyncio
from typing import Final

from utcp.scenes.scene import Scene
from utcp.scenes.stage import PASSIVE, PAUSE, Reader, Stage, Writer
from utcp.scenes.text import Text
from utcp.tcp.state import CLOSED, ESTABLISHED, FIN_WAIT_1, SYN_SENT, TIME_WAIT

REQUEST: Final = b"That is all. You too?\n"

OPENING: Final = Text("Three segments open the connection.", "三次握手建立连接。")
CLOSING: Final = Text(
    "The client closes. The server, at end-of-file, closes too, at once: its ACK takes its FIN along.",
    "客户端关闭连接。服务器读到文件结束，也立刻关闭：ACK 与 FIN 合成一个报文段发回。",
)
WAITING: Final = Text(
    "FIN_WAIT_2 was skipped. TIME_WAIT is as long as ever: 2 MSL = {seconds:g} s.",
    "FIN_WAIT_2 被跳过了。TIME_WAIT 则和往常一样长：2 MSL = {seconds:g} 秒。",
)


async def play(stage: Stage) -> None:
    heard = []

    async def serve(reader: Reader, writer: Writer) -> None:
        heard.append(await reader.read())
        writer.close()
        await writer.wait_closed()

    await stage.server_endpoint(serve)
    endpoint = await stage.client_endpoint()
    stage.note(OPENING)
    _, writer = await stage.open(endpoint)
    await asyncio.sleep(PAUSE)
    writer.write(REQUEST)
    await asyncio.sleep(PAUSE)
    stage.note(CLOSING)
    writer.close()
    await writer.wait_closed()
    await stage.served()
    stage.note(WAITING.format(seconds=2 * endpoint.config.msl))
    await stage.until("client", CLOSED)

    stage.expect("the server read", heard, [REQUEST])
    stage.expect_paths((CLOSED, SYN_SENT, ESTABLISHED, FIN_WAIT_1, TIME_WAIT, CLOSED), PASSIVE)
    stage.expect_time_wait("client", 2 * endpoint.config.msl)
    stage.expect_segments(
        stage.closing(),
        "client FIN,ACK 23 ack 1",
        "server FIN,ACK 1 ack 24",
        "client ACK 24 ack 2",
    )


SCENE: Final = Scene(
    name="three-way",
    title=Text("Three segments are enough", "四次挥手变三次"),
    before=(
        Text(
            "A server that has nothing left to say closes as soon as it reads end-of-file. Then its FIN need not follow"
            " its ACK: one segment is both, and three segments close the connection, as three have opened it.",
            "如果服务器已经没有数据要发，读到文件结束就立刻关闭，那么它的 FIN 不必跟在 ACK 后面单独发送："
            "两者可以合并成一个报文段。于是释放连接也只用三个报文段，和建立连接一样。",
        ),
    ),
    after=(
        Text(
            "Nothing in the protocol is special here: each FIN is acknowledged, only by fewer segments. The FIN with"
            " the ACK takes the client from FIN_WAIT_1 straight to TIME_WAIT.",
            "协议本身没有任何特殊处理：每个 FIN 都得到了确认，只是报文段少了一个。"
            "带着 ACK 的 FIN 让客户端从 FIN_WAIT_1 直接进入 TIME_WAIT。",
        ),
        Text(
            "The ACK never waits for a FIN. utcp sends once the applications that a segment has woken have run: whoever"
            " closes in that moment saves a segment, and whoever does not has its FIN acknowledged all the same.",
            "ACK 从不等待 FIN。报文段唤醒的应用程序先运行一轮，utcp 随后才发送：应用程序若恰好在这时关闭，"
            "就省下一个报文段；若没有关闭，对方的 FIN 照样立即得到确认。",
        ),
    ),
    sources="RFC 9293 3.6, 3.10.7.4",
    knobs="msl",
    script=play,
)
