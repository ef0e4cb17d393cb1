"""The segments of captured connections, each with its sending and its arrival, for ladders and plots.

A capture has a segment as sent, as received, or at some point of the path. With captures of both ends, a segment that
was sent and not received is lost. With a capture of one end, the transit time is unknown.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Final, Literal, TypeAlias

from utcp.trace.capture_file import Captured
from utcp.trace.comments import Comment, packet_comments, transit_times
from utcp.trace.connections import CapturedConnection, assigned, ends_of
from utcp.trace.ladder.rungs import ENDS, PEER, End
from utcp.wire import ACK, FIN, RST, SYN, Segment, seq

Where: TypeAlias = Literal["sender", "receiver", "way"]

_REORDERED: Final = 0.003
"""Seconds by which reordering may delay a segment; a later one counts as retransmitted. (Wireshark's analysis uses the
same value.)"""


@dataclass(slots=True, eq=False)
class Sighting:
    """A captured segment: its `time` in seconds, its `order` among segments captured at the same time, and `where` it
    was captured."""

    time: float
    order: int
    sender: End
    segment: Segment
    where: Where
    connection: int
    """Number of its connection."""
    comment: Comment = field(default_factory=lambda: Comment())
    """Comment of the sender."""
    arrivals: list[Comment] = field(default_factory=list)
    """Comments of the receiver, one for each arrival."""
    remarks: tuple[str, ...] = ()
    """Comments written by people."""


@dataclass(slots=True, eq=False)
class Flight:
    """A segment with its sightings. `sent`, `received`, `seq`, `ack` and `retransmission` are as in `Arrow`; the orders
    distinguish events at the same time."""

    sender: End
    segment: Segment
    sent: float | None
    received: float | None
    sent_order: int
    received_order: int
    connection: int
    at_sender: Comment
    at_receiver: Comment
    remarks: tuple[str, ...] = ()
    seq: int = 0
    ack: int | None = None
    retransmission: bool = False

    @property
    def place(self) -> tuple[float, int]:
        """Return its sending time, or its arrival time if it was not sent, with its order among events at that time."""
        if self.sent is not None:
            return self.sent, self.sent_order
        if self.received is not None:
            return self.received, self.received_order
        raise AssertionError("a segment that was neither sent nor received")


class _Numbers:
    """Sequence numbers of one end, without wraparound, relative to its SYN; unchanged if no SYN was captured."""

    __slots__ = ("_latest", "_latest_relative", "_unconfirmed", "known", "known_acked", "newest", "sent_until")

    def __init__(self) -> None:
        self.known = False
        self._latest: int | None = None
        self._latest_relative = 0
        self.sent_until: int | None = None
        """End of the sequence space that the end has sent, as captured."""
        self.newest: tuple[float, int | None] = (0.0, None)
        """Time and TSval of the segment with that end."""
        self.known_acked = 0
        """The highest acknowledgment that this end has certainly received, because it acknowledged a segment with
        it."""
        self._unconfirmed: deque[tuple[int, int]] = deque()
        """End of the sequence space, and acknowledgment, of the segments that the peer has not acknowledged."""

    def begin(self, isn: int) -> None:
        self.known = True
        self._latest, self._latest_relative = isn, 0

    def relative(self, number: int) -> int:
        if self._latest is None:
            self._latest_relative = number
        else:
            self._latest_relative += seq.diff(number, self._latest)
        self._latest = number
        return self._latest_relative

    def send(self, end: int, ack: int) -> None:
        """Record a segment of this end with new sequence space up to `end`."""
        self._unconfirmed.append((end, ack))

    def confirmed(self, ack: int) -> int:
        """Return the highest acknowledgment of this end in the segments up to `ack`, which the peer has received; 0 if
        there is no further one."""
        highest = 0
        while self._unconfirmed and self._unconfirmed[0][0] <= ack:
            highest = max(highest, self._unconfirmed.popleft()[1])
        return highest


def flights_of(captures: Iterable[Iterable[Captured]], *connections: CapturedConnection) -> tuple[list[Flight], float]:
    """Return the segments of connections in order of sending, and the time up to which the captures show the ends: the
    last segment, or the first segment of a later connection on the same ports.

    Times are in seconds since the first segment. If the clocks of two captures differ so much that segments would
    arrive before they were sent, they are aligned so that both directions take equally long.

    Args:
        captures: the captures in which `find_connections` found the connections: one, or one of each end.
        connections: one connection, or several on the same ports in order of their numbers.
    """
    views, until = _views(captures, connections)
    if len(views) == 2:
        if all(sighting.where == "way" for view in views for sighting in view):
            # Without comments, the order of the segments in the two captures shows at which end each was made.
            end = _vantage(views[0], views[1])
            if end is not None:
                for view, at in ((views[0], end), (views[1], PEER[end])):
                    for sighting in view:
                        sighting.where = "sender" if sighting.sender == at else "receiver"
        offset = _clock_offset(views[0], views[1])
        for sighting in views[1]:
            sighting.time += offset
    found = _flights(sighting for view in views for sighting in view)
    _number(found)
    return found, until


def _views(
    captures: Iterable[Iterable[Captured]], wanted: Sequence[CapturedConnection]
) -> tuple[list[list[Sighting]], float]:
    """Return the sightings of the connections in each capture that contains them, and the time up to which the captures
    show the ends."""
    views: dict[int, list[Sighting]] = {}
    first = wanted[0]
    until = 0.0
    reused = False
    numbers = {one.number for one in wanted}
    for order, (number, captured, connection) in enumerate(assigned(captures)):
        time = (captured.time_ns - first.began_ns) / 1e9
        if not reused:
            until = max(until, time)
            reused = connection.number > wanted[-1].number and connection.shares_ports_with(first)
        if connection.number in numbers:
            comments = packet_comments(captured.comment)
            where: Where = "receiver" if comments.arrivals else "way"
            sighting = Sighting(
                time=time,
                order=order,
                sender="client" if ends_of(captured)[0] == first.client else "server",
                segment=captured.segment,
                where="sender" if "direction" in comments.sender else where,
                connection=connection.number,
                comment=comments.sender,
                arrivals=comments.arrivals,
                remarks=comments.remarks,
            )
            views.setdefault(number, []).append(sighting)
    return [view for _, view in sorted(views.items())], until


# ---------------------------------------------------------------------- numbers


def _number(seen: Iterable[Flight]) -> None:
    """Set the relative numbers, and mark retransmissions."""
    numbers: dict[tuple[int, End], _Numbers] = defaultdict(_Numbers)
    for flight in seen:
        segment, at = flight.segment, flight.connection
        own, peer = numbers[at, flight.sender], numbers[at, PEER[flight.sender]]
        if segment.flags & SYN:
            if not own.known:
                own.begin(segment.seq)
            if segment.flags & ACK and not peer.known:
                peer.begin(segment.ack - 1)
        # An RST that answers a segment without ACK has number 0, which is not of its sender's space (RFC 9293
        # 3.10.7.1).
        flight.seq = 0 if segment.flags & RST and segment.seq == 0 else own.relative(segment.seq)
        flight.ack = peer.relative(segment.ack) if segment.flags & ACK else None
        if flight.ack is not None and not segment.flags & RST:
            own.known_acked = max(own.known_acked, peer.confirmed(flight.ack))
        if _is_older(peer, flight):
            flight.sent = None
        before = own.sent_until
        again = flight.sent is not None and _is_repeated(own, flight)
        if flight.ack is not None and own.sent_until != before:
            own.send(own.sent_until or 0, flight.ack)
        if again and _is_copy(own, flight):
            flight.sent = None
            again = False
        flight.retransmission = again or bool(flight.at_sender.get("retransmission"))


def _is_repeated(own: _Numbers, flight: Flight) -> bool:
    """Return whether part of the segment's sequence space had been sent before."""
    segment = flight.segment
    if not segment.length:
        return False
    until, (latest, latest_ts) = own.sent_until, own.newest
    if until is None or flight.seq + segment.length > until:
        own.sent_until = flight.seq + segment.length
        own.newest = flight.place[0], segment.ts_val
    if until is None or flight.seq >= until:
        return False
    if _is_seen_later(flight):  # so it may have been reordered
        if segment.ts_val is not None and latest_ts is not None and segment.ts_val != latest_ts:
            return (segment.ts_val - latest_ts) & 0xFFFFFFFF < 1 << 31
        return flight.place[0] - latest > _REORDERED
    return True


def _is_older(peer: _Numbers, flight: Flight) -> bool:
    """Return whether the segment is of an earlier connection on the same ports, because its ACK is below the peer's
    SYN."""
    is_bare = not flight.segment.flags & (SYN | RST)
    return peer.known and is_bare and flight.ack is not None and flight.ack < 1 and _is_seen_later(flight)


def _is_copy(own: _Numbers, flight: Flight) -> bool:
    """Return whether the network has repeated the segment, because its sender knew that all of it was acknowledged.

    A keepalive probe may repeat one acknowledged octet.
    """
    segment = flight.segment
    is_probe = len(segment.payload) == 1 and not segment.flags & (SYN | FIN)
    return _is_seen_later(flight) and flight.seq + segment.length <= own.known_acked and not is_probe


def _is_seen_later(flight: Flight) -> bool:
    """Return whether the segment was captured on the path or at the receiver only."""
    return flight.sent == flight.received and "direction" not in flight.at_sender


# ---------------------------------------------------------------------- matching


def _flights(sightings: Iterable[Sighting]) -> list[Flight]:
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
    transits = transit_times(comment)
    if transits and received is not None:
        received = _later(sighting.time, transits[0])
    return Flight(
        sighting.sender,
        sighting.segment,
        None if comment.get("copy") and received is not None else sighting.time,
        received,
        sighting.order,
        sighting.order,
        sighting.connection,
        comment,
        sighting.arrivals[0] if sighting.arrivals else Comment(),
        sighting.remarks,
    )


def _doubled(sighting: Sighting) -> list[Flight]:
    """Return the second and further arrivals of a segment, according to its comment."""
    if not sighting.comment.get("duplicated"):
        return []
    arrivals = [_later(sighting.time, transit) for transit in transit_times(sighting.comment)[1:]] or [sighting.time]
    first = _alone(sighting)
    known = [*sighting.arrivals[1:], *(Comment() for _ in arrivals)]
    return [
        replace(first, sent=None, received=time, at_sender=Comment(), at_receiver=comment, remarks=())
        for time, comment in zip(arrivals, known, strict=False)
    ]


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
            if flight.sent is not None and departure.time + longest < watched_until:
                flight.received = None
            found.append(flight)
    for arrival in extra:
        if id(arrival) not in paired:
            flight = _alone(arrival)
            if flight.received is not None and arrival.time >= sent[0].time:
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
        departure.connection,
        departure.comment,
        arrival.arrivals[0] if arrival.arrivals else Comment(),
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


def _vantage(one: Sequence[Sighting], other: Sequence[Sighting]) -> End | None:
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


def _clock_offset(one: Sequence[Sighting], other: Sequence[Sighting]) -> float:
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
