"""simultaneous: both ends close at the same moment, and their FINs cross."""

import asyncio
from typing import Final

from utcp.scenes.scene import Scene
from utcp.scenes.stage import LATENCY, PAUSE, Reader, Stage, Writer
from utcp.scenes.text import Text
from utcp.tcp.state import CLOSED, CLOSING, ESTABLISHED, FIN_WAIT_1, LISTEN, SYN_RCVD, SYN_SENT, TIME_WAIT

FINS: Final = Text(
    "Both applications close in the same moment, and the two FINs cross on their way.",
    "两端的应用程序在同一时刻关闭，两个 FIN 在途中交错。",
)
ACKS: Final = Text(
    "Each end waits for an ACK and gets a FIN: CLOSING. It acknowledges that, and still waits for the ACK of its own.",
    "两端等的都是 ACK，收到的却是 FIN，于是进入 CLOSING：先确认对方的 FIN，再继续等待对己方 FIN 的确认。",
)
WAITING: Final = Text(
    "Both have closed first, so both are in TIME_WAIT.",
    "双方都是主动关闭方，所以双方都进入 TIME_WAIT。",
)


async def play(stage: Stage) -> None:
    now = asyncio.Event()

    async def serve(_: Reader, writer: Writer) -> None:
        await now.wait()
        writer.close()
        await writer.wait_closed()

    await stage.server_endpoint(serve)
    endpoint = await stage.client_endpoint()
    _, writer = await stage.open(endpoint)
    await asyncio.sleep(PAUSE)
    stage.note(FINS)
    now.set()
    writer.close()
    await asyncio.sleep(LATENCY / 2)
    stage.note(ACKS)
    await writer.wait_closed()
    await stage.served()
    stage.note(WAITING)
    await stage.until("client", CLOSED)
    await asyncio.sleep(PAUSE)

    both = (ESTABLISHED, FIN_WAIT_1, CLOSING, TIME_WAIT, CLOSED)
    stage.expect_paths((CLOSED, SYN_SENT, *both), (LISTEN, SYN_RCVD, *both))
    stage.expect_time_wait("client", 2 * endpoint.config.msl)
    stage.expect_time_wait("server", 2 * endpoint.config.msl)
    crossing = sorted(stage.closing(), key=lambda arrow: (arrow.sent or 0.0, arrow.sender))
    stage.expect_segments(
        crossing,
        "client FIN,ACK 1 ack 1",
        "server FIN,ACK 1 ack 1",
        "client ACK 2 ack 2",
        "server ACK 2 ack 2",
    )
    first, second = crossing[:2]
    stage.expect("the FINs crossed", first.sent == second.sent and first.received == second.received, True)


SCENE: Final = Scene(
    name="simultaneous",
    title=Text("Simultaneous close", "同时关闭"),
    before=(
        Text(
            "Nothing keeps both ends from closing at once. Each sends its FIN before the other's has arrived, so"
            " neither is the one that closes second: CLOSE_WAIT and LAST_ACK do not occur, and CLOSING does.",
            "双方完全可能同时关闭连接。每一端都在收到对方的 FIN 之前就发出了自己的 FIN，"
            "因此谁也不是被动关闭方：CLOSE_WAIT 和 LAST_ACK 都不会出现，取而代之的是 CLOSING。",
        ),
    ),
    after=(
        Text(
            "CLOSING means: the peer's FIN is here, the ACK of ours is not. It is left by that ACK alone, so the FIN"
            " has to be retransmitted in CLOSING as well. Both ends keep the ports for 2 MSL then: it costs twice.",
            "CLOSING 的含义是：对方的 FIN 已到，对己方 FIN 的确认还没有到。只有等到这个确认才能离开 CLOSING，"
            "所以在 CLOSING 状态下同样必须重传 FIN。之后两端都要把端口保留 2 MSL，代价是双份的。",
        ),
    ),
    sources="RFC 9293 3.6, 3.10.7.4",
    knobs="msl, fin_retries",
    script=play,
)
