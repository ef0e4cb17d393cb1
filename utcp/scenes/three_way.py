"""three-way: the server has no more data, so its ACK and its FIN are one segment."""

import asyncio
from typing import Final

from utcp.scenes.scene import Scene
from utcp.scenes.stage import OPEN, PASSIVE, PAUSE, Reader, Stage, Writer, close
from utcp.tcp.state import CLOSED

REQUEST: Final = b"That is all. You too?\n"


async def play(stage: Stage) -> None:
    heard = []

    async def serve(reader: Reader, writer: Writer) -> None:
        heard.append(await reader.read())
        await close(writer)

    await stage.server_endpoint(serve)
    endpoint = await stage.client_endpoint()
    stage.note("opening")
    _, writer = await stage.open(endpoint)
    await asyncio.sleep(PAUSE)
    writer.write(REQUEST)
    await asyncio.sleep(PAUSE)
    stage.note("closing")
    await close(writer)
    await stage.served()
    stage.note("waiting", seconds=2 * endpoint.config.msl)
    await stage.until("client", CLOSED)

    stage.expect("the server read", heard, [REQUEST])
    stage.expect_paths(f"{OPEN} > FIN_WAIT_1 > TIME_WAIT > CLOSED", PASSIVE)
    stage.expect_time_wait("client", 2 * endpoint.config.msl)
    stage.expect_segments(
        stage.closing(),
        "client FIN,ACK 23 ack 1",
        "server FIN,ACK 1 ack 24",
        "client ACK 24 ack 2",
    )


SCENE: Final = Scene.load("three-way", play)
