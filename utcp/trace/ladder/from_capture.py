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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from utcp.tcp import timers
from utcp.tcp.state import CLOSED, NAMES, SYN_SENT
from utcp.trace.capture_file import Captured
from utcp.trace.connections import CapturedConnection
from utcp.trace.flights import Flight, flights_of
from utcp.trace.ladder.inference import Machine
from utcp.trace.ladder.rungs import ENDS, PEER, Arrow, End, Rung
from utcp.wire import ACK, FIN, SYN

_STATES: Final = {name: state for state, name in enumerate(NAMES)}
_TIMERS: Final = {name: timer for timer, name in enumerate(timers.NAMES) if timer != timers.PACING}


def rungs_from_capture(captures: Iterable[Iterable[Captured]], connection: CapturedConnection) -> list[Rung]:
    """Return the ladder of one connection, from the captures in which `find_connections` found it. Times are in seconds
    since its first segment."""
    seen = flights_of(captures, connection)
    return _Assembly(seen).rungs() if seen else []


@dataclass(slots=True)
class _End:
    """The known state of one end while its segments are processed."""

    machine: Machine = field(default_factory=Machine)
    shown: int | None = None
    latest: int = -1
    """Index of the latest segment that it has sent or received."""


class _Assembly:
    """Processes the segments in order of the events at each end, and creates rungs from them."""

    def __init__(self, seen: Sequence[Flight]) -> None:
        self._seen = seen
        self._ends: dict[End, _End] = {end: _End() for end in ENDS}
        self._arrows = [_arrow(flight) for flight in seen]
        self._states: list[dict[End, int]] = [{} for _ in seen]
        self._apart: list[tuple[float, int, Rung]] = []
        """Rungs without a segment: time, index of the following segment, rung."""
        self._first: dict[End, int] = {}
        self._latest: dict[End, dict[int, int]] = {end: {} for end in ENDS}
        """Index of the last segment with SYN or FIN, by end and control bit."""
        for index, flight in enumerate(seen):
            for bit in (SYN, FIN):
                if flight.segment.flags & bit:
                    self._latest[flight.sender][bit] = index
            for remark in flight.remarks:
                self._apart.append((flight.place[0], index, Rung(flight.place[0], note=remark)))
        self._resent = self._repeated_later()

    def rungs(self) -> list[Rung]:
        self._follow()
        rungs = [
            (flight.place[0], index, 1, Rung(flight.place[0], states.get("client"), states.get("server"), arrow))
            for index, (flight, states, arrow) in enumerate(zip(self._seen, self._states, self._arrows, strict=True))
        ]
        rungs += [(time, index, 0, rung) for time, index, rung in self._apart]
        rungs.sort(key=lambda row: row[:3])
        found = [rung for _, _, _, rung in rungs]
        if self._first:
            found.insert(0, Rung(found[0].time, self._first.get("client"), self._first.get("server")))
        return found

    def _repeated_later(self) -> set[int]:
        """Return the segments of which a part was retransmitted later."""
        found = set()
        again: dict[End, list[int]] = {end: [] for end in ENDS}  # starts of later retransmissions, in order
        for index in range(len(self._seen) - 1, -1, -1):
            arrow = self._arrows[index]
            later = again[arrow.sender]
            length = self._seen[index].segment.length
            if bisect_left(later, arrow.seq) < bisect_left(later, arrow.seq + length):
                found.add(index)
            if arrow.retransmission:
                insort(later, arrow.seq)
        return found

    # ------------------------------------------------------------------ states

    def _follow(self) -> None:
        """Derive the states of both ends from each segment, at its sending and at its arrival."""
        moments: list[tuple[float, int, int, bool]] = []
        for index, flight in enumerate(self._seen):
            if flight.sent is not None:
                moments.append((flight.sent, flight.sent_order, index, False))
            if flight.received is not None:
                moments.append((flight.received, flight.received_order, index, True))
        for time, _, index, arrival in sorted(moments):
            flight, arrow = self._seen[index], self._arrows[index]
            name = PEER[flight.sender] if arrival else flight.sender
            end = self._ends[name]
            comment = flight.at_receiver if arrival else flight.at_sender
            state = _STATES.get(comment.get("state", ""))
            if arrival:
                self._correct(name, state, time, index)
                if not self._is_doubtful(index):
                    end.machine.received(flight.segment, arrow.seq, arrow.ack or 0)
            else:
                opens = flight.segment.flags & (SYN | ACK) == SYN
                if end.shown is None and opens and state in (None, SYN_SENT):
                    self._show(name, CLOSED, index, time)
                if state is not None:
                    end.machine.assume(state)
                end.machine.sent(flight.segment, arrow.seq)
            self._show(name, end.machine.state, index, time)
            end.latest = max(end.latest, index)

    def _correct(self, name: End, state: int | None, time: float, index: int) -> None:
        """Use the state that a comment gives for the end before this arrival, because the segments may not have shown
        it."""
        end = self._ends[name]
        if state is None or state == end.machine.state:
            return
        end.machine.assume(state)
        if end.shown is None:
            self._first[name] = end.shown = state
        else:
            end.shown = state
            self._show_apart(name, state, index, time)

    def _show_apart(self, name: End, state: int, index: int, time: float) -> None:
        client, server = (state, None) if name == "client" else (None, state)
        self._apart.append((time, index, Rung(time, client, server)))

    def _show(self, name: End, state: int | None, index: int, time: float) -> None:
        end = self._ends[name]
        if state is None or state == end.shown:
            return
        if end.shown is None and state == CLOSED:
            self._first[name] = state
        elif index < end.latest:  # it arrived after a segment that was sent later, so its own row is too early
            self._show_apart(name, state, index, time)
        else:
            self._states[index][name] = state
        end.shown = state

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
        for again in self._latest[PEER[flight.sender]].values():
            repeated = self._arrows[again]
            if again > index and arrow.ack is not None and arrow.ack > repeated.seq + repeated.length:
                return True
        return False


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
