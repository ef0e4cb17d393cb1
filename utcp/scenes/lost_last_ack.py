"""lost-last-ack: the last ACK is lost, the FIN is resent, and TIME_WAIT allows an answer to it."""

import asyncio
from typing import Final

from utcp.scenes.scene import Scene
from utcp.scenes.stage import ACTIVE, PASSIVE, PAUSE, Reader, Stage, Writer, close
from utcp.tcp.state import CLOSED, LAST_ACK, TIME_WAIT
from utcp.testing import DROP, PASS, Packet, Verdict
from utcp.wire import FIN


class LosesLastAck:
    """A rule that drops the first packet that the client sends after the server's FIN."""

    def __init__(self) -> None:
        self._fin_seen = self._done = False

    def __call__(self, packet: Packet) -> Verdict:
        segment = packet.segment
        if packet.source == "server" and segment is not None and segment.flags & FIN:
            self._fin_seen = True
        elif self._fin_seen and not self._done and packet.source == "client":
            self._done = True
            return DROP
        return PASS


async def play(stage: Stage) -> None:
    async def serve(reader: Reader, writer: Writer) -> None:
        await reader.read()
        await asyncio.sleep(PAUSE)
        stage.note("second_fin")
        await close(writer)

    await stage.server_endpoint(serve)
    endpoint = await stage.client_endpoint()
    _, writer = await stage.open(endpoint)
    await asyncio.sleep(PAUSE)
    stage.note("closes")
    with stage.network.rule(LosesLastAck()):
        await close(writer)
        stage.expect("wait_closed() returned before the server closed", stage.moments["server"].at(LAST_ACK), None)
        await stage.until("client", TIME_WAIT)
        await asyncio.sleep(PAUSE / 5)
        stage.note("again")
        await stage.served()
    stage.note("waiting", seconds=2 * endpoint.config.msl)
    await stage.until("client", CLOSED)

    stage.expect_paths(ACTIVE, PASSIVE)
    stage.expect_segments(
        stage.closing(),
        "client FIN,ACK 1 ack 1",
        "server ACK 1 ack 2",
        "server FIN,ACK 1 ack 2",
        "client ACK 2 ack 2 lost",
        "server FIN,ACK 1 ack 2",
        "client ACK 2 ack 2",
    )
    fins = [arrow for arrow in stage.closing() if arrow.sender == "server" and arrow.flags & FIN]
    between = (fins[-1].received or 0.0) - (fins[0].received or 0.0)
    stage.expect("the FIN was repeated after a retransmission timeout", between > endpoint.config.rto_min, True)
    stage.expect_time_wait("client", between + 2 * endpoint.config.msl)


SCENE: Final = Scene.load("lost-last-ack", play)
