"""Time series of one direction of a captured connection, as the data of plots.

    connections = survey("life.pcapng")
    series = series_of("life.pcapng", connections[0], connections[0].client)

Sequence numbers are relative to the sender's SYN, which is 0 (data begins at 1), and do not wrap. Without a SYN they
are relative to the first captured number. Times are seconds since the connection's first segment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from os import PathLike
from typing import Final, NamedTuple

from utcp.trace.capture_file import Captured, iter_capture
from utcp.trace.comments import Comment, flights_of, parse_comment
from utcp.trace.connections import CapturedConnection, Connections, End, ends_of
from utcp.wire import ACK, FIN, RST, SYN, Segment
from utcp.wire.options import MAX_WINDOW_SCALE
from utcp.wire.seq import MASK, diff

_MOST_REMEMBERED: Final = 65536
"""Maximum number of unacknowledged segments kept for round-trip times."""


@dataclass(slots=True)
class Span:
    """Data in flight, octets from `low` up to `high`. `timer` is the timer that caused the segment, if a comment has
    it."""

    time: float
    low: int
    high: int
    again: bool
    """Whether some of the data was sent before. It is a retransmission or, in a capture made on the path, perhaps only
    reordered."""
    lost: bool = False
    timer: str = ""


@dataclass(slots=True)
class Mark:
    """A SYN, FIN or RST of either end, at a position in the sender's sequence space."""

    time: float
    seq: int
    name: str
    by_sender: bool
    lost: bool = False


class Point(NamedTuple):
    """A value at a time."""

    time: float
    value: float


class Block(NamedTuple):
    """A SACK block: octets from `low` up to `high` have arrived."""

    time: float
    low: int
    high: int


@dataclass(slots=True)
class Series:
    """One direction of a connection: the segments of `sender` and the acknowledgments of its peer.

    `cwnd`, `ssthresh`, `in_flight`, `srtt` and `rto` come from utcp's comments in a capture made at the sender, and are
    empty otherwise. `outstanding` is the number of octets sent and not acknowledged in the capture.

    `round_trips` are times from a segment to its ACK at the place of the capture. A retransmitted segment counts only
    if timestamps show which transmission was acknowledged (RFC 7323 4, RFC 6298 3). There are none if the capture has
    only the sending times at both ends, because both times must come from the same place.
    """

    sender: End
    receiver: End
    spans: list[Span] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    acks: list[Point] = field(default_factory=list)
    window: list[Point] = field(default_factory=list)
    """Right edge of the receiver's window."""
    window_scaled: bool = True
    """Whether the window scale is known, because both SYNs were captured. If not, the unscaled field is used."""
    blocks: list[Block] = field(default_factory=list)
    outstanding: list[Point] = field(default_factory=list)
    round_trips: list[Point] = field(default_factory=list)
    cwnd: list[Point] = field(default_factory=list)
    ssthresh: list[Point] = field(default_factory=list)
    in_flight: list[Point] = field(default_factory=list)
    srtt: list[Point] = field(default_factory=list)
    rto: list[Point] = field(default_factory=list)

    @property
    def end(self) -> float:
        """Return the time of the last segment of the connection."""
        return max((points[-1].time for points in (self.acks, self.outstanding) if points), default=0.0)


def survey(path: str | PathLike[str], *, udp_ports: AbstractSet[int] | None = None) -> list[CapturedConnection]:
    """Return the connections in the capture. For `udp_ports` and the errors see iter_capture."""
    connections = Connections()
    for captured in iter_capture(path, udp_ports=udp_ports):
        connections.of(captured)
    return connections.found


def series_of(
    path: str | PathLike[str],
    connection: CapturedConnection,
    sender: End,
    *,
    udp_ports: AbstractSet[int] | None = None,
) -> Series:
    """Return the series of `sender` on `connection`, which comes from `survey()` of this capture. Raises as
    iter_capture does."""
    connections = Connections()
    mine = (
        captured
        for captured in iter_capture(path, udp_ports=udp_ports)
        if connections.of(captured).number == connection.number
    )
    return build(mine, connection, sender)


def build(segments: Iterable[Captured], connection: CapturedConnection, sender: End) -> Series:
    """Return the series from the connection's segments, in the order of the capture."""
    builder = _Builder(connection, sender)
    for captured in segments:
        builder.add(captured)
    return builder.finish()


class _Space:
    """A sequence space without wraparound."""

    def __init__(self) -> None:
        self._base: int | None = None
        self.highest = 0

    def begin(self, isn: int) -> None:
        if isn != self._base:
            self._base = isn
            self.highest = 0

    def place(self, number: int) -> int:
        """Return the position of a 32-bit number, nearest to the highest position so far (`reach()`)."""
        if self._base is None:
            self._base = number
        return self.highest + diff(number, (self._base + self.highest) & MASK)

    def reach(self, place: int) -> None:
        self.highest = max(self.highest, place)


class _Sighting(NamedTuple):
    """A sent segment, to be matched when its peer receives or acknowledges it."""

    number: int
    span: Span | None
    marks: list[Mark]


class _Builder:
    def __init__(self, connection: CapturedConnection, sender: End) -> None:
        self._connection = connection
        self._sender = sender
        self._series = Series(sender, connection.peer(sender))
        self._space = _Space()
        self._sent = 0
        self._acked = 0
        self._shifts: dict[End, int | None] = {}
        self._unacked: deque[tuple[int, float, int | None, bool]] = deque(maxlen=_MOST_REMEMBERED)
        receiver = self._series.receiver
        sees_own, sees_peers = sender in connection.tells_sent, sender in connection.tells_received
        # For a segment captured at both ends, the sender's own capture is used. If that lacks received segments, the
        # peer's sent segments replace them, and there are no round-trip times, because the two times are from different
        # ends.
        self._twice = sees_own, sees_peers
        self._round_trips = sees_peers or not (sees_own and receiver in connection.tells_sent)
        # If the capture has the segments received by the peer: sent segments not yet found among them, by content.
        self._both = sees_own and receiver in connection.tells_received
        self._under_way: dict[tuple[int, ...], list[_Sighting]] = {}
        self._arrived = 0
        self._coming: list[tuple[float, int, Segment, Comment]] = []
        """Segments of the peer that a simulated network delivers later: arrival time, number, and the captured
        segment."""
        self._added = 0

    def add(self, captured: Captured) -> None:
        time = (captured.time_ns - self._connection.began_ns) / 1e9
        source, _ = ends_of(captured)
        comment = parse_comment(captured.comment)
        self._deliver(time)
        self._added += 1
        self._note(time, source, comment)
        direction = comment.get("direction")
        sees_own, sees_peers = self._twice
        if source == self._sender:
            if direction == "in" and sees_own:
                self._seen_at_peer(captured.segment)
            else:
                self._from_sender(time, captured.segment, comment)
        elif direction == "out" and sees_peers:
            pass
        elif flights := flights_of(comment):
            heappush(self._coming, (round(time + flights[0], 9), self._added, captured.segment, comment))
        else:
            self._from_receiver(time, captured.segment, comment, self._round_trips)

    def finish(self) -> Series:
        """Mark as lost each missing segment that was sent before one that arrived, and return the series."""
        self._deliver(inf)
        if self._both:
            for sightings in self._under_way.values():
                for sighting in sightings:
                    if sighting.number < self._arrived:
                        if sighting.span is not None:
                            sighting.span.lost = True
                        for mark in sighting.marks:
                            mark.lost = True
        return self._series

    def _deliver(self, until: float) -> None:
        while self._coming and self._coming[0][0] <= until:
            time, _, segment, comment = heappop(self._coming)
            self._from_receiver(time, segment, comment, round_trip=True)

    def _from_sender(self, time: float, segment: Segment, comment: Comment) -> None:
        series, lost = self._series, comment.get("lost", False)
        marks = []
        if segment.flags & SYN:
            self._space.begin(segment.seq)
            self._shifts[self._sender] = segment.window_scale
            marks.append(Mark(time, 0, "SYN", by_sender=True, lost=lost))
        low = self._space.place(segment.seq)
        if segment.flags & RST and segment.seq == 0:
            # Such an RST answers a segment without ACK, and its number is not of this space (RFC 9293 3.10.7.1).
            low = self._space.highest
        if segment.flags & RST:
            marks.append(Mark(time, low, "RST", by_sender=True, lost=lost))
        span = None
        end = low + segment.length
        again = bool(segment.length) and low < self._space.highest
        if segment.payload:
            begin = low + (segment.flags & SYN != 0)
            span = Span(time, begin, begin + len(segment.payload), again, lost, comment.get("timer", ""))
            series.spans.append(span)
        if segment.flags & FIN:
            marks.append(Mark(time, end - 1, "FIN", by_sender=True, lost=lost))
        series.marks += marks
        if segment.length:
            self._unacked.append((end, time, segment.ts_val, again))
        self._space.reach(end)
        series.outstanding.append(Point(time, max(0, self._space.highest - self._acked)))
        if self._both:
            self._under_way.setdefault(_contents(segment), []).append(_Sighting(self._sent, span, marks))
        self._sent += 1

    def _seen_at_peer(self, segment: Segment) -> None:
        sightings = self._under_way.get(_contents(segment))
        if sightings:
            self._arrived = max(self._arrived, sightings.pop(0).number)

    def _from_receiver(self, time: float, segment: Segment, comment: Comment, round_trip: bool) -> None:
        series, lost = self._series, comment.get("lost", False)
        if segment.flags & SYN:
            self._shifts[series.receiver] = segment.window_scale
        if segment.flags & ACK and not segment.flags & RST and not lost:
            self._acknowledge(time, segment, round_trip)
        for bit, name in ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST")):
            if segment.flags & bit:
                series.marks.append(Mark(time, self._acked, name, by_sender=False, lost=lost))

    def _acknowledge(self, time: float, segment: Segment, round_trip: bool) -> None:
        series = self._series
        place = self._space.place(segment.ack)
        if place > self._acked:
            if round_trip:
                self._measure(time, place, segment)
            self._acked = place
        series.acks.append(Point(time, self._acked))
        series.window.append(Point(time, place + (segment.window << self._shift(segment))))
        for left, right in segment.sack_blocks:
            low, high = self._space.place(left), self._space.place(right)
            if place < low < high:  # other blocks report duplicates (RFC 2883)
                series.blocks.append(Block(time, low, high))
        series.outstanding.append(Point(time, max(0, self._space.highest - self._acked)))

    def _shift(self, segment: Segment) -> int:
        """Return the shift of the receiver's window: 0 in a SYN, and unless both ends offered scaling (RFC 7323
        2.2)."""
        ends = self._sender, self._series.receiver
        if segment.flags & SYN:
            return 0
        if not all(end in self._shifts for end in ends):
            self._series.window_scaled = False
            return 0
        shifts = [self._shifts[end] for end in ends]
        return 0 if None in shifts else min(shifts[1] or 0, MAX_WINDOW_SCALE)

    def _measure(self, time: float, place: int, segment: Segment) -> None:
        """Add a round-trip time from an ACK up to `place` that acknowledges new data."""
        newest = None
        again = False
        echoed = None
        kept = []
        for one in self._unacked:
            end, sent, ts_val, is_again = one
            if end > place:
                kept.append(one)
                continue
            again = again or is_again
            if end == place and newest is None:
                newest = sent
            if echoed is None and ts_val is not None and ts_val == segment.ts_ecr:
                echoed = sent
        self._unacked = deque(kept, maxlen=_MOST_REMEMBERED)
        sent_at = echoed if again else newest if newest is not None else echoed
        if sent_at is not None:
            self._series.round_trips.append(Point(time, time - sent_at))

    def _note(self, time: float, source: End, comment: Comment) -> None:
        """Add the sender's variables from comments on its sent and received segments."""
        direction = comment.get("direction")
        if direction is None or (source == self._sender) != (direction == "out"):
            return
        series = self._series
        for key, points in (
            ("cwnd", series.cwnd),
            ("ssthresh", series.ssthresh),
            ("in_flight", series.in_flight),
            ("srtt", series.srtt),
            ("rto", series.rto),
        ):
            value = comment.get(key)
            if isinstance(value, int | float):
                points.append(Point(time, float(value)))


def _contents(segment: Segment) -> tuple[int, ...]:
    """Return the fields by which a segment is recognized."""
    return segment.seq, segment.ack, segment.flags, segment.length, segment.ts_val or 0, segment.window
