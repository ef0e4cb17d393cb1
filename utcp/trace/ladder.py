"""What both ends of a connection did, as a ladder: recorded by one observer per end, rendered as text.

    recorder = LadderRecorder()
    ...  # Endpoint(..., observer=recorder.client) and Endpoint(..., observer=recorder.server) talk
    print(render_text(recorder.rungs()))

The rungs are plain values, for other renderers too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from utcp.tcp.observer import Observer
from utcp.tcp.state import CLOSED, FIN_WAIT_1, LAST_ACK, NAMES, SYN_SENT, TIME_WAIT
from utcp.tcp.transmit import Buffer, Remote
from utcp.wire import ACK, RST, SYN, Segment, decode, flag_names, seq

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection

End: TypeAlias = Literal["client", "server"]

_BY_CALL: Final = (SYN_SENT, FIN_WAIT_1, LAST_ACK)
"""States to which the user's calls lead, not segments."""

_PEER: Final[dict[End, End]] = {"client": "server", "server": "client"}


@dataclass(frozen=True, slots=True)
class Arrow:
    """A segment under way.

    `seq` and `ack` are relative: each end's SYN is 0, its data begins at 1. (The raw number stands where an end's SYN
    was never seen.) `ack` is None without the ACK bit. `length` is the payload in octets. `sent` and `received` are
    times on the recorder's clock; `received` None: lost; `sent` None: it arrived without having been sent, as when the
    network doubles one. `retransmission`: some of its sequence space had been sent before.
    """

    sender: End
    flags: int
    seq: int
    ack: int | None
    length: int
    sent: float | None
    received: float | None
    retransmission: bool


@dataclass(frozen=True, slots=True)
class Rung:
    """One row of a ladder: a segment, a state change that no segment shows, or a note.

    `time` is in seconds on the recorder's clock: of a segment, when it was sent. `client` and `server` are states, None
    where the row tells nothing about that end: the sender's when it sent, the receiver's if the segment led to it.
    """

    time: float
    client: int | None = None
    server: int | None = None
    arrow: Arrow | None = None
    note: str | None = None


class LadderRecorder:
    """Records one connection, the first that either end tells about; what the ends' other connections do is ignored.

    `client` and `server` are the observers to give to the two stacks, which must share a clock and a thread. A segment
    is seen twice, when sent and when received: its contents tell which two belong together. Among equal ones in flight
    (a retransmission without timestamps) the youngest is taken for the one that arrived.

    A new connection on the same ports continues the ladder, with relative numbers of its own.
    """

    def __init__(self) -> None:
        self.client: Observer = _View(self, "client")
        self.server: Observer = _View(self, "server")
        self._ports: tuple[int, int] | None = None
        self._rows: list[_Row] = []
        self._made = 0
        self._in_flight: list[_Row] = []
        self._ends: dict[End, _EndRecord] = {"client": _EndRecord(), "server": _EndRecord()}

    def note(self, text: str, now: float) -> None:
        """Put a line of explanation between what happened before and what happens from here on."""
        self._append(_Row(now, note=text))

    def path(self, end: End) -> tuple[int, ...]:
        """The states that `end` took, the one before its first change included."""
        return tuple(self._ends[end].path)

    def rungs(self) -> list[Rung]:
        """The ladder so far, led by a rung with the states in which the ends were before anything happened."""
        rungs = [row.rung() for row in self._rows]
        client, server = (record.path[0] if record.path else None for record in self._ends.values())
        if client is not None or server is not None:
            rungs.insert(0, Rung(rungs[0].time, client, server))
        return rungs

    # What the views saw. `ports` are those of the end whose view it is: its own, its peer's.

    def state_changed(self, end: End, ports: tuple[int, int], before: int, after: int, now: float) -> None:
        """For the views: `end` moved between two states."""
        if not self._follows(end, ports):
            return
        record = self._ends[end]
        if not record.path or record.path[-1] != before:
            record.path.append(before)
        record.path.append(after)
        arrival, record.arrival = record.arrival, None
        if arrival is not None and arrival.received == now and after not in _BY_CALL:
            arrival.states[end] = after
            record.unshown = None
        else:
            record.unshown = self._append(_Row(now, states={end: after}))
            record.latest = record.unshown

    def time_wait_ended(self, end: End, ports: tuple[int, int], now: float) -> None:
        """For the views: the TIME_WAIT record of `end` is gone."""
        self.state_changed(end, ports, TIME_WAIT, CLOSED, now)

    def segment_sent(self, end: End, segment: Segment, now: float) -> None:
        """For the views: `end` sent `segment`."""
        if not self._follows(end, (segment.src_port, segment.dst_port)):
            return
        record = self._ends[end]
        if record.unshown is not None:
            self._rows.remove(record.unshown)  # the row of this segment shows that state too
        row = self._append_segment(end, segment, now)
        row.sent = now
        row.retransmission = record.note_sent(segment)
        if record.path:
            row.states[end] = record.path[-1]
        self._in_flight.append(row)
        record.latest = row
        record.arrival = record.unshown = None

    def segment_received(self, end: End, segment: Segment, now: float) -> None:
        """For the views: `segment` arrived at `end`."""
        if not self._follows(end, (segment.dst_port, segment.src_port)):
            return
        record = self._ends[end]
        for row in reversed(self._in_flight):
            if row.sender != end and row.segment == segment:
                self._in_flight.remove(row)
                break
        else:
            row = self._append_segment(_PEER[end], segment, now)
        row.received = now
        # The state it leads to can stand in its row, unless this end did something between its sending and its arrival.
        if record.latest is None or record.latest.number < row.number:
            record.arrival = record.latest = row
        else:
            record.arrival = None

    def _follows(self, end: End, ports: tuple[int, int]) -> bool:
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
        if segment.flags & SYN and record.isn != segment.seq:
            record.isn = segment.seq
            record.snd_max = segment.seq
        row = _Row(now, sender=sender, segment=segment)
        if segment.flags & RST and segment.seq == 0:
            row.seq = 0  # it answers a segment without ACK; not a number of its sender's space (RFC 9293 3.10.7.1)
        else:
            row.seq = _relative(segment.seq, record.isn)
        row.ack = _relative(segment.ack, self._ends[_PEER[sender]].isn)
        return self._append(row)


class _View(Observer):
    """One end's observer: hands on what it sees, with the name of the end."""

    def __init__(self, recorder: LadderRecorder, end: End) -> None:
        self._recorder = recorder
        self._end = end

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        ports = (connection.local_port, connection.remote_port)
        self._recorder.state_changed(self._end, ports, before, after, now)

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        self._recorder.time_wait_ended(self._end, (local_port, remote_port), now)

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        self._recorder.segment_sent(self._end, decode(b"".join(buffers)), now)

    def segment_received(self, remote: Remote, segment: Segment, now: float) -> None:
        self._recorder.segment_received(self._end, segment, now)


@dataclass(slots=True, eq=False)
class _Row:
    """A rung that can still change: its segment may yet arrive, and lead to a state."""

    time: float
    number: int = 0
    states: dict[End, int] = field(default_factory=dict)
    note: str | None = None
    segment: Segment | None = None
    sender: End = "client"
    seq: int = 0
    ack: int = 0
    sent: float | None = None
    received: float | None = None
    retransmission: bool = False

    def rung(self) -> Rung:
        arrow = None
        if self.segment is not None:
            arrow = Arrow(
                sender=self.sender,
                flags=self.segment.flags,
                seq=self.seq,
                ack=self.ack if self.segment.flags & ACK else None,
                length=len(self.segment.payload),
                sent=self.sent,
                received=self.received,
                retransmission=self.retransmission,
            )
        return Rung(self.time, self.states.get("client"), self.states.get("server"), arrow, self.note)


@dataclass(slots=True)
class _EndRecord:
    """What the recorder knows of one end."""

    path: list[int] = field(default_factory=list)
    isn: int | None = None
    snd_max: int | None = None
    """The end of the sequence space it has sent."""
    latest: _Row | None = None
    """The youngest row that tells about this end."""
    arrival: _Row | None = None
    """The row of the segment that arrived here last, if nothing has happened here since: it may lead to a state."""
    unshown: _Row | None = None
    """The row of the last state change, if no segment has been sent since: the next one shows that state too."""

    def note_sent(self, segment: Segment) -> bool:
        """Whether `segment` repeats sequence space sent before; moves `snd_max` on."""
        if not segment.length:
            return False
        end = seq.add(segment.seq, segment.length)
        again = self.snd_max is not None and seq.lt(segment.seq, self.snd_max)
        if self.snd_max is None or seq.gt(end, self.snd_max):
            self.snd_max = end
        return again


def _relative(number: int, isn: int | None) -> int:
    return number if isn is None else seq.diff(number, isn)


_TIME_WIDTH: Final = 9
_STATE_WIDTH: Final = max(map(len, NAMES))


def render_text(rungs: Sequence[Rung], width: int = 100, names: tuple[str, str] = ("client", "server")) -> str:
    """The ladder as lines of text, `width` columns wide, or wider where a segment's description needs it.

    Times are milliseconds since the first rung. A state is written where it changes. An arrow that ends in `x` is a
    segment that never arrived; one that begins with `...`, one that arrived without having been sent.
    """
    labels = [_label(rung.arrow) for rung in rungs if rung.arrow]
    frame = _TIME_WIDTH + 2 * _STATE_WIDTH + len("  ") + 2 * len(" |")
    shaft = max([width - frame, *(len("---  --->") + len(label) for label in labels)])
    lines = [_line("ms", names[0], " " * shaft, names[1])]
    left = right = None
    for rung in rungs:
        if rung.note is not None:
            lines.append(f"{'':{_TIME_WIDTH}}  {rung.note}")
            continue
        left_text, left = _changed(left, rung.client)
        right_text, right = _changed(right, rung.server)
        body = " " * shaft if rung.arrow is None else _shaft(rung.arrow, shaft)
        lines.append(_line(f"{(rung.time - rungs[0].time) * 1000:.1f}", left_text, body, right_text))
    return "\n".join(lines) + "\n"


def _line(time: str, left: str, body: str, right: str) -> str:
    return f"{time:>{_TIME_WIDTH}}  {left:<{_STATE_WIDTH}} |{body}| {right}".rstrip()


def _changed(shown: int | None, state: int | None) -> tuple[str, int | None]:
    """What to write for `state` under a column that last showed `shown`, and what the column shows now."""
    return ("", shown) if state in (None, shown) else (NAMES[state], state)


def _label(arrow: Arrow) -> str:
    numbers = f"seq={arrow.seq}"
    if arrow.length:
        numbers += f":{arrow.seq + arrow.length}"
    if arrow.ack is not None:
        numbers += f" ack={arrow.ack}"
    if arrow.length:
        numbers += f" len={arrow.length}"
    if arrow.retransmission:
        numbers += " (retransmission)"
    return f"{flag_names(arrow.flags)} {numbers}"


def _shaft(arrow: Arrow, width: int) -> str:
    """The arrow between the columns: its description near the sender, its head at the receiver or, lost, an `x`."""
    label = _label(arrow)
    tail = "---" if arrow.sent is not None else "..."
    if arrow.sender == "client":
        start = f"{tail} {label} "
        return f"{start:-<{width - 1}}>" if arrow.received is not None else f"{start}--x".ljust(width)
    start = f" {label} {tail}"
    return f"<{start:->{width - 1}}" if arrow.received is not None else f"x--{start}".rjust(width)
