"""Vertical positions of the events of a ladder: time runs downwards, and long silences are shortened.

Events keep their order. The distance between two events grows with the time between them, within limits, and leaves
enough room for the text beside them. A silence of several usual transit times becomes a break.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import log2
from statistics import median
from typing import Final

from utcp.trace.ladder.rungs import PEER, End, Rung, stays_in_time_wait

SLANT: Final = 28.0
"""Descent of an arrow with the usual transit time, pixels; all values below are in pixels too."""
LOST: Final = SLANT * 0.6
"""Descent of a lost segment's arrow down to its cross."""
DUPLICATE: Final = SLANT * 0.65
"""Descent of a duplicate's arrow."""
LINE: Final = 15.0
"""Height of a line of text."""

_LABELLED: Final = 19.0
"""Distance between the tails of two arrows of one end, with room for the second label."""
_ANSWER: Final = 18.0
"""Distance from an arrow's head to the tail of the answer, with room for its label."""
_HEADS: Final = 16.0
"""Distance between the heads of two arrows of one end that keep their order."""
_OVERTAKEN: Final = 9.0
"""Distance between the heads of two arrows of one end if the second was sent first."""
_BREAK: Final = 40.0
_LONGEST: Final = 56.0
"""Maximum height of a silence without a break."""
_BREAK_ABOVE: Final = 6.0
"""Number of transit times above which a silence becomes a break."""
_NOTE_MARGIN: Final = 9.0
_STAY: Final = 104.0
"""Minimum height of a TIME_WAIT, so that its duration fits along it."""


@dataclass(frozen=True, slots=True)
class Break:
    """A silence of `seconds` that the page shows shortened."""

    top: float
    bottom: float
    seconds: float


@dataclass(slots=True)
class Layout:
    """`starts` and `ends` are the vertical positions of each rung: an arrow's tail and its head (for a lost segment,
    where it would have arrived)."""

    starts: list[float]
    ends: list[float]
    breaks: list[Break] = field(default_factory=list)
    bottom: float = 0.0


@dataclass(frozen=True, slots=True, order=True)
class _Moment:
    time: float
    index: int
    arrival: bool


@dataclass(slots=True)
class _Lifeline:
    """The least position of the next event of each kind at an end."""

    sending: float = 0.0
    arrival: float = 0.0
    arrived: int = -1
    """Index of the latest rung that has arrived."""
    annotation: float = 0.0


def usual_flight(rungs: Sequence[Rung]) -> float:
    """Return the median transit time of segments or, if unknown, the median silence between rungs, seconds."""
    flights = [
        arrow.received - arrow.sent
        for rung in rungs
        if (arrow := rung.arrow) and arrow.sent is not None and arrow.received is not None
    ]
    silences = [after.time - before.time for before, after in pairwise(rungs)]
    for known in ([flight for flight in flights if flight > 0], [silence for silence in silences if silence > 0]):
        if known:
            return median(known)
    return 1.0


def is_break(silence: float, flight: float) -> bool:
    """Return whether a silence is long compared with the usual transit time."""
    return silence > flight * _BREAK_ABOVE


def lay_out(
    rungs: Sequence[Rung],
    top: float,
    notes: Mapping[int, int],
    beside: Mapping[tuple[int, End], int],
    extra: Mapping[int, float],
) -> Layout:
    """Return the positions of all rungs.

    Args:
        rungs: the ladder.
        top: the position of the first rung.
        notes: number of lines of each note, by the rung's index.
        beside: number of lines beside an end, by the rung's index and the end.
        extra: additional room above a rung, by its index.
    """
    flight = usual_flight(rungs)
    stays = {
        (stay.last, stay.end): stay.restarts[-1] if stay.restarts else stay.first for stay in stays_in_time_wait(rungs)
    }
    layout = Layout([top] * len(rungs), [top] * len(rungs))
    lines: dict[End, _Lifeline] = {"client": _Lifeline(), "server": _Lifeline()}

    def position(index: int, end: End) -> float:
        arrow = rungs[index].arrow
        return (layout.starts if arrow is None or arrow.sender == end else layout.ends)[index]

    lowest = crossed_out = top
    previous: float | None = None
    for moment in _moments(rungs):
        rung = rungs[moment.index]
        y = lowest
        if not moment.arrival:
            y += extra.get(moment.index, 0.0)
        silence = 0.0 if previous is None else moment.time - previous
        if silence > 0:
            y += _room(silence, flight)
        for end in _ends_of(rung, moment):
            line = lines[end]
            arrow = rung.arrow
            if arrow is not None:
                if arrow.sender == end:
                    y = max(y, line.sending)
                else:
                    y = max(y, line.arrival + (_HEADS if moment.index > line.arrived else _OVERTAKEN))
                if arrow.sent is None:
                    y = max(y, lines[arrow.sender].sending + DUPLICATE)
            if beside.get((moment.index, end)):
                y = max(y, line.annotation)
            if (moment.index, end) in stays:
                y = max(y, position(stays[moment.index, end], end) + _STAY)
        if moment.arrival:
            y = max(y, layout.starts[moment.index] + SLANT / 2)
        if rung.note is not None:
            y = max(y, crossed_out) + _NOTE_MARGIN
        if is_break(silence, flight):
            above = max([lowest, *(line.annotation - LINE / 2 for line in lines.values())])
            y = max(y, above + _BREAK)
            layout.breaks.append(Break(above, y, silence))
        if moment.arrival:
            layout.ends[moment.index] = y
        else:
            layout.starts[moment.index] = layout.ends[moment.index] = y
        if rung.arrow is not None and rung.arrow.received is None:
            layout.ends[moment.index] = y + SLANT
            crossed_out = y + LOST
        for end in _ends_of(rung, moment):
            line = lines[end]
            if rung.arrow is not None:
                line.sending = max(line.sending, y + (_LABELLED if rung.arrow.sender == end else _ANSWER))
                if rung.arrow.sender != end:
                    line.arrival = y
                    line.arrived = max(line.arrived, moment.index)
            line.annotation = max(line.annotation, y + LINE * beside.get((moment.index, end), 0))
        if rung.note is not None:
            y += LINE * notes[moment.index] + 16
            for line in lines.values():
                line.sending = max(line.sending, y + LINE)
        lowest = max(lowest, y)
        previous = moment.time if previous is None else max(previous, moment.time)
    _slant_the_lost(rungs, layout)
    layout.bottom = max([lowest, crossed_out, *(line.annotation for line in lines.values())])
    return layout


def _slant_the_lost(rungs: Sequence[Rung], layout: Layout) -> None:
    """Give a lost segment's arrow the slope of the sender's previous one, if that was still in flight."""
    before: dict[End, int] = {}
    for index, rung in enumerate(rungs):
        arrow = rung.arrow
        if arrow is None or arrow.sent is None:
            continue
        last = before.get(arrow.sender)
        if arrow.received is not None:
            before[arrow.sender] = index
        elif last is not None and layout.ends[last] > layout.starts[index]:
            layout.ends[index] = layout.starts[index] + layout.ends[last] - layout.starts[last]


def _moments(rungs: Sequence[Rung]) -> list[_Moment]:
    moments = []
    for index, rung in enumerate(rungs):
        moments.append(_Moment(rung.time, index, arrival=False))
        arrow = rung.arrow
        if arrow is not None and arrow.received is not None and arrow.sent is not None and arrow.received > arrow.sent:
            moments.append(_Moment(arrow.received, index, arrival=True))
    moments.sort()
    # A note moves after the arrivals that follow it, until another event comes.
    for place in range(len(moments) - 2, -1, -1):
        if rungs[moments[place].index].note is not None:
            while place + 1 < len(moments) and moments[place + 1].arrival:
                moments[place], moments[place + 1] = moments[place + 1], moments[place]
                place += 1
    return moments


def _ends_of(rung: Rung, moment: _Moment) -> tuple[End, ...]:
    """Return the ends at which the event of the rung takes place."""
    arrow = rung.arrow
    if arrow is None:
        return ("client", "server")
    if moment.arrival or arrow.sent is None:
        return (PEER[arrow.sender],)
    if arrow.received == arrow.sent:
        return (arrow.sender, PEER[arrow.sender])
    return (arrow.sender,)


def _room(silence: float, flight: float) -> float:
    if is_break(silence, flight):
        return _BREAK
    flights = silence / flight
    return min(_LONGEST, SLANT * (flights if flights <= 1 else 1 + log2(flights) / 2))
