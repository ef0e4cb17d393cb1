"""Time series of one direction of a captured connection, as the data of plots.

    captured = read_capture("life.pcapng")
    connections = find_connections([captured])
    series = series_of([captured], connections[0], "client")

Sequence numbers are relative to the sender's SYN, which is 0 (data begins at 1), and do not wrap. Without a SYN they
are relative to the first captured number. Times are seconds since the connection's first segment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from utcp.trace.capture_file import Captured
from utcp.trace.comments import Comment
from utcp.trace.connections import CapturedConnection, End
from utcp.trace.flights import Flight, flights_of
from utcp.trace.ladder.rungs import ENDS, PEER
from utcp.trace.ladder.rungs import End as Side
from utcp.wire import FIN, RST, SYN, Segment
from utcp.wire.options import MAX_WINDOW_SCALE
from utcp.wire.seq import diff

_MOST_REMEMBERED: Final = 65536
"""Maximum number of unacknowledged segments kept for round-trip times."""


@dataclass(slots=True)
class Span:
    """Data in flight, bytes from `low` up to `high`. `timer` is the timer that caused the segment, if a comment has
    it."""

    time: float
    low: int
    high: int
    again: bool
    """Whether some of the data was sent before. It is a retransmission or, in a capture made on the path, perhaps only
    reordered."""
    lost: bool = False
    timer: str = ""
    copy: bool = False
    """Whether the network has repeated it, and the sender has not sent it at this time."""


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
    """A SACK block: bytes from `low` up to `high` have arrived."""

    time: float
    low: int
    high: int


@dataclass(slots=True)
class Series:
    """One direction of a connection: the segments of `sender` and the acknowledgments of its peer.

    `cwnd`, `ssthresh`, `in_flight`, `srtt` and `rto` come from utcp's comments in a capture made at the sender, and are
    empty otherwise. `outstanding` is the number of bytes sent and not acknowledged in the capture.

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


def series_of(captures: Iterable[Iterable[Captured]], connection: CapturedConnection, sender: Side) -> Series:
    """Return the series of `sender` on `connection`, which `find_connections` found in the same captures."""
    seen, _ = flights_of(captures, connection)
    ends = {"client": connection.client, "server": connection.server}
    return _Builder(sender, Series(ends[sender], ends[PEER[sender]])).build(seen)


class _Builder:
    def __init__(self, sender: Side, series: Series) -> None:
        self._sender: Side = sender
        self._series = series
        self._acked = 0
        self._highest = 0
        self._origin = 0
        """The first captured number, if the sender's SYN was not captured."""
        self._shifts: dict[Side, int | None] = {}
        self._unacked: deque[tuple[int, float, int | None, bool]] = deque(maxlen=_MOST_REMEMBERED)

    def build(self, seen: Sequence[Flight]) -> Series:
        """Process the segments of the sender as they leave, and those of the receiver as they arrive."""
        own = [flight for flight in seen if flight.sender == self._sender and flight.sent is not None]
        answers = [flight for flight in seen if flight.sender != self._sender]
        own_at_sender = any("direction" in flight.at_sender for flight in own)
        answers_at_sender = any("direction" in flight.at_receiver for flight in answers)
        numbers = [(flight.segment, flight.seq if flight.sender == self._sender else flight.ack) for flight in seen]
        known = [
            (segment.flags & SYN, number)
            for segment, number in numbers
            if number is not None and not segment.flags & RST
        ]
        if known and not any(syn for syn, _ in known):
            self._origin = known[0][1]
        events = [(flight.place, flight) for flight in seen if flight.sender == self._sender]
        for flight in answers:
            if flight.received is None:
                events.append((flight.place, flight))
            elif not (answers_at_sender and _seen_leaving(flight)):
                events.append(((flight.received, flight.received_order), flight))
        events.sort(key=lambda event: event[0])
        for (time, _), flight in events:
            if flight.sender == self._sender and flight.sent is None:
                self._from_network(time, flight)
            elif flight.sender == self._sender:
                self._note(time, flight.at_sender)
                self._from_sender(time, flight)
            else:
                self._note(time, flight.at_receiver)
                # The two times of a round trip must come from the same place.
                self._from_receiver(time, flight, round_trip=not (own_at_sender and _seen_leaving(flight)))
        return self._series

    def _from_sender(self, time: float, flight: Flight) -> None:
        series, segment, lost = self._series, flight.segment, flight.received is None
        marks = []
        if segment.flags & SYN:
            self._shifts[self._sender] = segment.window_scale
            marks.append(Mark(time, 0, "SYN", by_sender=True, lost=lost))
        low = flight.seq - self._origin
        if segment.flags & RST:
            # An RST with number 0 answers a segment without ACK, and its number is not of this space (RFC 9293
            # 3.10.7.1).
            low = low if segment.seq else self._highest
            marks.append(Mark(time, low, "RST", by_sender=True, lost=lost))
        end = low + segment.length
        if segment.payload:
            begin = low + (segment.flags & SYN != 0)
            timer = flight.at_sender.get("timer", "")
            series.spans.append(Span(time, begin, begin + len(segment.payload), flight.retransmission, lost, timer))
        if segment.flags & FIN:
            marks.append(Mark(time, end - 1, "FIN", by_sender=True, lost=lost))
        series.marks += marks
        if segment.length:
            self._unacked.append((end, time, segment.ts_val, flight.retransmission))
        self._highest = max(self._highest, end)
        series.outstanding.append(Point(time, max(0, self._highest - self._acked)))

    def _from_network(self, time: float, flight: Flight) -> None:
        if flight.segment.payload:
            low = flight.seq - self._origin + (flight.segment.flags & SYN != 0)
            self._series.spans.append(Span(time, low, low + len(flight.segment.payload), again=False, copy=True))

    def _from_receiver(self, time: float, flight: Flight, round_trip: bool) -> None:
        series, segment, lost = self._series, flight.segment, flight.received is None
        if segment.flags & SYN:
            self._shifts[PEER[self._sender]] = segment.window_scale
        if flight.ack is not None and not segment.flags & RST and not lost:
            self._acknowledge(time, segment, flight.ack - self._origin, round_trip)
        for bit, name in ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST")):
            if segment.flags & bit:
                series.marks.append(Mark(time, self._acked, name, by_sender=False, lost=lost))

    def _acknowledge(self, time: float, segment: Segment, ack: int, round_trip: bool) -> None:
        series = self._series
        if ack > self._acked:
            if round_trip:
                self._measure(time, ack, segment)
            self._acked = ack
        series.acks.append(Point(time, self._acked))
        series.window.append(Point(time, ack + (segment.window << self._shift(segment))))
        for left, right in segment.sack_blocks:
            low, high = ack + diff(left, segment.ack), ack + diff(right, segment.ack)
            if ack < low < high:  # other blocks report duplicates (RFC 2883)
                series.blocks.append(Block(time, low, high))
        series.outstanding.append(Point(time, max(0, self._highest - self._acked)))

    def _shift(self, segment: Segment) -> int:
        """Return the shift of the receiver's window: 0 in a SYN, and unless both ends offered scaling (RFC 7323
        2.2)."""
        if segment.flags & SYN:
            return 0
        if len(self._shifts) < len(ENDS):
            self._series.window_scaled = False
            return 0
        shift = self._shifts[PEER[self._sender]]
        return 0 if shift is None or self._shifts[self._sender] is None else min(shift, MAX_WINDOW_SCALE)

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

    def _note(self, time: float, comment: Comment) -> None:
        """Add the sender's variables from a comment on a segment that it sent or received."""
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


def _seen_leaving(flight: Flight) -> bool:
    """Return whether only its sender captured a segment, so that the time of its arrival is unknown."""
    return "direction" in flight.at_sender and not flight.at_receiver and "flight" not in flight.at_sender
