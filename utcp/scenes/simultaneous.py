"""simultaneous: both ends close at the same time, and their FINs cross."""

import asyncio
from typing import Final

from utcp.scenes.scene import Scene
from utcp.scenes.stage import ACCEPT, LATENCY, OPEN, PAUSE, Reader, Stage, Writer, close
from utcp.tcp.state import CLOSED


async def play(stage: Stage) -> None:
    now = asyncio.Event()

    async def serve(_: Reader, writer: Writer) -> None:
        await now.wait()
        await close(writer)

    await stage.server_endpoint(serve)
    endpoint = await stage.client_endpoint()
    _, writer = await stage.open(endpoint)
    await asyncio.sleep(PAUSE)
    stage.note("fins")
    now.set()
    writer.close()
    await asyncio.sleep(LATENCY / 2)
    stage.note("acks")
    await writer.wait_closed()
    await stage.served()
    stage.note("waiting")
    await stage.until("client", CLOSED)
    await asyncio.sleep(PAUSE)

    both = "FIN_WAIT_1 > CLOSING > TIME_WAIT > CLOSED"
    stage.expect_paths(f"{OPEN} > {both}", f"{ACCEPT} > {both}")
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


SCENE: Final = Scene.load("simultaneous", play)
