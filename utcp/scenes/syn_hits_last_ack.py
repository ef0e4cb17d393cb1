"""syn-hits-last-ack: a port is reused too early, so its SYN meets LAST_ACK and is refused."""

import asyncio
from typing import Final

from utcp.config import Config
from utcp.scenes.lost_last_ack import LosesLastAck
from utcp.scenes.scene import Scene
from utcp.scenes.stage import ACCEPT, ACTIVE, OPEN, PASSIVE, PAUSE, Reader, Stage, Writer, close, state_names
from utcp.tcp.state import CLOSED


async def play(stage: Stage) -> None:
    errors: list[OSError] = []

    async def serve(reader: Reader, writer: Writer) -> None:
        await reader.read()
        await asyncio.sleep(PAUSE)
        await close(writer, errors)

    await stage.server_endpoint(serve)
    endpoint = await stage.client_endpoint(Config(msl=0))
    with stage.network.rule(LosesLastAck()):
        _, writer = await stage.open(endpoint)
        await asyncio.sleep(PAUSE)
        stage.note("closes")
        writer.close()
        await stage.until("client", CLOSED)
        await asyncio.sleep(PAUSE / 20)
        stage.note("too_early")
        try:
            _, writer = await stage.open(endpoint)
        except ConnectionRefusedError as error:
            errors.append(error)
        else:
            writer.close()
            stage.expect("the connection", "opened", "refused")
            return
    stage.expect("the server's state", state_names(stage.recorder.path("server")[-1:]), "LAST_ACK")
    stage.note("refused")
    await stage.until("server", CLOSED)
    stage.note("ended")
    await stage.served()
    await asyncio.sleep(PAUSE)
    stage.note("connects")
    _, writer = await stage.open(endpoint)
    await asyncio.sleep(PAUSE)

    stage.expect("the last connection is closing", writer.is_closing(), False)
    stage.expect("errors", [type(error).__name__ for error in errors], ["ConnectionRefused", "ConnectionReset"])
    stage.expect_paths(f"{ACTIVE} > SYN_SENT > {OPEN}", f"{PASSIVE} > {ACCEPT}")
    stage.expect_segments(
        stage.closing(),
        "client FIN,ACK 1 ack 1",
        "server ACK 1 ack 2",
        "server FIN,ACK 1 ack 2",
        "client ACK 2 ack 2 lost",
        "client SYN 0",
        "server RST,ACK 0 ack 1",
        "server FIN,ACK 1 ack 2",
        "client RST 2",
        "client SYN 0",
        "server SYN,ACK 0 ack 1",
        "client ACK 1 ack 1",
    )


SCENE: Final = Scene.load("syn-hits-last-ack", play)
