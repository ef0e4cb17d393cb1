"""A ladder as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from utcp.tcp.state import NAMES
from utcp.tcp.timers import NAMES as TIMERS
from utcp.trace.ladder.layout import usual_flight
from utcp.trace.ladder.rungs import Arrow, Rung
from utcp.trace.ladder.width import columns, pad
from utcp.trace.ladder.words import header_words

TIME_WIDTH: Final = 9
"""Columns of the times of a ladder."""
_STATE_WIDTH: Final = max(map(len, NAMES))
_TINY: Final = 0.0001
"""Usual transit time, seconds, below which times are written to the microsecond, as within one machine."""


LEGEND: Final = (
    "A segment's row has the time at which it was sent or, if that is unknown, captured, in milliseconds since the"
    " first row. Sequence numbers are relative to the initial ones, if those were captured. An arrow with x is a lost"
    " segment. An arrow with ... is a segment that arrived at this time, but was not sent at it."
)
"""The meaning of the text of a ladder from a capture."""


def render_text(rungs: Sequence[Rung], width: int = 100, names: tuple[str, str] = ("client", "server")) -> str:
    """Return the ladder as lines of text, `width` columns wide, or wider if a segment's numbers need it.

    Times are milliseconds since the first rung, and those of `Rung.time`: a segment's sending time. A state is written
    when it changes. An arrow that ends in `x` is a lost segment; one that begins with `...` arrived without being sent.
    `(timer ...)` names the timer that caused a segment, on a line of its own if there is no room beside the numbers.
    Chinese characters count as two columns. `LEGEND` says this to readers.
    """
    sides = max(_STATE_WIDTH, columns(names[0]))
    shaft = max(width - _frame(names), _longest(rungs))
    lines = [_line("ms", names[0], sides, " " * shaft, names[1])]
    digits = time_digits(rungs)
    left = right = None
    for rung in rungs:
        if rung.note is not None:
            lines.append(f"{'':{TIME_WIDTH}}  {rung.note}")
            continue
        below = ""
        left_text, left = _changed(left, rung.client)
        right_text, right = _changed(right, rung.server)
        if rung.arrow is not None:
            label, marks = header_words(rung.arrow), marks_of(rung.arrow)
            if marks and len("---  --->") + len(label) + len(marks) + 1 > shaft:
                below = f"    {marks:<{shaft - 4}}" if rung.arrow.sender == "client" else f"{marks:>{shaft - 4}}    "
            elif marks:
                label += f" {marks}"
            body = _shaft(rung.arrow, label, shaft)
        elif rung.expired is not None:
            end, timer = rung.expired
            said = f"(timer {TIMERS[timer]})"
            body = f" {said:<{shaft - 1}}" if end == "client" else f"{said:>{shaft - 1}} "
        else:
            body = " " * shaft
        lines.append(_line(f"{(rung.time - rungs[0].time) * 1000:.{digits}f}", left_text, sides, body, right_text))
        if below:
            lines.append(_line("", "", sides, below, ""))
    return "\n".join(lines) + "\n"


def needed_width(rungs: Sequence[Rung], names: tuple[str, str] = ("client", "server")) -> int:
    """Return the smallest width that `render_text` can keep, in columns."""
    return _frame(names) + _longest(rungs)


def time_digits(rungs: Sequence[Rung]) -> int:
    """Return the number of decimals of the times, which are milliseconds."""
    return 3 if usual_flight(rungs) < _TINY else 1


def _frame(names: tuple[str, str]) -> int:
    """Return the columns of a line without its arrow."""
    sides = (max(_STATE_WIDTH, columns(name)) for name in names)
    return TIME_WIDTH + len("  ") + sum(sides) + 2 * len(" |")


def _longest(rungs: Sequence[Rung]) -> int:
    """Return the columns of the longest arrow; 0 without arrows."""
    labels = (header_words(rung.arrow) for rung in rungs if rung.arrow is not None)
    return max((len("---  --->") + len(label) for label in labels), default=0)


def _line(time: str, left: str, width: int, body: str, right: str) -> str:
    return f"{time:>{TIME_WIDTH}}  {pad(left, width)} |{body}| {right}".rstrip()


def _changed(shown: int | None, state: int | None) -> tuple[str, int | None]:
    """Return the text for `state` in a column that last showed `shown`, and the state that the column shows now."""
    return ("", shown) if state in (None, shown) else (NAMES[state], state)


def marks_of(arrow: Arrow) -> str:
    """Return further properties, such as "(retransmission, timer probe)"."""
    marks = ["retransmission"] if arrow.retransmission else []
    if arrow.timer is not None:
        marks.append(f"timer {TIMERS[arrow.timer]}")
    return f"({', '.join(marks)})" if marks else ""


def _shaft(arrow: Arrow, label: str, width: int) -> str:
    """Return the arrow between the columns, with its description near the sender, and its head at the receiver or an
    `x` if lost."""
    tail = "---" if arrow.sent is not None else "..."
    if arrow.sender == "client":
        start = f"{tail} {label} "
        return f"{start:-<{width - 1}}>" if arrow.received is not None else f"{start}--x".ljust(width)
    start = f" {label} {tail}"
    return f"<{start:->{width - 1}}" if arrow.received is not None else f"x--{start}".rjust(width)
