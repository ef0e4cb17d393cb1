"""Both ends of a connection as a test wants them to have behaved, told to a LadderRecorder."""

from __future__ import annotations

from math import inf
from types import SimpleNamespace
from typing import cast

from utcp.tcp import timers
from utcp.tcp.congestion.base import UNLIMITED
from utcp.tcp.connection import Connection
from utcp.tcp.observer import Observer
from utcp.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    ESTABLISHED,
    FIN_WAIT_1,
    LAST_ACK,
    LISTEN,
    SYN_RCVD,
    SYN_SENT,
    TIME_WAIT,
)
from utcp.trace.ladder import End, LadderRecorder
from utcp.wire import ACK, FIN, SYN, Segment, encode

CLIENT_PORT, SERVER_PORT = 50000, 80
ISN: dict[End, int] = {"client": 0xFFFFFFFE, "server": 7_000_000}  # the client's numbers wrap while it speaks


class Told:
    """What a ladder reads of a Connection."""

    retransmits = 0
    recovery = SimpleNamespace(window=14480, in_flight=5)
    congestion = SimpleNamespace(ssthresh=UNLIMITED)
    send_side = SimpleNamespace(snd_wnd=65535, iss=1)
    receive_side = SimpleNamespace(window=131072, irs=2)
    rtt = SimpleNamespace(srtt=0.0, samples=0, rto=1.0)

    def __init__(self, remote: str, local_port: int, remote_port: int, state: int) -> None:
        self.remote = remote
        self.local_port = local_port
        self.remote_port = remote_port
        self.state = state

    def deadlines(self) -> list[float]:
        return [0.25 if timer == timers.RETRANSMIT else inf for timer in range(len(timers.NAMES))]


class Ends:
    """Two ends that tell a recorder what a test wants them to have done; times are milliseconds."""

    def __init__(
        self, client_port: int = CLIENT_PORT, recorder: LadderRecorder | None = None, remote: str = "remote"
    ) -> None:
        self.remote = remote
        self.recorder = recorder or LadderRecorder()
        self.ports: dict[End, tuple[int, int]] = {
            "client": (client_port, SERVER_PORT),
            "server": (SERVER_PORT, client_port),
        }

    def view(self, end: End) -> Observer:
        return self.recorder.client if end == "client" else self.recorder.server

    def connection(self, end: End, state: int = ESTABLISHED) -> Connection:
        return cast("Connection", Told(self.remote, *self.ports[end], state))

    def state(self, end: End, before: int, after: int, ms: float) -> None:
        connection = self.connection(end, after)
        self.view(end).state_changed(connection, before, after, ms / 1000)

    def timer(self, end: End, timer: int, ms: float) -> None:
        self.view(end).timer_expired(self.connection(end), timer, ms / 1000)

    def send(self, end: End, flags: int, seq: int, ack: int, ms: float, payload: bytes = b"") -> Segment:
        """`seq` and `ack` count from the initial sequence numbers, as the ladder's do."""
        peer: End = "server" if end == "client" else "client"
        segment = Segment(
            *self.ports[end],
            (ISN[end] + seq) % 2**32,
            (ISN[peer] + ack) % 2**32 if flags & ACK else 0,
            flags,
            payload=payload,
        )
        # The stack hands over header and payload as two buffers.
        whole = encode(segment)
        self.view(end).segment_sent(self.remote, [whole[:20], memoryview(whole)[20:]], ms / 1000)
        return segment

    def receive(self, end: End, segment: Segment, ms: float) -> None:
        self.view(end).segment_received(self.remote, segment, ms / 1000)

    def open(self) -> None:
        self.state("client", CLOSED, SYN_SENT, 0)
        syn = self.send("client", SYN, 0, 0, 0)
        self.receive("server", syn, 1)
        self.state("server", LISTEN, SYN_RCVD, 1)
        syn_ack = self.send("server", SYN | ACK, 0, 1, 1)
        self.receive("client", syn_ack, 2)
        self.state("client", SYN_SENT, ESTABLISHED, 2)
        ack = self.send("client", ACK, 1, 1, 2)
        self.receive("server", ack, 3)
        self.state("server", SYN_RCVD, ESTABLISHED, 3)


def lossy_close() -> Ends:
    """The client closes and loses its FIN once; the server answers with its own; TIME_WAIT lasts a second."""
    ends = Ends()
    ends.open()
    ends.recorder.note("The client closes, and its FIN is lost.", 0.01)
    ends.state("client", ESTABLISHED, FIN_WAIT_1, 10)
    ends.send("client", FIN | ACK, 1, 1, 10)
    ends.timer("client", timers.RETRANSMIT, 210)
    again = ends.send("client", FIN | ACK, 1, 1, 210)
    ends.receive("server", again, 211)
    ends.state("server", ESTABLISHED, CLOSE_WAIT, 211)
    ends.state("server", CLOSE_WAIT, LAST_ACK, 211)
    fin = ends.send("server", FIN | ACK, 1, 2, 211)
    ends.receive("client", fin, 212)
    ends.state("client", FIN_WAIT_1, TIME_WAIT, 212)
    ack = ends.send("client", ACK, 2, 2, 212)
    ends.receive("server", ack, 213)
    ends.state("server", LAST_ACK, CLOSED, 213)
    ends.recorder.client.time_wait_ended("remote", SERVER_PORT, CLIENT_PORT, 1.212)
    return ends
