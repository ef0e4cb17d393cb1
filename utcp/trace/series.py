"""What a capture tells about one direction of a connection, as series over time: what plots are made of.

    connections = survey("life.pcapng")
    series = series_of("life.pcapng", connections[0], connections[0].client)

Sequence numbers are relative to the sender's SYN, which is 0 (its text begins at 1), and do not wrap. Without a SYN
they are relative to the first number seen. Times are seconds since the connection's first segment.
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

from utcp.trace.annotation import Comment, flights_of, parse_comment
from utcp.trace.capture_file import Captured, iter_capture
from utcp.trace.connections import CapturedConnection, Connections, End, ends_of
from utcp.wire import ACK, FIN, RST, SYN, Segment
from utcp.wire.options import MAX_WINDOW_SCALE
from utcp.wire.seq import MASK, diff

_MOST_REMEMBERED: Final = 65536
"""Segments whose acknowledgement is waited for, for round-trip times."""


@dataclass(slots=True)
class Span:
    """Text under way: octets from `low` up to `high`. `timer`: the one that had it sent, where a comment says so."""

    time: float
    low: int
    high: int
    again: bool
    """Some of it had been sent before: a retransmission or, in a capture made on the way, perhaps only late."""
    lost: bool = False
    timer: str = ""


@dataclass(slots=True)
class Mark:
    """A SYN, FIN or RST of either end, at a place in the sender's sequence space."""

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
    """One direction of a connection: what `sender` sent, and what its peer said about that.

    What only the sender knows (`cwnd`, `ssthresh`, `in_flight`, `srtt`, `rto`) is there where a utcp that captured the
    connection at the sender has written it into comments. `outstanding`, from what was captured: octets sent and not
    acknowledged yet. `round_trips`: from a segment to the ACK for it, as seen where it was captured; of what was sent
    again only if timestamps tell which of the two was acknowledged (RFC 7323 4, RFC 6298 3), and none from a capture
    that shows only what each end sent, and not when it arrived: there is no place at which both were seen.
    """

    sender: End
    receiver: End
    spans: list[Span] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    acks: list[Point] = field(default_factory=list)
    window: list[Point] = field(default_factory=list)
    """The right edge of the receiver's window."""
    window_scaled: bool = True
    """The scale of the window is known: both SYNs were captured. If not, the window is drawn as its field says."""
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
        """The time of the last segment of the connection."""
        return max((points[-1].time for points in (self.acks, self.outstanding) if points), default=0.0)


def survey(path: str | PathLike[str], *, udp_ports: AbstractSet[int] | None = None) -> list[CapturedConnection]:
    """The connections in the capture; empty when there is none. `udp_ports` and what is raised: see iter_capture."""
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
    """What `sender` sent on `connection`, which `survey()` has found in this capture. Raises as iter_capture does."""
    connections = Connections()
    mine = (
        captured
        for captured in iter_capture(path, udp_ports=udp_ports)
        if connections.of(captured).number == connection.number
    )
    return build(mine, connection, sender)


def build(segments: Iterable[Captured], connection: CapturedConnection, sender: End) -> Series:
    """The same from the connection's segments, in the order of the capture."""
    builder = _Builder(connection, sender)
    for captured in segments:
        builder.add(captured)
    return builder.finish()


class _Space:
    """A sequence space laid out straight."""

    def __init__(self) -> None:
        self._base: int | None = None
        self.highest = 0

    def begin(self, isn: int) -> None:
        if isn != self._base:
            self._base = isn
            self.highest = 0

    def place(self, number: int) -> int:
        """Where this 32-bit number lies, nearest to the highest placed with `reach()`."""
        if self._base is None:
            self._base = number
        return self.highest + diff(number, (self._base + self.highest) & MASK)

    def reach(self, place: int) -> None:
        self.highest = max(self.highest, place)


class _Sighting(NamedTuple):
    """What a segment sent has become: to be found again when its peer sees it, or acknowledges it."""

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
        # Of segments seen twice that one is taken which the sender saw. What it received is taken from its peer only
        # if it tells nothing; no time between what two ends sent is a round trip.
        self._twice = sees_own, sees_peers
        self._round_trips = sees_peers or not (sees_own and receiver in connection.tells_sent)
        # Where the peer tells what it received: what was sent and has not been seen there yet, by its contents.
        self._both = sees_own and receiver in connection.tells_received
        self._under_way: dict[tuple[int, ...], list[_Sighting]] = {}
        self._arrived = 0
        self._coming: list[tuple[float, int, Segment, Comment]] = []
        """What the peer has sent, and a simulated network delivers later: when, and as what it was captured."""
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
        """What was sent before something that arrived, and did not arrive itself, is lost."""
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
            low = self._space.highest  # it answers a segment without ACK: no number of this space (RFC 9293 3.10.7.1)
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
            if place < low < high:  # the other blocks tell of what arrived twice (RFC 2883)
                series.blocks.append(Block(time, low, high))
        series.outstanding.append(Point(time, max(0, self._space.highest - self._acked)))

    def _shift(self, segment: Segment) -> int:
        """What the receiver's window is shifted by: nothing in a SYN, or unless both have offered to (RFC 7323 2.2)."""
        ends = self._sender, self._series.receiver
        if segment.flags & SYN:
            return 0
        if not all(end in self._shifts for end in ends):
            self._series.window_scaled = False
            return 0
        shifts = [self._shifts[end] for end in ends]
        return 0 if None in shifts else min(shifts[1] or 0, MAX_WINDOW_SCALE)

    def _measure(self, time: float, place: int, segment: Segment) -> None:
        """A round-trip time from an ACK up to `place`, which acknowledges something for the first time."""
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
        """What the sender says about itself: in comments on what it sent, and on what it received."""
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
    """What makes a segment known again."""
    return segment.seq, segment.ack, segment.flags, segment.length, segment.ts_val or 0, segment.window
