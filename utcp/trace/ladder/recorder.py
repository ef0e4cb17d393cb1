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
        self._ports: tuple[int, int] | None = None
        self.rows: list[_Row] = []
        self._made = 0
        self.in_flight: list[_Row] = []
        self._pairs: dict[tuple[End, int | None], int] = {}
        """The peer's initial sequence number of the same connection, by end and its initial sequence number."""
        self.client = EndObserver(self, "client")
        self.server = EndObserver(self, "server")

    def note(self, text: str, now: float) -> None:
        """Add a line of explanation between the events before and after this call."""
        self.append(_Row(now, note=text))

    @property
    def ports(self) -> tuple[int, int] | None:
        """The ports of client and server; None before their first event."""
        return self._ports

    def forged(self, end: End, segment: Segment, now: float) -> None:
        """Record a segment that a third party sends in the name of `end`, which knows nothing of it."""
        row = self.append_segment(end, segment, now, forged=True)
        row.sent = now
        self.in_flight.append(row)

    def path(self, end: End) -> tuple[int, ...]:
        """Return the states of `end` in order, including the one before its first change."""
        return tuple(self._end(end).path)

    def rungs(self) -> list[Rung]:
        """Return the ladder so far, preceded by a rung with the initial states of the ends."""
        rungs = [row.rung() for row in self.rows]
        client, server = (end.path[0] if end.path else None for end in (self.client, self.server))
        if client is not None or server is not None:
            rungs.insert(0, Rung(rungs[0].time, client, server))
        return rungs

    # ------------------------------------------------------------------ for the observers of the two ends

    def _end(self, end: End) -> EndObserver:
        return self.client if end == "client" else self.server

    def is_recorded(self, end: End, ports: tuple[int, int]) -> bool:
        """Return whether these are the ports (local, peer's) of the recorded connection. The first ports seen become
        those."""
        client_and_server = ports if end == "client" else ports[::-1]
        if self._ports is None:
            self._ports = client_and_server
        return self._ports == client_and_server

    def append(self, row: _Row) -> _Row:
        row.number = self._made
        self._made += 1
        self.rows.append(row)
        return row

    def append_segment(self, sender: End, segment: Segment, now: float, *, forged: bool = False) -> _Row:
        isns, peer_isns = self._end(sender).isns, self._end(PEER[sender]).isns
        if segment.flags & SYN and segment.seq not in isns[-1:] and not forged:
            self._end(sender).begin(segment.seq)
        if segment.flags & (SYN | ACK) == SYN | ACK and not forged:
            acknowledged = seq.add(segment.ack, -1)
            self._pairs[sender, segment.seq] = acknowledged
            self._pairs[PEER[sender], acknowledged] = segment.seq
        row = _Row(now, end=sender, segment=segment)
        if segment.flags & RST and segment.seq == 0:
            row.seq = 0  # it answers a segment without ACK, so 0 is not of its sender's space (RFC 9293 3.10.7.1)
            row.ack = _relative(segment.ack, peer_isns)
        else:
            isn = _isn_below(segment.seq, isns)
            row.seq = segment.seq if isn is None else seq.diff(segment.seq, isn)
            # The ACK is relative to the same connection's ISN at the peer, if known.
            paired = self._pairs.get((sender, isn))
            row.ack = _relative(segment.ack, peer_isns) if paired is None else seq.diff(segment.ack, paired)
        return self.append(row)


class EndObserver(Observer):
    """Records the events of one end. A LadderRecorder makes it."""

    def __init__(self, recorder: LadderRecorder, end: End) -> None:
        self._recorder = recorder
        self._end = end
        self._remote: Remote | None = None
        """The peer of the recorded connection, once this end has seen it."""
        self.path: list[int] = []
        self.isns: list[int] = []
        """Initial sequence numbers of its connections, the current one last."""
        self.snd_max: int | None = None
        """End of the sequence space that it has sent."""
        self._latest: _Row | None = None
        """The latest row with an event at this end."""
        self._arrival: _Row | None = None
        """The row of the last received segment, if no event followed here; it may cause a state."""
        self._unshown: _Row | None = None
        """The row of the last state change, if no segment was sent since. The next segment's row shows the state too,
        if both have the same cause."""
        self._flight = 0.0
        """Transit time of the last received segment, seconds."""
        self._expired: tuple[int, float] | None = None
        """The last expired timer and its time, if no event followed here."""
        self._connection: Connection | None = None
        """The connection, until it ends or enters TIME_WAIT."""

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        ports = (connection.local_port, connection.remote_port)
        if self._follows(connection.remote, ports):
            self._connection = None if after in (CLOSED, TIME_WAIT) else connection
            self._enter(before, after, now)

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        self.enter(remote, (local_port, remote_port), TIME_WAIT, CLOSED, now)

    def enter(self, remote: Remote, ports: tuple[int, int], before: int, after: int, now: float) -> None:
        """Record a state change of a connection without a TCB. `ports` are the local port and the peer's."""
        if self._follows(remote, ports):
            self._connection = None
            self._enter(before, after, now)

    def timer_expired(self, connection: Connection, timer: int, now: float) -> None:
        ports = (connection.local_port, connection.remote_port)
        if self._follows(connection.remote, ports) and timer != timers.PACING:
            self._expired = timer, now
            self._arrival = None

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        segment = decode(b"".join(buffers))
        if not self._follows(remote, (segment.src_port, segment.dst_port)):
            return
        recorder = self._recorder
        timer = self._take_timer(now)
        unshown = self._unshown
        if unshown is not None and (unshown.states[self._end] in _BY_CALL or now - unshown.time <= FLUSH):
            recorder.rows.remove(unshown)  # this segment's row shows that state too
            timer = timer if timer is not None else unshown.timer
        row = recorder.append_segment(self._end, segment, now)
        row.sent = now
        row.timer = timer
        row.at_sender = self._variables(now)
        row.retransmission = self._note_sent(segment)
        if self.path:
            row.states[self._end] = self.path[-1]
        recorder.in_flight.append(row)
        self._latest = row
        self._arrival = self._unshown = None

    def segment_received(self, remote: Remote, segment: Segment, now: float) -> None:
        if not self._follows(remote, (segment.dst_port, segment.src_port)):
            return
        recorder = self._recorder
        self._expired = None  # the segment, not the timer, causes the next event
        equal = [row for row in recorder.in_flight if row.end != self._end and row.segment == segment]
        if equal:
            row = min(reversed(equal), key=lambda row: abs(now - row.time - self._flight))
            recorder.in_flight.remove(row)
            self._flight = now - row.time
        else:
            row = recorder.append_segment(PEER[self._end], segment, now)
        row.received = now
        row.at_receiver = self._variables(now)
        # Its row can show the resulting state, unless an event at this end came between its sending and its arrival.
        if self._latest is None or self._latest.number < row.number:
            self._arrival = self._latest = row
        else:
            self._arrival = None

    def begin(self, isn: int) -> None:
        """Record the initial sequence number of a new connection."""
        self.isns.append(isn)
        self.snd_max = isn

    def _follows(self, remote: Remote, ports: tuple[int, int]) -> bool:
        """Return whether this is the recorded connection, because other peers may use the same ports."""
        if not self._recorder.is_recorded(self._end, ports):
            return False
        if self._remote is None:
            self._remote = remote
        return remote == self._remote

    def _enter(self, before: int, after: int, now: float) -> None:
        if not self.path or self.path[-1] != before:
            self.path.append(before)
        self.path.append(after)
        arrival = self._arrival
        if after != CLOSED:  # a SYN that ends TIME_WAIT also causes SYN_RCVD
            self._arrival = None
        if arrival is not None and arrival.received == now and after not in _BY_CALL:
            arrival.states[self._end] = after
            self._unshown = None
        else:
            row = _Row(now, states={self._end: after}, end=self._end, timer=self._take_timer(now))
            self._unshown = self._latest = self._recorder.append(row)

    def _variables(self, now: float) -> Comment:
        return {} if self._connection is None else describe(self._connection, now)

    def _take_timer(self, now: float) -> int | None:
        """Return and clear the timer that expired just now, if any."""
        expired, self._expired = self._expired, None
        return expired[0] if expired is not None and now - expired[1] <= FLUSH else None

    def _note_sent(self, segment: Segment) -> bool:
        """Return whether `segment` repeats sequence space sent before, and advance `snd_max`."""
        if not segment.length:
            return False
        end = seq.add(segment.seq, segment.length)
        again = self.snd_max is not None and seq.lt(segment.seq, self.snd_max)
        if self.snd_max is None or seq.gt(end, self.snd_max):
            self.snd_max = end
        return again


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
