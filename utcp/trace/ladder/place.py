"""Where the labels of arrows stand: along them, on none of the others, and if possible crossed by no arrow."""

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
"""At least so many pixels lie between the places along its arrow that a label tries, from the tail on."""
_STEPS: Final = 16
"""At most so many it tries."""
_HIT: Final = 1000
"""How many arrows may rather cross a label than another label cover it."""
_CLOSE: Final = 20.0
"""By how much a label's corners may stand out from the ends of its base."""


@dataclass(frozen=True, slots=True)
class Line:
    """An arrow on the page, from tail to head, and the room that its label takes along it and above it."""

    tail: Point
    head: Point
    width: float
    height: float
    margin: float
    """Between either end of the arrow and its label."""

    @property
    def length(self) -> float:
        return hypot(self.head[0] - self.tail[0], self.head[1] - self.tail[1])


@dataclass(frozen=True, slots=True)
class Label:
    """Where a label's text begins, on its base line, and by how many degrees it is turned."""

    x: float
    y: float
    angle: float


def place(lines: Mapping[int, Line], rise: float) -> tuple[dict[int, Label], list[int]]:
    """The labels' places, `rise` pixels above their lines; and the lines whose labels found none of their own."""
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
    """How bad a place is, by the labels that it covers and the lines that cross it; no more than `least`."""
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
    """Whether some of it is between these heights."""
    return min(line.tail[1], line.head[1]) <= bottom and max(line.tail[1], line.head[1]) >= top


def _direction(line: Line) -> Point:
    return (line.head[0] - line.tail[0]) / line.length, (line.head[1] - line.tail[1]) / line.length


def _left_end(line: Line, offset: float) -> tuple[Point, Point]:
    """Where, on the line, the left end of its label is, `offset` from the tail; and the direction in which it reads."""
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
    """Whether two convex figures have a point in common: no side of theirs separates them."""
    # Labels lie nearly level: mostly one ends before the other begins. The second corner is the right end of the base.
    if one[1][0] < other[0][0] - _CLOSE or other[1][0] < one[0][0] - _CLOSE:
        return False
    return not (_separate(one, other) or _separate(other, one))


def _separate(one: Shape, other: Shape) -> bool:
    """Whether a side of `one` has all of `other` beyond it."""
    for (x1, y1), (x2, y2) in zip(one, (*one[1:], one[0]), strict=True):
        ax, ay = y1 - y2, x2 - x1
        first = [ax * x + ay * y for x, y in one]
        second = [ax * x + ay * y for x, y in other]
        if max(first) < min(second) or max(second) < min(first):
            return True
    return False


def _cross(box: Shape, line: Line) -> bool:
    """Whether a line, which runs from one side of the page to the other, runs through a label."""
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
