"""Creates ladders from captures of one end or of both, made by utcp, a simulated network, or of the kernel's TCP.

    client, server = read_capture("client.pcapng"), read_capture("server.pcapng")
    found = find_connections([client, server])
    print(render_text(rungs_from_capture([client, server], found[0])))

A ladder shows only what its captures contain. A capture of one end, or made on the path, does not contain transit
times, so its arrows are level, and no segment counts as lost unless a comment marks it so. Captures of both ends
contain both. States come from utcp's comments (`utcp.trace.comments`), otherwise from the segments.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from utcp.tcp import timers
from utcp.tcp.state import CLOSED, LISTEN, NAMES, SYN_RCVD, SYN_SENT, TIME_WAIT
from utcp.trace.capture_file import Captured
from utcp.trace.comments import FLUSH, Comment, running_timers
from utcp.trace.connections import CapturedConnection
from utcp.trace.flights import Flight, flights_of
from utcp.trace.ladder.inference import Machine
from utcp.trace.ladder.rungs import ENDS, PEER, Arrow, End, Rung
from utcp.wire import ACK, FIN, SYN

_STATES: Final = {name: state for state, name in enumerate(NAMES)}
_SENDING, _CLOSED_AFTER_SENDING, _ARRIVAL, _CLOSED_AFTER_ARRIVAL = range(4)
"""What happens at an end. Each event is followed by the end of the connection that it causes."""
_TIMERS: Final = {name: timer for timer, name in enumerate(timers.NAMES) if timer != timers.PACING}


def rungs_from_capture(captures: Iterable[Iterable[Captured]], *connections: CapturedConnection) -> list[Rung]:
    """Return the ladder of one connection, or of several on the same ports in order of their numbers, from the captures
    in which `find_connections` found them. Times are in seconds since the first segment."""
    seen, until = flights_of(captures, *connections)
    return _Assembly(seen, until).rungs() if seen else []


class _Moment(NamedTuple):
    """An event at one end: the time, the order among events at that time, the index of the segment, the kind."""

    time: float
    order: int
    at: int
    kind: int


class _Row(NamedTuple):
    """A rung. `place` is 1 for the rung of the segment with the index `at`, 0 before it, 2 after it."""

    time: float
    at: int
    place: int
    rung: Rung


@dataclass(slots=True)
class _End:
    """The known state of one end while its segments are processed."""

    machines: dict[int, Machine] = field(default_factory=lambda: defaultdict(Machine))
    """By the number of the connection."""
    shown: int | None = None
    latest: int = -1
    """Index of the latest segment that it has sent or received."""
    newest: int = 0
    """Number of the newest connection whose segments it has sent or received."""
    unshown: _Row | None = None
    """The row of its last state, if it has none of a segment and no segment was sent since. The next segment's row
    shows that state instead, if both have the same cause."""


class _Assembly:
    """Processes the segments in order of the events at each end, and creates rungs from them."""

    def __init__(self, seen: Sequence[Flight], until: float) -> None:
        self._seen = seen
        self._until = until
        self._ends: dict[End, _End] = {end: _End() for end in ENDS}
        self._arrows = [_arrow(flight) for flight in seen]
        self._states: list[dict[End, int]] = [{} for _ in seen]
        self._apart: list[_Row] = []
        self._first: dict[End, int] = {}
        self._latest: dict[tuple[int, End], dict[int, int]] = defaultdict(dict)
        """Index of the last segment with SYN or FIN, by connection, end and control bit."""
        for index, flight in enumerate(seen):
            for bit in (SYN, FIN):
                if flight.segment.flags & bit:
                    self._latest[flight.connection, flight.sender][bit] = index
            for remark in flight.remarks:
                self._apart.append(_Row(flight.place[0], index, 0, Rung(flight.place[0], note=remark)))
        self._resent = self._repeated_later()
        self._accepting = {
            flight.connection
            for flight in seen
            if flight.segment.flags & SYN and _STATES.get(flight.at_sender.get("state", "")) == SYN_RCVD
        }
        """Connections of which a comment shows that SYN_RCVD followed LISTEN, as it does not with a SYN cookie."""

    def rungs(self) -> list[Rung]:
        self._follow()
        rows = [
            _Row(time, index, 1, Rung(time, states.get("client"), states.get("server"), arrow))
            for index, (flight, states, arrow) in enumerate(zip(self._seen, self._states, self._arrows, strict=True))
            for time in (flight.place[0],)
        ]
        found = [row.rung for row in sorted([*rows, *self._apart], key=lambda row: row[:3])]
        if self._first:
            found.insert(0, Rung(found[0].time, self._first.get("client"), self._first.get("server")))
        return found

    def _repeated_later(self) -> set[int]:
        """Return the segments of which a part was retransmitted later."""
        found = set()
        again: dict[tuple[int, End], list[int]] = defaultdict(list)  # starts of later retransmissions, in order
        for index in range(len(self._seen) - 1, -1, -1):
            arrow = self._arrows[index]
            later = again[self._seen[index].connection, arrow.sender]
            length = self._seen[index].segment.length
            if bisect_left(later, arrow.seq) < bisect_left(later, arrow.seq + length):
                found.add(index)
            if arrow.retransmission:
                insort(later, arrow.seq)
        return found

    # ------------------------------------------------------------------ states

    def _follow(self) -> None:
        """Derive the states of both ends from each segment, at its sending and at its arrival, and from the end of the
        connection that a comment gives."""
        for time, _, index, kind in self._moments():
            flight, arrow = self._seen[index], self._arrows[index]
            arrives = kind in (_ARRIVAL, _CLOSED_AFTER_ARRIVAL)
            name = PEER[flight.sender] if arrives else flight.sender
            end = self._ends[name]
            machine = end.machines[flight.connection]
            before = machine.state
            comment = flight.at_receiver if arrives else flight.at_sender
            state = _STATES.get(comment.get("state", ""))
            if kind in (_CLOSED_AFTER_SENDING, _CLOSED_AFTER_ARRIVAL):
                machine.assume(CLOSED)
                if end.shown != CLOSED:
                    end.shown = CLOSED
                    self._apart.append(_apart(name, CLOSED, index, time, 2))
                continue
            if arrives:
                self._correct(name, machine, state, time, index)
                if not self._is_doubtful(index):
                    machine.received(flight.segment, arrow.seq, arrow.ack or 0)
                if machine.state in (LISTEN, TIME_WAIT) and self._is_accepted(flight):
                    machine.assume(SYN_RCVD)
                elif comment.get("closed") == 0:
                    machine.assume(CLOSED)
            else:
                if flight.segment.flags & SYN:  # this end no longer has the earlier connections on the same ports
                    for number, earlier in end.machines.items():
                        if number < flight.connection:
                            earlier.assume(CLOSED)
                opens = flight.segment.flags & (SYN | ACK) == SYN
                if end.shown is None and opens and state in (None, SYN_SENT):
                    self._show(name, CLOSED, index, time)
                if state is not None:
                    machine.assume(state)
                if "closed" not in comment:
                    machine.sent(flight.segment, arrow.seq)
                if end.unshown is not None and machine.state == end.shown and time - end.unshown.time <= FLUSH:
                    self._apart.remove(end.unshown)
                    end.shown = None
                end.unshown = None
            end.newest = max(end.newest, flight.connection)
            # A segment of an earlier connection that changes nothing there does not bring back the state of that one.
            if flight.connection == end.newest or machine.state != before:
                self._show(name, machine.state, index, time)
            end.latest = max(end.latest, index)

    def _moments(self) -> list[_Moment]:
        """Return the events at both ends, in order."""
        moments: list[_Moment] = []
        known: dict[End, list[tuple[_Moment, Comment]]] = {end: [] for end in ENDS}
        for index, flight in enumerate(self._seen):
            for name, time, order, comment, kind in (
                (flight.sender, flight.sent, flight.sent_order, flight.at_sender, _SENDING),
                (PEER[flight.sender], flight.received, flight.received_order, flight.at_receiver, _ARRIVAL),
            ):
                if time is None:
                    continue
                moment = _Moment(time, order, index, kind)
                moments.append(moment)
                if "state" in comment:
                    known[name].append((moment, comment))
                closed = comment.get("closed")
                if closed is not None and not (kind == _ARRIVAL and self._is_accepted(flight)):
                    # After a while, it comes before any segment of a new connection.
                    moments.append(_Moment(time + closed, -1 if closed else order, index, kind + 1))
        # The last comment of an end in TIME_WAIT has the remaining time.
        for comments in known.values():
            comments.sort(key=lambda one: one[0])
            untils = [*(later.time for later, _ in comments[1:]), self._until]
            for (moment, comment), until in zip(comments, untils, strict=False):
                left = _time_wait_left(comment)
                if left is not None and "closed" not in comment and moment.time + left <= until:
                    order = -1 if left else moment.order
                    moments.append(_Moment(moment.time + left, order, moment.at, moment.kind + 1))
        return sorted(moments)

    def _correct(self, name: End, machine: Machine, state: int | None, time: float, index: int) -> None:
        """Use the state that a comment gives for the end before this arrival, because the segments may not have shown
        it."""
        end = self._ends[name]
        if state is None or state == machine.state:
            return
        machine.assume(state)
        if end.shown is None:
            self._first[name] = end.shown = state
        elif state != end.shown and not _is_without_connection(state, end.shown):
            end.shown = state
            self._apart.append(_apart(name, state, index, time, 0))

    def _show(self, name: End, state: int | None, index: int, time: float) -> None:
        end = self._ends[name]
        if state is None or state == end.shown or _is_without_connection(state, end.shown):
            return
        if end.shown is None and state == CLOSED:
            self._first[name] = state
        elif index < end.latest:  # it arrived after a segment that was sent later, so its own row is too early
            end.unshown = _apart(name, state, index, time, 0)
            self._apart.append(end.unshown)
        else:
            self._states[index][name] = state
        end.shown = state

    def _is_accepted(self, flight: Flight) -> bool:
        """Return whether it is a SYN that the other end has accepted."""
        return flight.segment.flags & (SYN | ACK) == SYN and flight.connection in self._accepting

    def _is_doubtful(self, index: int) -> bool:
        """Return whether a segment without a captured arrival was probably lost.

        This is so if it was retransmitted later, or if a SYN or FIN that it acknowledges was.
        """
        flight = self._seen[index]
        if flight.sent != flight.received or flight.at_receiver:
            return False
        if index in self._resent:
            return True
        flags = flight.segment.flags
        if not flags & ACK or flags & SYN:
            return False
        arrow = self._arrows[index]
        for again in self._latest[flight.connection, PEER[flight.sender]].values():
            repeated = self._arrows[again]
            if again > index and arrow.ack is not None and arrow.ack > repeated.seq + repeated.length:
                return True
        return False


def _apart(name: End, state: int, index: int, time: float, place: int) -> _Row:
    client, server = (state, None) if name == "client" else (None, state)
    return _Row(time, index, place, Rung(time, client, server))


def _time_wait_left(comment: Comment) -> float | None:
    """Return the remaining seconds of a TIME_WAIT, or None in another state, or if they are unknown."""
    if comment.get("state") != NAMES[TIME_WAIT]:
        return None
    # The connection itself still sends the last ACK if there is no record of TIME_WAIT, because 2 MSL are 0.
    return running_timers(comment).get("time_wait", 0.0 if "cwnd" in comment else None)


def _is_without_connection(state: int, shown: int | None) -> bool:
    """Return whether an end has no connection before and after. Its listener is shown only at the beginning."""
    return state in (CLOSED, LISTEN) and shown in (CLOSED, LISTEN)


def _arrow(flight: Flight) -> Arrow:
    return Arrow(
        sender=flight.sender,
        flags=flight.segment.flags,
        seq=flight.seq,
        ack=flight.ack,
        length=len(flight.segment.payload),
        sent=flight.sent,
        received=flight.received,
        retransmission=flight.retransmission,
        timer=_TIMERS.get(flight.at_sender.get("timer", "")),
        segment=flight.segment,
        at_sender=flight.at_sender,
        at_receiver=flight.at_receiver,
    )


def inferred_ends(rungs: Sequence[Rung]) -> list[End]:
    """Return the ends whose states were inferred from segments, as in a capture by tcpdump, because no comment gives a
    state of that end."""
    known: set[End] = set()
    for rung in rungs:
        if rung.arrow is not None:
            for end, comment in (
                (rung.arrow.sender, rung.arrow.at_sender),
                (rung.arrow.receiver, rung.arrow.at_receiver),
            ):
                if "state" in comment:
                    known.add(end)
    return [end for end in ENDS if end not in known and any(rung.state(end) is not None for rung in rungs)]


def marked_inferred(rungs: Sequence[Rung]) -> list[Rung]:
    """Return the ladder with a note at its beginning if states were inferred from segments."""
    inferred = inferred_ends(rungs)
    if not inferred:
        return list(rungs)
    whose = "both ends" if len(inferred) == 2 else f"the {inferred[0]}"
    return [Rung(rungs[0].time, note=f"The states of {whose} are inferred from the segments."), *rungs]


def shortened(rungs: Sequence[Rung], limit: int) -> list[Rung]:
    """Return at most `limit` rungs of a long ladder, from its beginning and its end, with a note about the omitted
    ones."""
    if len(rungs) <= limit:
        return list(rungs)
    head, tail = limit - limit // 2, limit // 2
    missing = rungs[head : len(rungs) - tail]
    segments = sum(rung.arrow is not None for rung in missing)
    states: dict[End, int | None] = {
        end: next((state for rung in reversed(missing) if (state := rung.state(end)) is not None), None) for end in ENDS
    }
    time = missing[-1].time
    note = Rung(time, note=f"... {segments} segments are not shown ...")
    after = (
        [Rung(time, states["client"], states["server"])] if any(state is not None for state in states.values()) else []
    )
    return [*rungs[:head], note, *after, *rungs[len(rungs) - tail :]]
