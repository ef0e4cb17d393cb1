"""Records a ladder from a run, with one observer per end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from utcp.tcp import timers
from utcp.tcp.observer import Observer
from utcp.tcp.state import CLOSED, FIN_WAIT_1, LAST_ACK, SYN_SENT, TIME_WAIT
from utcp.tcp.transmit import Buffer, Remote
from utcp.trace.comments import FLUSH, Comment, describe
from utcp.trace.ladder.rungs import PEER, Arrow, End, Rung
from utcp.wire import ACK, RST, SYN, Segment, decode, seq

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection

_BY_CALL: Final = (SYN_SENT, FIN_WAIT_1, LAST_ACK)
"""States caused by calls of the user, not by segments."""


class LadderRecorder:
    """Records one connection, the first that either end reports. Other connections are ignored.

    `client` and `server` are the observers for the two stacks, which must share a clock and a thread. Each segment is
    seen twice, when sent and when received, and matched by its contents. Among equal segments in flight (without
    timestamps: a retransmission, duplicate ACKs), the match is the one whose transit time is nearest to that of the
    previous segment.

    A new connection with the same peer on the same ports continues the ladder, with its own relative numbers.

    An expired timer appears with its immediate effect, a segment or a state, and not at all without one. The pacing
    timer never appears, because it is not a timeout.
    """

    def __init__(self) -> None:
        self.client: Observer = _View(self, "client")
        self.server: Observer = _View(self, "server")
        self._ports: tuple[int, int] | None = None
        self._rows: list[_Row] = []
        self._made = 0
        self._in_flight: list[_Row] = []
        self._ends: dict[End, _EndRecord] = {"client": _EndRecord(), "server": _EndRecord()}
        self._pairs: dict[tuple[End, int | None], int] = {}
        """The peer's initial sequence number of the same connection, by end and its initial sequence number."""

    def note(self, text: str, now: float) -> None:
        """Add a line of explanation between the events before and after this call."""
        self._append(_Row(now, note=text))

    def path(self, end: End) -> tuple[int, ...]:
        """Return the states of `end` in order, including the one before its first change."""
        return tuple(self._ends[end].path)

    def rungs(self) -> list[Rung]:
        """Return the ladder so far, preceded by a rung with the initial states of the ends."""
        rungs = [row.rung() for row in self._rows]
        client, server = (record.path[0] if record.path else None for record in self._ends.values())
        if client is not None or server is not None:
            rungs.insert(0, Rung(rungs[0].time, client, server))
        return rungs

    # Methods for the views. `ports` are those of the view's end: local port, peer's port.

    def state_changed(
        self,
        end: End,
        ports: tuple[int, int],
        before: int,
        after: int,
        now: float,
        connection: Connection | None = None,
    ) -> None:
        """Record a state change of `end`. `connection` gives more variables while it exists."""
        if not self.follows(end, ports):
            return
        record = self._ends[end]
        record.connection = None if after in (CLOSED, TIME_WAIT) else connection
        if not record.path or record.path[-1] != before:
            record.path.append(before)
        record.path.append(after)
        arrival, record.arrival = record.arrival, None
        if arrival is not None and arrival.received == now and after not in _BY_CALL:
            arrival.states[end] = after
            record.unshown = None
        else:
            row = _Row(now, states={end: after}, end=end, timer=record.take_timer(now))
            record.unshown = record.latest = self._append(row)

    def time_wait_ended(self, end: End, ports: tuple[int, int], now: float) -> None:
        """Record the end of the TIME_WAIT record of `end`."""
        self.state_changed(end, ports, TIME_WAIT, CLOSED, now)

    def timer_expired(self, end: End, ports: tuple[int, int], timer: int, now: float) -> None:
        """Record the expiry of a timer of `end`."""
        if timer != timers.PACING and self.follows(end, ports):
            record = self._ends[end]
            record.expired = timer, now
            record.arrival = None

    def segment_sent(self, end: End, segment: Segment, now: float) -> None:
        """Record a segment that `end` sent."""
        if not self.follows(end, (segment.src_port, segment.dst_port)):
            return
        record = self._ends[end]
        timer = record.take_timer(now)
        unshown = record.unshown
        if unshown is not None and (unshown.states[end] in _BY_CALL or now - unshown.time <= FLUSH):
            self._rows.remove(unshown)  # this segment's row shows that state too
            timer = timer if timer is not None else unshown.timer
        row = self._append_segment(end, segment, now)
        row.sent = now
        row.timer = timer
        row.at_sender = record.variables(now)
        row.retransmission = record.note_sent(segment)
        if record.path:
            row.states[end] = record.path[-1]
        self._in_flight.append(row)
        record.latest = row
        record.arrival = record.unshown = None

    def segment_received(self, end: End, segment: Segment, now: float) -> None:
        """Record a segment that arrived at `end`."""
        if not self.follows(end, (segment.dst_port, segment.src_port)):
            return
        record = self._ends[end]
        record.expired = None  # the segment, not the timer, causes the next event
        equal = [row for row in self._in_flight if row.end != end and row.segment == segment]
        if equal:
            row = min(reversed(equal), key=lambda row: abs(now - row.time - record.flight))
            self._in_flight.remove(row)
            record.flight = now - row.time
        else:
            row = self._append_segment(PEER[end], segment, now)
        row.received = now
        row.at_receiver = record.variables(now)
        # Its row can show the resulting state, unless an event at this end came between its sending and its arrival.
        if record.latest is None or record.latest.number < row.number:
            record.arrival = record.latest = row
        else:
            record.arrival = None

    def follows(self, end: End, ports: tuple[int, int]) -> bool:
        """Return whether these are the ports of the recorded connection. The first ports seen become those."""
        client_and_server = ports if end == "client" else ports[::-1]
        if self._ports is None:
            self._ports = client_and_server
        return self._ports == client_and_server

    def _append(self, row: _Row) -> _Row:
        row.number = self._made
        self._made += 1
        self._rows.append(row)
        return row

    def _append_segment(self, sender: End, segment: Segment, now: float) -> _Row:
        record = self._ends[sender]
        if segment.flags & SYN and segment.seq not in record.isns[-1:]:
            record.isns.append(segment.seq)
            record.snd_max = segment.seq
        if segment.flags & (SYN | ACK) == SYN | ACK:
            acknowledged = seq.add(segment.ack, -1)
            self._pairs[sender, segment.seq] = acknowledged
            self._pairs[PEER[sender], acknowledged] = segment.seq
        row = _Row(now, end=sender, segment=segment)
        peer = self._ends[PEER[sender]]
        if segment.flags & RST and segment.seq == 0:
            row.seq = 0  # it answers a segment without ACK, so 0 is not of its sender's space (RFC 9293 3.10.7.1)
            row.ack = _relative(segment.ack, peer.isns)
        else:
            isn = _isn_below(segment.seq, record.isns)
            row.seq = segment.seq if isn is None else seq.diff(segment.seq, isn)
            # The ACK is relative to the same connection's ISN at the peer, if known.
            paired = self._pairs.get((sender, isn))
            row.ack = _relative(segment.ack, peer.isns) if paired is None else seq.diff(segment.ack, paired)
        return self._append(row)


class _View(Observer):
    """One end's observer, which forwards the events of the recorded connection with the name of the end."""

    def __init__(self, recorder: LadderRecorder, end: End) -> None:
        self._recorder = recorder
        self._end = end
        self._remote: Remote | None = None
        """The peer of the recorded connection, once this end has seen it."""

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        ports = (connection.local_port, connection.remote_port)
        if self._follows(connection.remote, ports):
            self._recorder.state_changed(self._end, ports, before, after, now, connection)

    def timer_expired(self, connection: Connection, timer: int, now: float) -> None:
        ports = (connection.local_port, connection.remote_port)
        if self._follows(connection.remote, ports):
            self._recorder.timer_expired(self._end, ports, timer, now)

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        ports = (local_port, remote_port)
        if self._follows(remote, ports):
            self._recorder.time_wait_ended(self._end, ports, now)

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        segment = decode(b"".join(buffers))
        if self._follows(remote, (segment.src_port, segment.dst_port)):
            self._recorder.segment_sent(self._end, segment, now)

    def segment_received(self, remote: Remote, segment: Segment, now: float) -> None:
        if self._follows(remote, (segment.dst_port, segment.src_port)):
            self._recorder.segment_received(self._end, segment, now)

    def _follows(self, remote: Remote, ports: tuple[int, int]) -> bool:
        """Return whether this is the recorded connection, because other peers may use the same ports."""
        if not self._recorder.follows(self._end, ports):
            return False
        if self._remote is None:
            self._remote = remote
        return remote == self._remote


@dataclass(slots=True, eq=False)
class _Row:
    """A rung that can still change, because its segment may arrive later and cause a state."""

    time: float
    number: int = 0
    states: dict[End, int] = field(default_factory=dict)
    note: str | None = None
    segment: Segment | None = None
    end: End = "client"
    """The end of the timer or segment."""
    timer: int | None = None
    seq: int = 0
    ack: int = 0
    sent: float | None = None
    received: float | None = None
    retransmission: bool = False
    at_sender: Comment = field(default_factory=Comment)
    at_receiver: Comment = field(default_factory=Comment)

    def rung(self) -> Rung:
        arrow = expired = None
        if self.segment is not None:
            arrow = Arrow(
                sender=self.end,
                flags=self.segment.flags,
                seq=self.seq,
                ack=self.ack if self.segment.flags & ACK else None,
                length=len(self.segment.payload),
                sent=self.sent,
                received=self.received,
                retransmission=self.retransmission,
                timer=self.timer,
                segment=self.segment,
                at_sender=self.at_sender,
                at_receiver=self.at_receiver,
            )
        elif self.timer is not None:
            expired = self.end, self.timer
        return Rung(self.time, self.states.get("client"), self.states.get("server"), arrow, self.note, expired)


@dataclass(slots=True)
class _EndRecord:
    """The recorder's state for one end."""

    path: list[int] = field(default_factory=list)
    isns: list[int] = field(default_factory=list)
    """Initial sequence numbers of its connections, the current one last."""
    snd_max: int | None = None
    """End of the sequence space that it has sent."""
    latest: _Row | None = None
    """The latest row with an event at this end."""
    arrival: _Row | None = None
    """The row of the last received segment, if no event followed here; it may cause a state."""
    unshown: _Row | None = None
    """The row of the last state change, if no segment was sent since. The next segment's row shows the state too, if
    both have the same cause."""
    flight: float = 0.0
    """Transit time of the last received segment, seconds."""
    expired: tuple[int, float] | None = None
    """The last expired timer and its time, if no event followed here."""
    connection: Connection | None = None
    """The connection, until it ends or enters TIME_WAIT."""

    def variables(self, now: float) -> Comment:
        return {} if self.connection is None else describe(self.connection, now)

    def take_timer(self, now: float) -> int | None:
        """Return and clear the timer that expired just now, if any."""
        expired, self.expired = self.expired, None
        return expired[0] if expired is not None and now - expired[1] <= FLUSH else None

    def note_sent(self, segment: Segment) -> bool:
        """Return whether `segment` repeats sequence space sent before, and advance `snd_max`."""
        if not segment.length:
            return False
        end = seq.add(segment.seq, segment.length)
        again = self.snd_max is not None and seq.lt(segment.seq, self.snd_max)
        if self.snd_max is None or seq.gt(end, self.snd_max):
            self.snd_max = end
        return again


def _relative(number: int, isns: list[int]) -> int:
    """Return `number` relative to its connection's ISN, or unchanged if none is known."""
    isn = _isn_below(number, isns)
    return number if isn is None else seq.diff(number, isn)


def _isn_below(number: int, isns: list[int]) -> int | None:
    """Return the nearest of `isns` below `number`, or else the last.

    A segment of the old connection may still follow after the SYN of a new one.
    """
    below = [isn for isn in isns if seq.diff(number, isn) >= 0]
    return min(below, key=lambda isn: seq.diff(number, isn)) if below else isns[-1] if isns else None
