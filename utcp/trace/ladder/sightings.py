"""From what was captured where to what crossed the network: which sightings are of one segment, which segments were
lost.

A capture sees a segment where it is sent, where it is received, or somewhere on the way. With sightings of both ends, a
segment that left one and never came at the other is lost. With those of one, nobody knows how long it was under way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Literal, TypeAlias

from utcp.trace.annotation import Comment, flights_of
from utcp.trace.ladder.rungs import ENDS, PEER, End
from utcp.wire import Segment, seq

Where: TypeAlias = Literal["sender", "receiver", "way"]


@dataclass(slots=True, eq=False)
class Sighting:
    """A captured segment. `time` in seconds, and `order` among what was captured at the same time; `where` it was
    seen."""

    time: float
    order: int
    sender: End
    segment: Segment
    where: Where
    comment: Comment = field(default_factory=lambda: Comment())
    remarks: tuple[str, ...] = ()
    """Comments that people have written."""


@dataclass(slots=True, eq=False)
class Flight:
    """A segment, with what was seen of it. `sent` and `received` as in `Arrow`; each has its place among what happened
    at the same time."""

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
        """When it was sent, or came from nowhere; and its place among what happened then."""
        if self.sent is not None:
            return self.sent, self.sent_order
        if self.received is not None:
            return self.received, self.received_order
        raise AssertionError("a segment that was neither sent nor received")


def flights(sightings: Iterable[Sighting]) -> list[Flight]:
    """Every segment, in order of time."""
    found: list[Flight] = []
    by_sender: dict[End, dict[Where, list[Sighting]]] = {end: defaultdict(list) for end in ENDS}
    watched: dict[End, float] = {}  # until when somebody was watching there
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
    """What one observer makes of it: that it was under way then; lost, or when it arrived, if a comment says so."""
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
    """The second of two that arrived, as a comment says; and the third."""
    if not sighting.comment.get("duplicated"):
        return []
    arrivals = [_later(sighting.time, flight) for flight in flights_of(sighting.comment)[1:]] or [sighting.time]
    first = _alone(sighting)
    return [replace(first, sent=None, received=time, at_sender=Comment(), remarks=()) for time in arrivals]


def _later(time: float, seconds: float) -> float:
    """`time` + `seconds`, to the nanosecond: equal to the time of what was captured then."""
    return round(time + seconds, 9)


def _matched(sent: Sequence[Sighting], received: Sequence[Sighting], watched_until: float) -> list[Flight]:
    """The segments of one end, seen where they left and where they came."""
    pairs = _pairs(sent, received)
    longest = max((arrival.time - departure.time for departure, arrival in pairs), default=0.0)
    paired = {id(sighting) for pair in pairs for sighting in pair}
    missing = [departure for departure in sent if id(departure) not in paired]
    extra = [arrival for arrival in received if id(arrival) not in paired]
    # Network cards cut segments, and put them together: they are shown as they left.
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
    """Departures and arrivals of one segment. Where equal ones arrived less often than they left, the first ones are
    taken for lost, as of a segment and its repetition; where more often, the last ones for doubled."""
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
    """Those of `wholes` that several of `pieces` make up together, with those."""
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
    """What a segment and its sighting at the other end have in common, whatever is rewritten on the way."""
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
    """At which end `one` was captured, if `other` was captured nearer to the other end: segments of the client come by
    first at the client. None if nothing was seen by both."""
    times = {_key(sighting): sighting.time for sighting in other}
    delays: dict[End, list[float]] = {end: [] for end in ENDS}
    for sighting in one:
        time = times.get(_key(sighting))
        if time is not None:
            delays[sighting.sender].append(time - sighting.time)
    if not delays["client"] and not delays["server"]:
        return None
    # The clocks may differ: in the sum of both directions that does not count.
    forth, back = (median(delays[end]) if delays[end] else 0.0 for end in ENDS)
    return "client" if forth - back >= 0 else "server"


def place(view: Iterable[Sighting], end: End) -> None:
    """Have all of a view be seen where `end` is."""
    for sighting in view:
        sighting.where = "sender" if sighting.sender == end else "receiver"


def shift(view: Iterable[Sighting], offset: float) -> None:
    """Move the times of a view by `offset` seconds."""
    for sighting in view:
        sighting.time += offset


def clock_offset(one: Sequence[Sighting], other: Sequence[Sighting]) -> float:
    """What to add to the times of `other`, so that nothing arrives before it was sent: 0 if that is so already, else
    such that both directions are as long."""
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
    if forth + back < 0:  # `one` is the server's
        forth, back = -forth, -back
        return (forth - back) / 2 if min(forth, back) < 0 else 0.0
    return (back - forth) / 2 if min(forth, back) < 0 else 0.0


def _key(sighting: Sighting) -> tuple[object, ...]:
    return (sighting.sender, *_contents(sighting.segment))
