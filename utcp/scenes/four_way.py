"""four-way: the client closes first, and the server still sends two messages."""

import asyncio
from typing import Final

from utcp.scenes.scene import Scene
from utcp.scenes.stage import ACTIVE, PASSIVE, PAUSE, Reader, Stage, Writer, close
from utcp.tcp.state import CLOSED

REQUEST: Final = b"That is all I wanted to say.\n"
ANSWERS: Final = (b"I have two things to add.\n", b"This was the second.\n")


async def play(stage: Stage) -> None:
    heard = []

    async def serve(reader: Reader, writer: Writer) -> None:
        heard.append(await reader.read())
        await asyncio.sleep(PAUSE)
        stage.note("first_ack")
        for answer in ANSWERS:
            writer.write(answer)
            await asyncio.sleep(PAUSE)
        stage.note("second_fin")
        await close(writer)

    await stage.server_endpoint(serve)
    endpoint = await stage.client_endpoint()
    stage.note("opening")
    reader, writer = await stage.open(endpoint)
    await asyncio.sleep(PAUSE)
    stage.note("requesting")
    writer.write(REQUEST)
    await asyncio.sleep(PAUSE)
    stage.note("first_fin")
    writer.write_eof()
    answers = await reader.read()
    await close(writer)
    await stage.served()
    stage.note("waiting", seconds=2 * endpoint.config.msl)
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


SCENE: Final = Scene.load("four-way", play)
