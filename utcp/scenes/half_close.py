"""half-close: a FIN as the end of a request, with an answer long after it, and the same with a full close."""

import asyncio
from typing import Final

from utcp.config import Config
from utcp.scenes.scene import Scene
from utcp.scenes.stage import ACCEPT, OPEN, PASSIVE, PAUSE, Reader, Stage, Writer, close
from utcp.tcp.state import CLOSED

LINES: Final = b"pear\napple\nfig\n"
SORTED: Final = b"apple\nfig\npear\n"

WORK: Final = 90.0
"""Seconds that the server takes to answer, longer than FIN_WAIT_2 may last after a full close."""

UNPROBED: Final = Config(keepalive=False)
"""No keepalive, because probes during the server's work would distract."""


async def play(stage: Stage) -> None:
    errors: list[OSError] = []
    seconds = [WORK, PAUSE]

    async def serve(reader: Reader, writer: Writer) -> None:
        lines = (await reader.read()).splitlines(keepends=True)
        await asyncio.sleep(seconds[0])
        if seconds.pop(0) == WORK:
            stage.note("sorting", work=WORK, limit=limit)
        else:
            stage.note("too_late")
        writer.write(b"".join(sorted(lines)))
        await asyncio.sleep(PAUSE)
        await close(writer, errors)

    await stage.server_endpoint(serve, UNPROBED)
    endpoint = await stage.client_endpoint(UNPROBED)
    limit = endpoint.config.fin_wait_2_timeout
    reader, writer = await stage.open(endpoint)
    await asyncio.sleep(PAUSE)
    stage.note("half")
    writer.write(LINES)
    writer.write_eof()
    answer = await reader.read()
    await close(writer)
    await stage.served()
    first = stage.closing()
    await stage.until("client", CLOSED)
    stage.expect_time_wait("client", 2 * endpoint.config.msl)

    await asyncio.sleep(PAUSE)
    stage.note("full")
    _, writer = await stage.open(endpoint)
    await asyncio.sleep(PAUSE)
    writer.write(LINES)
    await close(writer)
    await stage.served()

    stage.expect("the client read", answer, SORTED)
    stage.expect("how the second connection ended at the server", len(errors), 1)
    stage.expect_paths(
        f"{OPEN} > FIN_WAIT_1 > FIN_WAIT_2 > TIME_WAIT > {OPEN} > FIN_WAIT_1 > FIN_WAIT_2 > CLOSED",
        f"{PASSIVE} > {ACCEPT} > CLOSE_WAIT > CLOSED",
    )
    stage.expect_segments(
        first,
        "client FIN,PSH,ACK 1:16 ack 1",
        "server ACK 1 ack 17",
        "server PSH,ACK 1:16 ack 17",
        "client ACK 17 ack 16",
        "server FIN,ACK 16 ack 17",
        "client ACK 17 ack 17",
    )
    stage.expect_segments(
        stage.arrows()[-4:],
        "client FIN,PSH,ACK 1:16 ack 1",
        "server ACK 1 ack 17",
        "server PSH,ACK 1:16 ack 17",
        "client RST 17",
    )


SCENE: Final = Scene.load("half-close", play)
