"""The observers on real stacks: what two of them tell while a connection lives."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from utcp.config import Config
from utcp.tcp.connection import Connection
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack
from utcp.trace.ladder import LadderRecorder, render_text
from utcp.trace.log import StructlogObserver

MSL = 0.5


class Pair:
    """Two stacks and the clock between them; a datagram takes a millisecond."""

    def __init__(self, client_observer: Observer, server_observer: Observer) -> None:
        config = Config(msl=MSL)
        self.now = 0.0
        self.client = Stack(config, secret=b"client's secret!", observer=client_observer)
        self.server = Stack(config, secret=b"server's secret!", observer=server_observer)
        self.lose = 0

    def exchange(self) -> None:
        """Let datagrams cross until both are silent; the next `lose` of the client's vanish."""
        ends = ((self.client, self.server, "client"), (self.server, self.client, "server"))
        while under_way := [
            (peer, datagram, name)
            for stack, peer, name in ends
            for transmit in stack.datagrams_to_send(self.now)
            for datagram in transmit.datagrams()
        ]:
            self.now += 0.001
            for peer, datagram, name in under_way:
                if name == "client" and self.lose:
                    self.lose -= 1
                else:
                    peer.receive_datagram(datagram, name, self.now)

    def advance_to_timeout(self) -> None:
        deadline = min(due for stack in (self.client, self.server) if (due := stack.next_timeout()) is not None)
        self.now = max(self.now, deadline)
        for stack in (self.client, self.server):
            stack.handle_timeout(self.now)
        self.exchange()

    def open(self) -> tuple[Connection, Connection]:
        listener = self.server.listen(80, self.now)
        client = self.client.connect("server", 80, self.now, local_port=50000)
        self.exchange()
        server = listener.accept()
        if server is None:
            raise AssertionError("nothing to accept")
        return client, server


@pytest.fixture(name="events")
def _events() -> Iterator[list[Any]]:
    capture = LogCapture()
    structlog.configure(processors=[capture], wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    yield capture.entries
    structlog.reset_defaults()


def test_a_life_in_the_log(events: list[Any]) -> None:
    pair = Pair(StructlogObserver(), StructlogObserver())
    client, server = pair.open()
    client.send(b"question")
    pair.exchange()
    server.send(b"answer")
    client.shutdown(pair.now)
    pair.exchange()
    server.read()
    server.close(pair.now)
    client.read()
    pair.exchange()
    client.read()
    client.close(pair.now)
    opened, closed = events[:2], events[2:]
    assert [(entry["event"], entry["active"]) for entry in opened] == [
        ("utcp.connection_opened", True),
        ("utcp.connection_opened", False),
    ]
    assert [(entry["event"], entry["path"][-1]) for entry in closed] == [
        ("utcp.connection_closed", "CLOSED"),
        ("utcp.connection_closed", "TIME_WAIT"),
    ]
    assert closed[0]["path"][:2] == ("LISTEN", "SYN_RCVD")
    for entry, sent, received in ((closed[0], 6, 8), (closed[1], 8, 6)):
        assert (entry["bytes_sent"], entry["bytes_acked"], entry["bytes_received"]) == (sent, sent, received)
    assert closed[0]["remote"] == "client"
    assert (closed[0]["remote_port"], closed[0]["local_port"]) == (50000, 80)
    assert 0 < closed[0]["duration"] < closed[1]["duration"] <= pair.now


def test_a_refusal_and_a_reset_in_the_log(events: list[Any]) -> None:
    pair = Pair(StructlogObserver(), StructlogObserver())
    pair.client.connect("server", 81, pair.now)
    pair.exchange()
    client, server = pair.open()
    server.abort(pair.now)
    pair.exchange()
    assert [entry["event"] for entry in events] == [
        "utcp.connection_refused",
        "utcp.connection_opened",
        "utcp.connection_opened",
        "utcp.connection_closed",
        "utcp.connection_reset",
    ]
    assert events[-1]["error"] == str(client.error)


def test_a_life_as_a_ladder() -> None:
    recorder = LadderRecorder()
    pair = Pair(recorder.client, recorder.server)
    client, server = pair.open()
    recorder.note("the client's FIN is lost, and sent again", pair.now)
    client.shutdown(pair.now)
    pair.lose = 1
    pair.exchange()
    pair.advance_to_timeout()
    pair.now = 0.5
    server.close(pair.now)
    pair.exchange()
    pair.advance_to_timeout()
    without_times = [line[9:] for line in render_text(recorder.rungs(), width=80).splitlines()]
    assert without_times == [
        "  client      |                                           | server",
        "  CLOSED      |                                           | LISTEN",
        "  SYN_SENT    |--- SYN seq=0 ---------------------------->| SYN_RCVD",
        "  ESTABLISHED |<------------------ SYN,ACK seq=0 ack=1 ---|",
        "              |--- ACK seq=1 ack=1 ---------------------->| ESTABLISHED",
        "  the client's FIN is lost, and sent again",
        "  FIN_WAIT_1  |--- FIN,ACK seq=1 ack=1 --x                |",
        "              |--- FIN,ACK seq=1 ack=1 ------------------>| CLOSE_WAIT",
        "              |    (retransmission, timer probe)          |",
        "  FIN_WAIT_2  |<---------------------- ACK seq=1 ack=2 ---|",
        "  TIME_WAIT   |<------------------ FIN,ACK seq=1 ack=2 ---| LAST_ACK",
        "              |--- ACK seq=2 ack=2 ---------------------->| CLOSED",
        "  CLOSED      |                                           |",
    ]
