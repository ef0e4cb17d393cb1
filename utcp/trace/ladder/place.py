"""Places the labels of arrows along them, without overlap, and if possible not crossed by other arrows."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import atan2, ceil, cos, degrees, floor, hypot, inf, sin
from typing import Final, NamedTuple, TypeAlias

Point: TypeAlias = tuple[float, float]
Shape: TypeAlias = tuple[Point, ...]
"""The corners of a label, from the left end of its base on, around it."""

_STEP: Final = 24.0
"""Minimum distance between the positions tried for a label, from the arrow's tail on, pixels."""
_STEPS: Final = 16
"""Maximum number of positions tried."""
_HIT: Final = 1000
"""Number of arrows across a label that are as bad as an overlap with another label."""
_CLOSE: Final = 20.0
"""Maximum distance, pixels, by which a label's corners exceed the ends of its base horizontally."""


@dataclass(frozen=True, slots=True)
class Line:
    """An arrow from tail to head, and the size of its label along it and above it."""

    tail: Point
    head: Point
    width: float
    height: float
    margin: float
    """Distance between either end of the arrow and its label."""

    @property
    def length(self) -> float:
        return hypot(self.head[0] - self.tail[0], self.head[1] - self.tail[1])


@dataclass(frozen=True, slots=True)
class Label:
    """The start of a label's text on its base line, and its rotation in degrees."""

    x: float
    y: float
    angle: float


def place(lines: Mapping[int, Line], rise: float) -> tuple[dict[int, Label], list[int]]:
    """Return the labels' positions, `rise` pixels above their lines, and the lines whose labels overlap others."""
    labels: dict[int, Label] = {}
    placed: dict[int, _Box] = {}
    crowded = []
    order = sorted(lines, key=lambda index: lines[index].tail[1])
    tails = [lines[index].tail[1] for index in order]
    reach = max((abs(line.head[1] - line.tail[1]) for line in lines.values()), default=0.0)
    for index in order:
        line = lines[index]
        room = 2 * line.height
        top, bottom = min(line.tail[1], line.head[1]) - room, max(line.tail[1], line.head[1]) + room
        near = [
            other
            for other in order[bisect_left(tails, top - reach) : bisect_right(tails, bottom + reach)]
            if other != index and _spans(lines[other], top, bottom)
        ]
        box, offset, least = _best(
            line, rise, [placed[other] for other in near if other in placed], [lines[other] for other in near]
        )
        if least >= _HIT:
            crowded.append(index)
        placed[index] = box
        labels[index] = _label(line, offset, rise)
    return labels, crowded


class _Box(NamedTuple):
    """The place of a label: its corners and its bounds."""

    corners: Shape
    left: float
    right: float
    """The ends of its base, which the other corners exceed by `_CLOSE` at most."""
    top: float
    bottom: float


def _best(line: Line, rise: float, labels: Sequence[_Box], lines: Sequence[Line]) -> tuple[_Box, float, int]:
    """Return the best place for the label of a line, its distance from the tail, and its cost: what the label overlaps
    of the placed `labels`, and how many `lines` cross it."""
    free = max(0.0, line.length - line.width - 2 * line.margin)
    step = max(_STEP, free / _STEPS)
    first = _box(line, line.margin, rise)
    dx, dy = _direction(line)
    left, right = sorted((line.tail[0], line.head[0]))
    crossed = [_crossed(first, (dx, dy), other) for other in lines if _covers(other, left, right)]
    short = [other for other in lines if not _covers(other, left, right)]
    best, offset, least = first, 0.0, _HIT * (len(lines) + 1)
    for place, crossings in enumerate(_counts(crossed, step, int(free / step) + 1)):
        box = _moved(first, dx * step * place, dy * step * place)
        cost = crossings + sum(_cross(box.corners, other) for other in short)
        for label in labels:
            if cost >= least:
                break
            cost += _HIT * _overlap(box, label)
        if cost < least:
            best, offset, least = box, step * place, cost
            if not least:
                break
    return best, line.margin + offset, least


def _counts(ranges: Sequence[tuple[float, float]], step: float, places: int) -> Iterator[int]:
    """Return how many ranges contain 0, `step`, 2 `step` and so on."""
    changes = [0] * (places + 1)
    for start, stop in ranges:
        if start <= (places - 1) * step and stop >= 0:
            changes[ceil(max(0.0, start / step))] += 1
            changes[floor(min(places - 1.0, stop / step)) + 1] -= 1
    return accumulate(changes[:places])


def _spans(line: Line, top: float, bottom: float) -> bool:
    """Return whether part of the line is between these heights."""
    return min(line.tail[1], line.head[1]) <= bottom and max(line.tail[1], line.head[1]) >= top


def _covers(line: Line, left: float, right: float) -> bool:
    """Return whether the line goes from left to right of these positions."""
    return min(line.tail[0], line.head[0]) <= left and max(line.tail[0], line.head[0]) >= right


def _direction(line: Line) -> Point:
    length = line.length
    return (line.head[0] - line.tail[0]) / length, (line.head[1] - line.tail[1]) / length


def _left_end(line: Line, offset: float) -> tuple[Point, Point]:
    """Return the left end of a label on its line, `offset` from the tail, and the reading direction."""
    dx, dy = _direction(line)
    x, y = line.tail[0] + dx * offset, line.tail[1] + dy * offset
    if dx < 0:
        x, y = x + dx * line.width, y + dy * line.width
        dx, dy = -dx, -dy
    return (x, y), (dx, dy)


def _box(line: Line, offset: float, rise: float) -> _Box:
    (x, y), (dx, dy) = _left_end(line, offset)
    low = (x + dy * rise, y - dx * rise)
    high = (x + dy * (rise + line.height), y - dx * (rise + line.height))
    along = (dx * line.width, dy * line.width)
    corners = (low, (low[0] + along[0], low[1] + along[1]), (high[0] + along[0], high[1] + along[1]), high)
    return _Box(corners, low[0], low[0] + along[0], min(high[1], corners[2][1]), max(low[1], corners[1][1]))


def _moved(box: _Box, dx: float, dy: float) -> _Box:
    corners = tuple((x + dx, y + dy) for x, y in box.corners)
    return _Box(corners, box.left + dx, box.right + dx, box.top + dy, box.bottom + dy)


def _label(line: Line, offset: float, rise: float) -> Label:
    (x, y), (dx, dy) = _left_end(line, offset)
    angle = atan2(dy, dx)
    return Label(x + sin(angle) * rise, y - cos(angle) * rise, degrees(angle))


def _overlap(one: _Box, other: _Box) -> bool:
    """Return whether two labels overlap, because no side of either separates them."""
    # Quick checks first: labels are nearly level, so that mostly one ends before the other begins, or is above it.
    if one.right < other.left - _CLOSE or other.right < one.left - _CLOSE:
        return False
    if one.bottom < other.top or other.bottom < one.top:
        return False
    return not (_separate(one.corners, other.corners) or _separate(other.corners, one.corners))


def _separate(one: Shape, other: Shape) -> bool:
    """Return whether a side of the rectangle `one` separates it from `other`."""
    for (x1, y1), (x2, y2) in pairwise(one[:3]):  # the other two sides are parallel to these
        ax, ay = y1 - y2, x2 - x1
        first = [ax * x + ay * y for x, y in one]
        second = [ax * x + ay * y for x, y in other]
        if max(first) < min(second) or max(second) < min(first):
            return True
    return False


def _crossed(box: _Box, towards: Point, line: Line) -> tuple[float, float]:
    """Return the least and the greatest distance in a direction by which a label must move so that a line crosses it.
    The line counts as long enough."""
    (x1, y1), (x2, y2) = line.tail, line.head
    slope = (y2 - y1) / (x2 - x1)
    below = [y - y1 - slope * (x - x1) for x, y in box.corners]
    lowest, highest = max(below), min(below)
    rate = towards[1] - slope * towards[0]
    if not rate:  # parallel lines
        return (-inf, inf) if highest < 0 <= lowest else (inf, -inf)
    first, second = -lowest / rate, -highest / rate
    return (first, second) if rate > 0 else (second, first)


def _cross(box: Shape, line: Line) -> bool:
    """Return whether a line crosses a label, looking at those corners that are above or below the line."""
    (x1, y1), (x2, y2) = line.tail, line.head
    left, right = min(x1, x2), max(x1, x2)
    slope = (y2 - y1) / (x2 - x1)
    above = below = False
    for x, y in box:
        if left <= x <= right:
            if y < y1 + slope * (x - x1):
                above = True
            else:
                below = True
    return above and below
