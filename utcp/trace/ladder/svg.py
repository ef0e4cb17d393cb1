"""A ladder as an SVG drawing in one file, without scripts or external resources.

States are bars along each end's line, arrows slant by their transit time, and long silences are shortened and labelled.
The same rungs give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from utcp.tcp.state import NAMES
from utcp.trace.ladder.layout import DUPLICATE, LINE, lay_out
from utcp.trace.ladder.place import Label, Line, Point, place
from utcp.trace.ladder.rungs import ENDS, PEER, Arrow, End, Rung, duration, stays_in_time_wait
from utcp.trace.ladder.style import STYLE
from utcp.trace.ladder.width import columns, wrap
from utcp.trace.ladder.words import ENGLISH, Clock, beside_lines, label_of, short_label_of
from utcp.wire import flag_names

_CHARACTER: Final = 6.9
"""Width of a character in a label (monospaced, 11.5 px), pixels."""
_LABEL_HEIGHT: Final = 11.0
_RISE: Final = 5.0
_MARGIN: Final = 16.0
_BAR: Final = 10.0
_SIDE: Final = 132.0
"""Width beside a line for states, timers, and the span of a TIME_WAIT."""
_CLOCK: Final = 62.0
"""Width of the column of times."""
_LEAST: Final = 400.0
"""Minimum distance between the lines."""
_NARROW_SIDE: Final = 97.0
"""Width beside a line in a narrow drawing, for states and timers."""
_NARROW: Final = 196.0
"""Minimum distance between the lines in a narrow drawing, so that it fits a phone."""
_NOTE: Final = 13.0
_TITLE: Final = 17.0
"""Size of a character in the title, which is bold, pixels."""
_TITLE_LINE: Final = 24.0
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML 1.0 2.2 forbids."""
_PATIENCE: Final = 4000
"""Limit on the number of labels placed, over all attempts, after which labels may overlap, because hundreds of arrows
may cross."""
_IN_VAIN: Final = 4
"""Number of attempts in succession that do not lessen the overlaps, after which labels may overlap. More room makes
arrows steeper, and dense arrows come closer to each other."""


@dataclass(slots=True)
class _Page:
    """The horizontal positions."""

    left: float
    right: float
    width: float

    def x(self, end: End) -> float:
        return self.left if end == "client" else self.right

    def edge(self, end: End) -> float:
        """Return where arrows begin and end: the inner edge of the bar."""
        return self.left + _BAR / 2 if end == "client" else self.right - _BAR / 2

    def outward(self, end: End) -> int:
        return -1 if end == "client" else 1


def render_svg(
    rungs: Sequence[Rung],
    *,
    title: str = "",
    names: tuple[str, str] = ("client", "server"),
    steps: bool = False,
    narrow: bool = False,
    words: Mapping[str, str] = ENGLISH,
) -> str:
    """Return the ladder as an SVG document.

    Args:
        rungs: the ladder.
        title: text above the drawing, and its accessible name.
        names: names of the two ends.
        steps: whether each rung gets a class, `rung-0` and so on, for a page that shows them step by step. The style is
            left to the page (`style.PAGE_STYLE`).
        narrow: whether the drawing is for a width of 390 pixels, with short labels and without the column of times.
        words: translations of the words in the drawing, which are English: "retransmission", "duplicate", "lost",
            "late", "cut short", and the names of timers, such as "delayed ack".
    """
    return _Drawing(rungs, title, names, words, steps=steps, narrow=narrow).text()


class _Drawing:
    """One document, drawn from back to front."""

    def __init__(
        self,
        rungs: Sequence[Rung],
        title: str,
        names: tuple[str, str],
        words: Mapping[str, str],
        *,
        steps: bool,
        narrow: bool,
    ) -> None:
        self.rungs = rungs
        self.title = title
        self.names = names
        self.words = words
        self.steps = steps
        self.narrow = narrow
        self.labels = {
            index: short_label_of(rung.arrow) if narrow else label_of(rungs, index, words)
            for index, rung in enumerate(rungs)
            if rung.arrow
        }
        self.beside = beside_lines(rungs, words)
        self.title_lines = [title] if title else []
        if narrow and title:
            self.title_lines = wrap(title, (_NARROW + 2 * _NARROW_SIDE) / _TITLE)
        self.top = 40.0 + _TITLE_LINE * len(self.title_lines)
        self.clock = Clock(rungs)
        self.notes: dict[int, list[str]] = {}
        self.places: dict[int, Label] = {}
        widest = max((columns(text) * _CHARACTER for text in self.labels.values()), default=0.0)
        patience = max(1, min(30, _PATIENCE // max(1, len(rungs))))
        if narrow:
            self._arrange(max(_NARROW, widest + 2 * _MARGIN), patience)
        elif not self._arrange(max(_LEAST, widest + 4 * _MARGIN), 1):
            self._arrange(max(_LEAST, 2 * widest + 4 * _MARGIN), patience)  # side by side where arrows cross
        self.times = self._clock_times()
        self.height = self.layout.bottom + 24

    def _arrange(self, across: float, patience: int) -> bool:
        """Lay out the page with the distance `across` between the lines, and return whether no labels overlap.

        An arrow whose label overlaps another gets more room above it, in up to `patience` attempts, of which the best
        one is kept.
        """
        side = _NARROW_SIDE if self.narrow else _SIDE
        left = side if self.narrow else _CLOCK + side
        self.page = _Page(left, left + across, left + across + side)
        self.notes = {
            index: wrap(rung.note, (across - 3 * _MARGIN) / _NOTE)
            for index, rung in enumerate(self.rungs)
            if rung.note is not None
        }
        extra: dict[int, float] = {}
        notes = {index: len(lines) for index, lines in self.notes.items()}
        beside = {key: len(lines) for key, lines in self.beside.items()}
        least, in_vain = len(self.rungs) + 1, 0
        for _ in range(patience):
            self.layout = lay_out(self.rungs, self.top + 14, notes, beside, extra)
            lines = {index: self._line(index, columns(label) * _CHARACTER) for index, label in self.labels.items()}
            places, crowded = place(lines, _RISE)
            in_vain += 1
            if len(crowded) < least:
                least, in_vain = len(crowded), 0
                best = self.layout
                self.places = places
            if not crowded or in_vain == _IN_VAIN:
                break
            for index in crowded:
                extra[index] = extra.get(index, 0.0) + LINE
        self.layout = best
        return not least

    def _line(self, index: int, width: float) -> Line:
        tail, head = self._arrow_ends(index)
        return Line(tail, head, width, _LABEL_HEIGHT, _MARGIN)

    def _arrow_ends(self, index: int) -> tuple[Point, Point]:
        arrow = self.rungs[index].arrow
        if arrow is None:
            raise AssertionError(f"rung {index} has no arrow")
        page = self.page
        start, stop = page.edge(arrow.sender), page.edge(PEER[arrow.sender])
        y = self.layout.starts[index]
        across = stop - start
        needed = (columns(self.labels[index]) * _CHARACTER + 2 * _MARGIN) / abs(across)
        if arrow.sent is None:
            return (start + across * (1 - max(0.65, needed)), y - DUPLICATE), (stop, y)
        if arrow.received is None:
            reach = max(0.6, needed)
            return (start, y), (start + across * reach, y + (self.layout.ends[index] - y) * reach)
        return (start, y), (stop, self.layout.ends[index])

    def text(self) -> str:
        width, height = round(self.page.width), round(self.height)
        name = "narrow-ladder" if self.narrow else "ladder"
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"',
            f'role="img" aria-labelledby="{name}-title {name}-desc">',
            f'<title id="{name}-title">{_text(self.title or " and ".join(self.names))}</title>',
            f'<desc id="{name}-desc">{_text(self._description())}</desc>',
            *([] if self.steps else [f"<style>{STYLE}</style>"]),
            f'<rect class="page" width="{width}" height="{height}" rx="8"/>',
            *self._heading(),
            *self._bars(),
            *self._breaks(),
            *([] if self.narrow else self._stays()),
        ]
        # Labels and notes are drawn in front of all lines.
        for drawn in (self._arrow, self._words):
            for index in range(len(self.rungs)):
                piece = drawn(index)
                if piece:
                    parts.append(f'<g class="rung rung-{index}">{piece}</g>' if self.steps else piece)
        parts.append("</svg>")
        return "\n".join(parts) + "\n"

    def _description(self) -> str:
        arrows = [rung.arrow for rung in self.rungs if rung.arrow]
        lost = sum(arrow.received is None for arrow in arrows)
        again = sum(arrow.retransmission for arrow in arrows)
        said = [f"{len(arrows)} segments, {lost} lost, {again} retransmitted."]
        for end, name in zip(ENDS, self.names, strict=True):
            path: list[str] = []
            for rung in self.rungs:
                state = rung.state(end)
                if state is not None and (not path or path[-1] != NAMES[state]):
                    path.append(NAMES[state])
            if path:
                said.append(f"States of the {name}: {', '.join(path)}.")
        return " ".join(said)

    def _heading(self) -> list[str]:
        page = self.page
        middle = _n((page.left + page.right) / 2)
        parts = [
            f'<text class="title" x="{middle}" y="{_n(26 + row * _TITLE_LINE)}">{_text(line)}</text>'
            for row, line in enumerate(self.title_lines)
        ]
        if not self.narrow:
            parts.append(f'<text class="time" x="{_n(_CLOCK - 6)}" y="{_n(self.top - 10)}">{self.clock.unit}</text>')
        for end, name in zip(ENDS, self.names, strict=True):
            shown = name.split()[0] if self.narrow and name.strip() else name  # without the address
            parts.append(f'<text class="name" x="{_n(page.x(end))}" y="{_n(self.top - 10)}">{_text(shown)}</text>')
        return parts

    # ------------------------------------------------------------------ states and time

    def _moment(self, index: int, end: End) -> float:
        """Return the rung's position on the line of `end`."""
        arrow = self.rungs[index].arrow
        if arrow is not None and arrow.sender != end:
            return self.layout.ends[index]
        return self.layout.starts[index]

    def _bars(self) -> list[str]:
        parts = []
        bottom = self.layout.bottom + 12
        for end in ENDS:
            changes = sorted(
                (self._moment(index, end), index, state)
                for index, rung in enumerate(self.rungs)
                if (state := rung.state(end)) is not None
            )
            x = self.page.x(end)
            parts.append(f'<path class="line" d="M{_n(x)} {_n(self.top)}V{_n(bottom)}"/>')
            shown: list[tuple[float, int]] = []
            for y, _, state in changes:
                if not shown or shown[-1][1] != state:
                    shown.append((y, state))
            for position, (y, state) in enumerate(shown):
                until = shown[position + 1][0] if position + 1 < len(shown) else bottom
                parts.append(
                    f'<rect class="s{state}" x="{_n(x - _BAR / 2)}" y="{_n(y)}" width="{_n(_BAR)}"'
                    f' height="{_n(until - y)}"/>'
                )
        return parts

    def _breaks(self) -> list[str]:
        parts = []
        for gap in self.layout.breaks:
            middle = (gap.top + gap.bottom) / 2
            for end in ENDS:
                x = self.page.x(end)
                parts.append(f'<path class="break" d="M{_n(x - 9)} {_n(middle + 3)}l6 -6 6 6 6 -6"/>')
            x, place = (self.page.width / 2, "stay-text") if self.narrow else (_CLOCK - 6, "silence")
            parts.append(f'<text class="{place}" x="{_n(x)}" y="{_n(middle + 4)}">{duration(gap.seconds)}</text>')
        return parts

    def _stays(self) -> list[str]:
        """Draw a bracket along each TIME_WAIT. It lasts 2 MSL from the last FIN on; the time before that is dashed."""
        parts = []
        for stay in stays_in_time_wait(self.rungs):
            out = self.page.outward(stay.end)
            x = self.page.x(stay.end) + out * (_SIDE - 22)
            tick = f"h{-out * 5}"
            top, bottom = self._moment(stay.first, stay.end), self._moment(stay.last, stay.end)
            began = stay.began
            parts.append(f'<path class="stay" d="M{_n(x)} {_n(top)}{tick}"/>')
            for index in stay.restarts:
                y = self._moment(index, stay.end)
                parts.append(f'<path class="stay before" d="M{_n(x)} {_n(top)}V{_n(y)}{tick}"/>')
                top, began = y, self.rungs[index].state_time(stay.end)
            fate = "2 MSL" if stay.expired else self.words.get("cut short", "cut short")
            beside = x + (-5 if out < 0 else 14)
            parts.append(
                f'<path class="stay" d="M{_n(x)} {_n(top)}V{_n(bottom)}{tick}"/>'
                f'<text class="stay-text" transform="translate({_n(beside)} {_n((top + bottom) / 2)}) rotate(-90)">'
                f"{fate}: {duration(stay.ended - began)}</text>"
            )
        return parts

    # ------------------------------------------------------------------ rungs

    def _words(self, index: int) -> str:
        if self.rungs[index].note is not None:
            return self._note(index)
        besides = (self._beside(index, end) for end in ENDS)
        return self._time(index) + "".join(besides) + self._label(index)

    def _note(self, index: int) -> str:
        page, lines = self.page, self.notes[index]
        top = self.layout.starts[index]
        x = page.left + _MARGIN
        spans = "".join(
            f'<tspan x="{_n(x + 10)}" y="{_n(top + 9 + LINE * (row + 0.8))}">{_text(line)}</tspan>'
            for row, line in enumerate(lines)
        )
        return (
            f'<rect class="note" x="{_n(x)}" y="{_n(top)}" width="{_n(page.right - page.left - 2 * _MARGIN)}"'
            f' height="{_n(LINE * len(lines) + 16)}" rx="4"/><text class="note-text">{spans}</text>'
        )

    def _clock_times(self) -> dict[int, str]:
        """Return the times to write, by rung, without those that repeat the previous one or have no room."""
        times: dict[int, str] = {}
        if self.narrow:
            return times
        above, shown = -LINE, ""
        for y, index in sorted((y, index) for index, y in enumerate(self.layout.starts)):
            text = self.clock.text(self.rungs[index].time)
            if self.rungs[index].note is None and text != shown and y - above >= 11:
                times[index] = shown = text
                above = y
        return times

    def _time(self, index: int) -> str:
        text = self.times.get(index)
        if text is None:
            return ""
        return f'<text class="time" x="{_n(_CLOCK - 6)}" y="{_n(self.layout.starts[index] + 4)}">{text}</text>'

    def _beside(self, index: int, end: End) -> str:
        out = self.page.outward(end)
        x = self.page.x(end)
        y = self._moment(index, end)
        side = "l" if out < 0 else "r"
        parts = []
        for row, (kind, text) in enumerate(self.beside.get((index, end), ())):
            at = y + LINE * row
            if kind == "timer":
                parts.append(
                    f'<path class="clock" d="M{_n(x + out * 15)} {_n(at)}m-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0'
                    f'm4.5 -3v3h2.5"/><text class="timer {side}" x="{_n(x + out * 24)}" y="{_n(at + 4)}">{text}</text>'
                )
            else:
                parts.append(f'<text class="state {side}" x="{_n(x + out * 11)}" y="{_n(at + 4)}">{text}</text>')
        return "".join(parts)

    def _arrow(self, index: int) -> str:
        arrow = self.rungs[index].arrow
        if arrow is None:
            return ""
        tail, head = self._arrow_ends(index)
        kind = _kind(arrow)
        line = f'<path class="arrow{kind}" d="M{_p(tail)}L{_p(head)}"/>'
        if arrow.received is None:
            x, y = head
            return f'{line}<path class="cross" d="M{_n(x - 6)} {_n(y - 6)}l12 12m0 -12l-12 12"/>'
        return f'{line}<path class="head{kind}" d="{_head(tail, head)}"/>'

    def _label(self, index: int) -> str:
        arrow = self.rungs[index].arrow
        if arrow is None:
            return ""
        place = self.places[index]
        flags = flag_names(arrow.flags)
        angle = _n(place.angle)
        turned = "" if angle in ("0", "-0") else f" rotate({angle})"
        return (
            f'<text class="label{_kind(arrow)}" transform="translate({_n(place.x)} {_n(place.y)}){turned}">'
            f'<tspan class="flags">{flags}</tspan>{self.labels[index][len(flags) :]}</text>'
        )


def _text(text: str) -> str:
    """Escape the text, and remove characters that XML forbids, such as most control characters."""
    return escape(_FORBIDDEN.sub("", text))


def _kind(arrow: Arrow) -> str:
    """Return the arrow's classes for the style sheet."""
    kind = " lost" if arrow.received is None else " copy" if arrow.sent is None else ""
    return f"{kind} again" if arrow.retransmission and arrow.received is not None else kind


def _head(tail: Point, head: Point) -> str:
    """Return the triangle at the end of an arrow."""
    dx, dy = head[0] - tail[0], head[1] - tail[1]
    length = (dx * dx + dy * dy) ** 0.5
    dx, dy = dx / length, dy / length
    back = (head[0] - 9 * dx, head[1] - 9 * dy)
    return f"M{_p(head)}L{_p((back[0] + 3.5 * dy, back[1] - 3.5 * dx))}L{_p((back[0] - 3.5 * dy, back[1] + 3.5 * dx))}z"


def _n(number: float) -> str:
    """Return the number with at most one decimal place."""
    return f"{number:.1f}".removesuffix(".0")


def _p(point: Point) -> str:
    return f"{_n(point[0])} {_n(point[1])}"
