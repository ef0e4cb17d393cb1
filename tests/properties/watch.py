"""What must hold of all that a stack sends and does, whoever its peer is: checked from outside, by an observer."""

from __future__ import annotations

from utcp.tcp.connection import Connection
from utcp.tcp.observer import Observer
from utcp.tcp.state import CLOSED, LISTEN, NAMES, SYN_RCVD, SYN_SENT, TIME_WAIT, check
from utcp.tcp.time_wait import ConnectionKey
from utcp.tcp.transmit import Buffer, Remote
from utcp.wire import ACK, FIN, RST, SYN, Segment, decode
from utcp.wire.seq import diff


class Broken(AssertionError):
    """An invariant does not hold; the text says which."""


class Flow:
    """One incarnation of a connection, as its segments show it. Numbers are relative to both initial ones."""

    def __init__(self, connection: Connection, state: int) -> None:
        self.connection = connection
        self.state = state
        self.displaced: Flow | None = None
        """The incarnation in TIME_WAIT that this one took the place of."""
        self.snd_nxt = 0
        """One beyond the last number that was sent."""
        self.offered_edge: int | None = None
        """The right edge of the window that we have offered."""
        self.allowed_edge = 0
        """The furthest right edge that arrived from the peer: so far we may send."""
        self.acks: set[int] = set()
        self.windows: set[int] = set()
        """Every acknowledgement of what was sent, and every window, that has arrived."""

    @property
    def iss(self) -> int:
        return self.connection.send_side.iss

    @property
    def irs(self) -> int:
        return self.connection.receive_side.irs


class Watch(Observer):
    """Watches one stack. Raises Broken out of the stack's own calls."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.flows: dict[ConnectionKey, Flow] = {}
        """The latest incarnation for each key."""
        self.connections: dict[tuple[ConnectionKey, int], Connection] = {}
        """Every connection that there ever was, by key and initial sequence number."""
        self.received: Segment | None = None
        """The segment being processed."""
        self._ended: set[Connection] = set()

    def fail(self, what: str) -> None:
        raise Broken(f"{self.name}: {what}")

    # ------------------------------------------------------------------ states

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        check(before, after)
        if before in (CLOSED, LISTEN):
            flow = self.flows.get(connection.key)
            if flow is not None and flow.state != CLOSED:
                self.fail(f"{connection!r} begins while the one before is in {NAMES[flow.state]}")
            displaced = None if connection.displaced is None else flow
            flow = self.flows[connection.key] = Flow(connection, before)
            flow.displaced = displaced
            self.connections[connection.key, connection.send_side.iss] = connection
        flow = self.flows[connection.key]
        if flow.state != before:
            self.fail(f"{connection!r} was in {NAMES[flow.state]} and moves from {NAMES[before]}")
        flow.state = after
        if after == CLOSED and before == SYN_RCVD and flow.displaced is not None:
            flow.displaced.state = TIME_WAIT  # half open, it came to nothing: the record is back
            self.flows[connection.key] = flow.displaced
        if self.received is not None and self.received.flags & SYN and before in (LISTEN, SYN_SENT):
            flow.allowed_edge = max(flow.allowed_edge, 1 + self.received.window)

    def connection_ended(self, connection: Connection, now: float) -> None:
        if connection in self._ended:
            self.fail(f"the user of {connection!r} is told twice of its end")
        self._ended.add(connection)

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        flow = self.flows[remote, remote_port, local_port]
        if flow.state == TIME_WAIT:
            flow.state = CLOSED

    # ------------------------------------------------------------------ segments

    def segment_received(self, remote: Remote, segment: Segment, now: float) -> None:
        self.received = segment
        flow = self.flows.get((remote, segment.src_port, segment.dst_port))
        if flow is None or not segment.flags & ACK or segment.flags & RST:
            return
        ack = diff(segment.ack, flow.iss)
        if 0 < ack <= flow.snd_nxt:
            window = segment.window << (0 if segment.flags & SYN else flow.connection.send_side.shift)
            flow.allowed_edge = max(flow.allowed_edge, ack + window)
            flow.acks.add(ack)
            flow.windows.add(window)

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        segment = decode(b"".join(buffers))
        if segment.flags & RST:
            if self.received is not None and self.received.flags & RST:
                self.fail(f"{segment!r} answers {self.received!r}: no RST answers an RST")
            return
        flow = self.flows[remote, segment.dst_port, segment.src_port]
        self._check_numbers(flow, segment)
        if segment.flags & ACK:
            self._check_offer(flow, segment)

    def _check_numbers(self, flow: Flow, segment: Segment) -> None:
        seq = diff(segment.seq, flow.iss)
        end = seq + segment.length
        if not segment.length:
            probe = flow.connection.config.keepalive and seq == flow.snd_nxt - 1
            if seq != flow.snd_nxt and not probe and not self._is_edge(flow, seq):
                self.fail(f"{segment!r}: SEQ is {seq}, neither SND.NXT {flow.snd_nxt} nor a right edge before it")
            return
        if not 0 <= seq <= flow.snd_nxt:
            self.fail(f"{segment!r} leaves a hole: SND.NXT was {flow.snd_nxt}")
        flow.snd_nxt = max(flow.snd_nxt, end)
        if segment.flags & SYN:
            if seq != 0 or segment.payload or segment.flags & FIN:
                self.fail(f"{segment!r} is no SYN of ours")
        elif end > flow.allowed_edge and segment.length > 1:
            self.fail(f"{segment!r} reaches {end}, and the peer's window {flow.allowed_edge}")

    def _is_edge(self, flow: Flow, seq: int) -> bool:
        """`seq` is before SND.NXT, at the right edge of a window that the peer may have offered last."""
        return seq < flow.snd_nxt and any(seq - window in flow.acks for window in flow.windows)

    def _check_offer(self, flow: Flow, segment: Segment) -> None:
        if segment.flags & SYN and flow.offered_edge is not None:
            return  # a SYN that is sent again repeats its window, which is not scaled
        shift = 0 if segment.flags & SYN else flow.connection.receive_side.shift
        edge = diff(segment.ack, flow.irs) + (segment.window << shift)
        if flow.offered_edge is not None and edge < flow.offered_edge:
            self.fail(f"{segment!r} moves the right edge of our window left, from {flow.offered_edge} to {edge}")
        flow.offered_edge = edge
