"""no-time-wait: the last ACK is lost and not repeated, because the client has no TIME_WAIT; the server stays in
LAST_ACK."""

import asyncio
from typing import Final

from utcp.config import Config
from utcp.scenes.lost_last_ack import LosesLastAck
from utcp.scenes.scene import Scene
from utcp.scenes.stage import ACTIVE, PASSIVE, PAUSE, Reader, Stage, Writer, close
from utcp.tcp.state import CLOSED
from utcp.wire import FIN

ANSWER: Final = b"Goodbye.\n"


async def play(stage: Stage) -> None:
    errors: list[OSError] = []

    async def serve(reader: Reader, writer: Writer) -> None:
        await reader.read()
        writer.write(ANSWER)
        await asyncio.sleep(PAUSE)
        await close(writer, errors)

    server = await stage.server_endpoint(serve)
    endpoint = await stage.client_endpoint(Config(msl=0))
    with stage.network.rule(LosesLastAck()):
        reader, writer = await stage.open(endpoint)
        await asyncio.sleep(PAUSE)
        if not endpoint.config.msl:
            stage.note("closes")
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        if endpoint.config.msl:  # in an experiment of the laboratory; the process ends after TIME_WAIT
            await stage.until("client", CLOSED)
        else:
            await stage.client.run(endpoint.aclose())
            stage.note("gone")
        await stage.served()
    fins = [arrow for arrow in stage.closing() if arrow.sender == "server" and arrow.flags & FIN]
    counters = server.stack.counters
    seconds = (stage.arrows()[-1].sent or 0.0) - (fins[0].sent or 0.0)
    if errors:
        stage.note("limit", probes=counters.loss_probes, timeouts=counters.timeouts, seconds=seconds)

    stage.expect("the client read", answer, ANSWER)
    stage.expect("errors at the server", [type(error).__name__ for error in errors], ["FinTimedOut"])
    stage.expect_paths(ACTIVE, PASSIVE)
    stage.expect("retransmission timeouts", counters.timeouts, server.config.fin_retries)
    resent = counters.loss_probes + counters.timeouts
    last = ["client ACK 2 ack 11 lost", *["server FIN,ACK 10 ack 2 lost"] * resent, "server RST 11 lost"]
    stage.expect_segments(stage.arrows()[-len(last) :], *last)


SCENE: Final = Scene.load("no-time-wait", play)
