"""Matches the captured segments of one or two captures with each other, and finds lost segments.

A capture has a segment as sent, as received, or at some point of the path. With captures of both ends, a segment that
was sent and not received is lost. With a capture of one end, the transit time is unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Literal, TypeAlias

from utcp.trace.comments import Comment, flights_of
from utcp.trace.ladder.rungs import ENDS, PEER, End
from utcp.wire import Segment, seq

Where: TypeAlias = Literal["sender", "receiver", "way"]


@dataclass(slots=True, eq=False)
class Sighting:
    """A captured segment: its `time` in seconds, its `order` among segments captured at the same time, and `where` it
    was captured."""

    time: float
    order: int
    sender: End
    segment: Segment
    where: Where
    comment: Comment = field(default_factory=lambda: Comment())
    remarks: tuple[str, ...] = ()
    """Comments written by people."""


@dataclass(slots=True, eq=False)
class Flight:
    """A segment with its sightings. `sent` and `received` are as in `Arrow`; the orders distinguish events at the same
    time."""

    sender: End
    segment: Segment
    sent: float | None
    received: float | None
    sent_order: int
    received_order: int
    at_sender: Comment
    at_receiver: Comment
    remarks: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[float, int]:
        """Return its sending time, or its arrival time if it was not sent, with its order among events at that time."""
        if self.sent is not None:
            return self.sent, self.sent_order
        if self.received is not None:
            return self.received, self.received_order
        raise AssertionError("a segment that was neither sent nor received")


def flights(sightings: Iterable[Sighting]) -> list[Flight]:
    """Return every segment in order of time."""
    found: list[Flight] = []
    by_sender: dict[End, dict[Where, list[Sighting]]] = {end: defaultdict(list) for end in ENDS}
    watched: dict[End, float] = {}  # end of the capture at each end
    for sighting in sorted(sightings, key=lambda sighting: (sighting.time, sighting.order)):
        by_sender[sighting.sender][sighting.where].append(sighting)
        if sighting.where != "way":
            watched[sighting.sender if sighting.where == "sender" else PEER[sighting.sender]] = sighting.time
    for end in ENDS:
        seen = by_sender[end]
        alone = seen["way"]
        if not seen["sender"] or not seen["receiver"]:
            alone = [*alone, *seen["sender"], *seen["receiver"]]
        else:
            found += _matched(seen["sender"], seen["receiver"], watched[PEER[end]])
        found += [_alone(sighting) for sighting in alone]
        for sighting in alone:
            found += _doubled(sighting)
    found.sort(key=lambda flight: flight.place)
    return found


def _alone(sighting: Sighting) -> Flight:
    """Create a flight from a single sighting: in flight at that time, and lost or received later only if a comment
    shows that."""
    comment = sighting.comment
    received = None if comment.get("lost") else sighting.time
    flights = flights_of(comment)
    if flights and received is not None:
        received = _later(sighting.time, flights[0])
    at_receiver = comment if sighting.where == "receiver" else Comment()
    at_sender = Comment() if sighting.where == "receiver" else comment
    return Flight(
        sighting.sender,
        sighting.segment,
        sighting.time,
        received,
        sighting.order,
        sighting.order,
        at_sender,
        at_receiver,
        sighting.remarks,
    )


def _doubled(sighting: Sighting) -> list[Flight]:
    """Return the second and further arrivals of a segment, according to its comment."""
    if not sighting.comment.get("duplicated"):
        return []
    arrivals = [_later(sighting.time, flight) for flight in flights_of(sighting.comment)[1:]] or [sighting.time]
    first = _alone(sighting)
    return [replace(first, sent=None, received=time, at_sender=Comment(), remarks=()) for time in arrivals]


def _later(time: float, seconds: float) -> float:
    """Return `time` + `seconds`, rounded to the nanosecond, so that it equals the time of a segment captured then."""
    return round(time + seconds, 9)


def _matched(sent: Sequence[Sighting], received: Sequence[Sighting], watched_until: float) -> list[Flight]:
    """Match the segments of one end as sent with those received."""
    pairs = _pairs(sent, received)
    longest = max((arrival.time - departure.time for departure, arrival in pairs), default=0.0)
    paired = {id(sighting) for pair in pairs for sighting in pair}
    missing = [departure for departure in sent if id(departure) not in paired]
    extra = [arrival for arrival in received if id(arrival) not in paired]
    # Network cards split and merge segments. They are shown as sent.
    for whole, pieces in _chains(missing, extra):
        pairs.append((whole, pieces[-1]))
        paired.update(map(id, (whole, *pieces)))
    for whole, pieces in _chains(extra, missing):
        pairs += [(piece, whole) for piece in pieces]
        paired.update(map(id, (whole, *pieces)))
    found = [_flight(departure, arrival) for departure, arrival in pairs]
    for departure in missing:
        if id(departure) not in paired:
            flight = _alone(departure)
            if departure.time + longest < watched_until:
                flight.received = None
            found.append(flight)
    for arrival in extra:
        if id(arrival) not in paired:
            flight = _alone(arrival)
            if arrival.time >= sent[0].time:
                flight.sent = None
            found.append(flight)
    return found


def _pairs(sent: Sequence[Sighting], received: Sequence[Sighting]) -> list[tuple[Sighting, Sighting]]:
    """Return pairs of a segment sent and the same segment received. If equal segments arrived less often than they were
    sent, the first ones count as lost, as with retransmissions. If they arrived more often, the last ones count as
    duplicates."""
    departures: dict[tuple[object, ...], list[Sighting]] = defaultdict(list)
    arrivals: dict[tuple[object, ...], list[Sighting]] = defaultdict(list)
    for sightings, by_contents in ((sent, departures), (received, arrivals)):
        for sighting in sightings:
            by_contents[_contents(sighting.segment)].append(sighting)
    pairs = []
    for contents, left in departures.items():
        came = arrivals.get(contents, [])
        if len(came) < len(left):
            while left and came:
                departure = left.pop()
                if came[-1].time >= departure.time:
                    pairs.append((departure, came.pop()))
        else:
            waiting = iter(came)
            for departure in left:
                arrival = next((one for one in waiting if one.time >= departure.time), None)
                if arrival is not None:
                    pairs.append((departure, arrival))
    return pairs


def _flight(departure: Sighting, arrival: Sighting) -> Flight:
    return Flight(
        departure.sender,
        departure.segment,
        departure.time,
        arrival.time,
        departure.order,
        arrival.order,
        departure.comment,
        arrival.comment,
        departure.remarks + arrival.remarks,
    )


def _chains(wholes: Sequence[Sighting], pieces: Sequence[Sighting]) -> Iterator[tuple[Sighting, list[Sighting]]]:
    """Yield each of `wholes` that several of `pieces` make up, with those pieces."""
    beginning: dict[int, list[Sighting]] = defaultdict(list)
    for piece in reversed(pieces):
        if piece.segment.payload:
            beginning[piece.segment.seq].append(piece)
    for whole in wholes:
        left = len(whole.segment.payload)
        at = whole.segment.seq
        chain: list[Sighting] = []
        while left and beginning.get(at) and len(beginning[at][-1].segment.payload) <= left:
            piece = beginning[at].pop()
            chain.append(piece)
            left -= len(piece.segment.payload)
            at = seq.add(at, len(piece.segment.payload))
        if chain and not left:
            yield whole, chain
        else:
            for piece in chain:
                beginning[piece.segment.seq].append(piece)


def _contents(segment: Segment) -> tuple[object, ...]:
    """Return the fields that a segment has at both ends, even if other fields are rewritten on the path."""
    return (
        segment.seq,
        segment.ack,
        segment.flags,
        segment.window,
        len(segment.payload),
        segment.ts_val,
        segment.ts_ecr,
        segment.sack_blocks,
    )


def vantage(one: Sequence[Sighting], other: Sequence[Sighting]) -> End | None:
    """Return the end at which `one` was captured, given that `other` was captured nearer to the other end, or None
    without common segments. The client's segments appear first at the client."""
    times = {_key(sighting): sighting.time for sighting in other}
    delays: dict[End, list[float]] = {end: [] for end in ENDS}
    for sighting in one:
        time = times.get(_key(sighting))
        if time is not None:
            delays[sighting.sender].append(time - sighting.time)
    if not delays["client"] and not delays["server"]:
        return None
    # The sum over both directions cancels the difference of the clocks.
    forth, back = (median(delays[end]) if delays[end] else 0.0 for end in ENDS)
    return "client" if forth - back >= 0 else "server"


def place(view: Iterable[Sighting], end: End) -> None:
    """Assign all sightings of a view to the end `end`."""
    for sighting in view:
        sighting.where = "sender" if sighting.sender == end else "receiver"


def shift(view: Iterable[Sighting], offset: float) -> None:
    """Move the times of a view by `offset` seconds."""
    for sighting in view:
        sighting.time += offset


def clock_offset(one: Sequence[Sighting], other: Sequence[Sighting]) -> float:
    """Return the offset for the times of `other` so that no segment arrives before it was sent: 0 if that holds
    already, else the one that makes both directions equally long."""
    departures = {_key(sighting): sighting.time for sighting in one}
    shortest: dict[End, float] = {}
    for sighting in other:
        time = departures.get(_key(sighting))
        if time is not None:
            delay = sighting.time - time
            shortest[sighting.sender] = min(delay, shortest.get(sighting.sender, delay), key=abs)
    if len(shortest) < 2:
        return 0.0
    forth, back = shortest["client"], -shortest["server"]
    if forth + back < 0:  # `one` was captured at the server
        forth, back = -forth, -back
        return (forth - back) / 2 if min(forth, back) < 0 else 0.0
    return (back - forth) / 2 if min(forth, back) < 0 else 0.0


def _key(sighting: Sighting) -> tuple[object, ...]:
    return (sighting.sender, *_contents(sighting.segment))
