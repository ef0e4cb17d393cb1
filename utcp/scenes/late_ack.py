"""late-ack: a server that answers the FIN only after all its data. The client resends its FIN, for nothing."""

import asyncio
from typing import Final

from utcp.scenes.scene import Scene
from utcp.scenes.scripted import ScriptedServer
from utcp.scenes.stage import PAUSE, Stage
from utcp.scenes.text import Text
from utcp.tcp.state import CLOSED, ESTABLISHED, FIN_WAIT_1, LAST_ACK, LISTEN, SYN_RCVD, SYN_SENT, TIME_WAIT
from utcp.wire import ACK, FIN, PSH, SYN

REQUEST: Final = b"That is all I wanted to say.\n"
ANSWERS: Final = (b"I have two things to add.\n", b"This was the second.\n")

OPENING: Final = Text(
    "The server is a script. Up to here it does what a TCP does.",
    "这里的服务器是一段脚本。到此为止，它的行为与真正的 TCP 无异。",
)
FIRST_FIN: Final = Text(
    "The client's FIN arrives. A TCP would acknowledge it now: ACK {ack}. The script says nothing.",
    "客户端的 FIN 到达。真正的 TCP 会立即确认：ACK {ack}。脚本却一声不响。",
)
DATA: Final = Text(
    "What the script sends acknowledges the data before the FIN, and not the FIN: ack={ack}.",
    "脚本发出的报文段只确认 FIN 之前的数据，不确认 FIN 本身：ack={ack}。",
)
LAST: Final = Text(
    "At last one segment acknowledges the FIN and ends the other direction: straight to TIME_WAIT.",
    "终于有一个报文段既确认了 FIN，又结束了另一个方向：客户端直接进入 TIME_WAIT。",
)
NEEDLESS: Final = Text(
    "{count} retransmissions of a FIN that had arrived at the first try.",
    "FIN 第一次发送就已到达，却被重传了 {count} 次。",
)


async def play(stage: Stage) -> None:
    server = ScriptedServer(stage)
    answering = stage.server.run(answer(stage, server))
    endpoint = await stage.client_endpoint()
    reader, writer = await stage.open(endpoint)
    await asyncio.sleep(PAUSE)
    stage.note(OPENING)
    writer.write(REQUEST)
    await asyncio.sleep(PAUSE)
    stage.note(FIRST_FIN.format(ack=len(REQUEST) + 2))
    writer.write_eof()
    answers = await reader.read()
    writer.close()
    await writer.wait_closed()
    heard = await answering
    resent = [arrow for arrow in stage.closing() if arrow.retransmission]
    stage.note(NEEDLESS.format(count=len(resent)))
    await stage.until("client", CLOSED)
    server.close()

    stage.expect("the server read", heard, REQUEST)
    stage.expect("the client read", answers, b"".join(ANSWERS))
    stage.expect_paths(
        (CLOSED, SYN_SENT, ESTABLISHED, FIN_WAIT_1, TIME_WAIT, CLOSED),
        (LISTEN, SYN_RCVD, ESTABLISHED, LAST_ACK, CLOSED),
    )
    stage.expect_time_wait("client", 2 * endpoint.config.msl)
    fin = len(REQUEST) + 1
    stage.expect_segments(resent, f"client FIN,ACK {fin} ack 1", f"client FIN,ACK {fin} ack 27")
    first = stage.closing()[0]
    stage.expect("the first FIN had arrived before it was resent", (first.received or 99) < (resent[0].sent or 0), True)


async def answer(stage: Stage, server: ScriptedServer) -> bytes:
    """The server: a TCP that takes a FIN for something that its application answers. What it has read."""
    syn = await server.receive(lambda segment: segment.flags & SYN)
    server.accept(syn)
    server.enter(SYN_RCVD)
    server.send(SYN, 0, 1)
    await server.receive(lambda segment: segment.flags & ACK)
    server.enter(ESTABLISHED)
    request = await server.receive(lambda segment: segment.payload)
    heard = len(request.payload) + 1
    server.send(0, 1, heard)

    await server.receive(lambda segment: segment.flags & FIN)
    said = 1
    for message in ANSWERS:
        await asyncio.sleep(PAUSE)
        if said == 1:
            stage.note(DATA.format(ack=heard))
        server.send(PSH, said, heard, message)
        said += len(message)
    await asyncio.sleep(PAUSE)
    stage.note(LAST)
    server.enter(LAST_ACK)
    server.send(FIN, said, heard + 1)
    await server.receive(lambda segment: server.is_acknowledged(segment, said + 1))
    server.enter(CLOSED)
    return bytes(request.payload)


SCENE: Final = Scene(
    name="late-ack",
    title=Text("A FIN acknowledged too late", "迟到的确认"),
    before=(
        Text(
            "Many take the ACK of a FIN for the application's answer: the server finishes what it has to say, and then"
            " acknowledges. This scene has such a server. It is faked: a script, which speaks segments by hand, because"
            " utcp acknowledges a FIN when it arrives. The client is utcp.",
            "常有人误以为对 FIN 的确认是应用程序的答复：服务器先把要说的话说完，然后才确认。本场景就有这样一个服务器。"
            "它是人为安排的：一段手工收发报文段的脚本，因为 utcp 收到 FIN 会立即确认。客户端则是真正的 utcp。",
        ),
        Text(
            "The client cannot tell a FIN that was lost from one that is being ignored. Its retransmission timer"
            " expires, and the FIN goes out again, for nothing.",
            "客户端分辨不出 FIN 是丢失了，还是被对方搁置。重传定时器到期，它只能重传 FIN，而这毫无用处。",
        ),
    ),
    after=(
        Text(
            "Compare four-way: the same words, and nothing sent twice. An ACK means that TCP has received, not that the"
            " application has dealt with it or is done. The client stays in FIN_WAIT_1 with its timer doubling; if the"
            " server talks long enough, the client gives up, though nothing is wrong with the connection.",
            "对照 four-way：说的话一样，那里却没有任何报文段需要重传。ACK 的意思是 TCP 已经收到，"
            "而不是应用程序已经处理或者已经说完。客户端一直停留在 FIN_WAIT_1，重传超时每次加倍；"
            "如果服务器说得足够久，客户端就会放弃这条本来毫无问题的连接。",
        ),
    ),
    sources="RFC 9293 3.10.7.4 (eighth check), 3.8.1, 3.8.3; RFC 6298 5",
    knobs="rto_min, rto_initial, retries, fin_retries",
    script=play,
)
