"""Where on the page each moment of a ladder stands: time goes down, and long silences are cut short.

Moments keep their order. Between two of them lies the more room the more time passed, within limits, and at least as
much as what is written beside them takes. A silence of several times the usual flight time becomes a break.
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
"""By how much the arrow of a usual flight time descends, in pixels. All that follows is in pixels too."""
LOST: Final = SLANT * 0.6
"""The same of an arrow that does not arrive, down to its cross."""
DUPLICATE: Final = SLANT * 0.65
"""The same of one that comes from nowhere."""
LINE: Final = 15.0
"""The height of a line of text."""

_LABELLED: Final = 19.0
"""Between the beginnings of two arrows of one end: the label of the second stands between them."""
_ANSWER: Final = 18.0
"""From an arrow's head to the beginning of the answer: the same."""
_HEADS: Final = 16.0
"""Between the heads of two arrows of one end, the second of which was sent later: they run side by side."""
_OVERTAKEN: Final = 9.0
"""The same if it was sent earlier."""
_BREAK: Final = 40.0
_LONGEST: Final = 56.0
"""The most that a silence without a break takes."""
_BREAK_ABOVE: Final = 6.0
"""The flight times after which a silence is broken."""
_NOTE_MARGIN: Final = 9.0
_STAY: Final = 104.0
"""The least for a TIME_WAIT, so that its length can stand along it."""


@dataclass(frozen=True, slots=True)
class Break:
    """A silence of `seconds` that the page shows shorter than it was."""

    top: float
    bottom: float
    seconds: float


@dataclass(slots=True)
class Layout:
    """`starts` and `ends` are, for each rung, where it begins (an arrow's tail) and where it ends (its head; of a lost
    segment, where it would have arrived)."""

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
    """How far down the next thing of each kind must stand at an end."""

    sending: float = 0.0
    arrival: float = 0.0
    arrived: int = -1
    """The youngest rung that has arrived."""
    annotation: float = 0.0


def usual_flight(rungs: Sequence[Rung]) -> float:
    """The median time that a segment is under way; if nobody knows, the median silence between rungs."""
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
    """Whether so many seconds without anything are long, compared with a usual flight."""
    return silence > flight * _BREAK_ABOVE


def lay_out(
    rungs: Sequence[Rung],
    top: float,
    notes: Mapping[int, int],
    beside: Mapping[tuple[int, End], int],
    extra: Mapping[int, float],
) -> Layout:
    """Positions below `top`. `notes` are the lines of each note, `beside` those that stand beside an end's moment of a
    rung, both by the rung's index; `extra` is additional room above a rung."""
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
    """What was lost is drawn as if it had kept up with what its sender sent before, if that was still under way."""
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
    # A note waits until what is under way has landed, unless something else happens before.
    for place in range(len(moments) - 2, -1, -1):
        if rungs[moments[place].index].note is not None:
            while place + 1 < len(moments) and moments[place + 1].arrival:
                moments[place], moments[place + 1] = moments[place + 1], moments[place]
                place += 1
    return moments


def _ends_of(rung: Rung, moment: _Moment) -> tuple[End, ...]:
    """The ends at which something stands at that moment of the rung."""
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
