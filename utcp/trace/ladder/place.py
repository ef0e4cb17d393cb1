"""Places the labels of arrows along them, without overlap, and if possible not crossed by other arrows."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import atan2, cos, degrees, hypot, sin
from typing import Final, TypeAlias

Point: TypeAlias = tuple[float, float]
Shape: TypeAlias = tuple[Point, ...]
"""The corners of a convex figure: four of a label, two of a line."""

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
    boxes: dict[int, Shape] = {}
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
        taken = [boxes[other] for other in near if other in boxes]
        offset = best = line.margin
        free = max(0.0, line.length - line.width - 2 * line.margin)
        around = [lines[other] for other in near]
        least = _HIT * len(near)
        while least and offset <= line.margin + free:
            cost = _cost(_box(line, offset, rise), taken, around, least)
            if cost < least:
                best, least = offset, cost
            offset += max(_STEP, free / _STEPS)
        if least >= _HIT:
            crowded.append(index)
        boxes[index] = _box(line, best, rise)
        labels[index] = _label(line, best, rise)
    return labels, crowded


def _cost(box: Shape, labels: Sequence[Shape], lines: Sequence[Line], least: int) -> int:
    """Return the cost of a position, from overlapped labels and crossing lines, but at most `least`."""
    cost = 0
    for label in labels:
        if _overlap(box, label):
            cost += _HIT
            if cost >= least:
                return least
    for line in lines:
        if _cross(box, line):
            cost += 1
            if cost >= least:
                return least
    return cost


def _spans(line: Line, top: float, bottom: float) -> bool:
    """Return whether part of the line is between these heights."""
    return min(line.tail[1], line.head[1]) <= bottom and max(line.tail[1], line.head[1]) >= top


def _direction(line: Line) -> Point:
    return (line.head[0] - line.tail[0]) / line.length, (line.head[1] - line.tail[1]) / line.length


def _left_end(line: Line, offset: float) -> tuple[Point, Point]:
    """Return the left end of a label on its line, `offset` from the tail, and the reading direction."""
    dx, dy = _direction(line)
    x, y = line.tail[0] + dx * offset, line.tail[1] + dy * offset
    if dx < 0:
        x, y = x + dx * line.width, y + dy * line.width
        dx, dy = -dx, -dy
    return (x, y), (dx, dy)


def _box(line: Line, offset: float, rise: float) -> Shape:
    (x, y), (dx, dy) = _left_end(line, offset)
    low = (x + dy * rise, y - dx * rise)
    high = (x + dy * (rise + line.height), y - dx * (rise + line.height))
    along = (dx * line.width, dy * line.width)
    return (low, (low[0] + along[0], low[1] + along[1]), (high[0] + along[0], high[1] + along[1]), high)


def _label(line: Line, offset: float, rise: float) -> Label:
    (x, y), (dx, dy) = _left_end(line, offset)
    angle = atan2(dy, dx)
    return Label(x + sin(angle) * rise, y - cos(angle) * rise, degrees(angle))


def _overlap(one: Shape, other: Shape) -> bool:
    """Return whether two convex figures overlap, because no side of either separates them."""
    # Quick checks first: labels are nearly level, so mostly one ends before the other begins, or is above it. The first
    # two corners are the ends of the base.
    if one[1][0] < other[0][0] - _CLOSE or other[1][0] < one[0][0] - _CLOSE:
        return False
    if _is_above(one, other) or _is_above(other, one):
        return False
    return not (_separate(one, other) or _separate(other, one))


def _is_above(one: Shape, other: Shape) -> bool:
    """Return whether a label ends above the highest corner of another one."""
    return max(one[0][1], one[1][1]) < min(other[2][1], other[3][1])


def _separate(one: Shape, other: Shape) -> bool:
    """Return whether a side of `one` separates it from `other`."""
    for (x1, y1), (x2, y2) in zip(one, (*one[1:], one[0]), strict=True):
        ax, ay = y1 - y2, x2 - x1
        first = [ax * x + ay * y for x, y in one]
        second = [ax * x + ay * y for x, y in other]
        if max(first) < min(second) or max(second) < min(first):
            return True
    return False


def _cross(box: Shape, line: Line) -> bool:
    """Return whether a line, which spans the whole width between the ends, crosses a label."""
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
