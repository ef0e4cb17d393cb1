"""late-ack: a server that acknowledges the FIN only after all its data, so that the client resends its FIN
needlessly."""

import asyncio
from typing import Final

from utcp.scenes.four_way import ANSWERS, REQUEST
from utcp.scenes.scene import Scene
from utcp.scenes.scripted import ScriptedServer
from utcp.scenes.stage import ACCEPT, OPEN, PAUSE, Stage, close
from utcp.tcp.state import CLOSED, ESTABLISHED, LAST_ACK, SYN_RCVD
from utcp.wire import ACK, FIN, PSH, SYN


async def play(stage: Stage) -> None:
    server = ScriptedServer(stage)
    answering = stage.server.run(answer(stage, server))
    endpoint = await stage.client_endpoint()
    reader, writer = await stage.open(endpoint)
    await asyncio.sleep(PAUSE)
    stage.note("opening")
    writer.write(REQUEST)
    await asyncio.sleep(PAUSE)
    stage.note("first_fin", ack=len(REQUEST) + 2)
    writer.write_eof()
    answers = await reader.read()
    await close(writer)
    heard = await answering
    resent = [arrow for arrow in stage.closing() if arrow.retransmission]
    stage.note("needless", count=len(resent))
    await stage.until("client", CLOSED)
    server.close()

    stage.expect("the server read", heard, REQUEST)
    stage.expect("the client read", answers, b"".join(ANSWERS))
    stage.expect_paths(
        f"{OPEN} > FIN_WAIT_1 > TIME_WAIT > CLOSED",
        f"{ACCEPT} > LAST_ACK > CLOSED",
    )
    stage.expect_time_wait("client", 2 * endpoint.config.msl)
    fin = len(REQUEST) + 1
    stage.expect_segments(resent, f"client FIN,ACK {fin} ack 1", f"client FIN,ACK {fin} ack 27")
    first = stage.closing()[0]
    stage.expect("the first FIN had arrived before it was resent", (first.received or 99) < (resent[0].sent or 0), True)


async def answer(stage: Stage, server: ScriptedServer) -> bytes:
    """Play the server: a TCP that leaves the acknowledgment of a FIN to its application. Return the received data."""
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
            stage.note("data", ack=heard)
        server.send(PSH, said, heard, message)
        said += len(message)
    await asyncio.sleep(PAUSE)
    stage.note("last")
    server.enter(LAST_ACK)
    server.send(FIN, said, heard + 1)
    await server.receive(lambda segment: server.is_acknowledged(segment, said + 1))
    server.enter(CLOSED)
    return bytes(request.payload)


SCENE: Final = Scene.load("late-ack", play)
