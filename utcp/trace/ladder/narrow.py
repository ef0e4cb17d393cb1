"""A ladder as a list of segments, for terminals on which the ladder has no room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from utcp.tcp.state import NAMES
from utcp.tcp.timers import NAMES as TIMERS
from utcp.trace.ladder.rungs import ENDS, Arrow, End, Rung
from utcp.trace.ladder.text import TIME_WIDTH, marks_of, time_digits
from utcp.trace.ladder.width import columns, wrap
from utcp.trace.ladder.words import header_words

_INDENT: Final = " " * (TIME_WIDTH + 2)


def render_narrow(rungs: Sequence[Rung], width: int, names: tuple[str, str] = ("client", "server")) -> str:
    """Return the rows of a ladder as lines of text, `width` columns wide, or wider if a single word needs it.

    `-->` is a segment from the client, and `<--` one from the server. `--x` and `x--` are lost segments, `...>` and
    `<...` segments that arrived without being sent. The states that a segment changes follow on lines of their own.
    Times are those of `render_text`.
    """
    lines = [f"{'ms':>{TIME_WIDTH}}  {' --> '.join(names)}"]
    digits = time_digits(rungs)
    shown: dict[End, int] = {}
    for rung in rungs:
        if rung.note is not None:
            lines.append(_INDENT + rung.note)
            continue
        room = width - len(_INDENT)
        folded = [part for text in _texts(rung, names, shown, room) for part in _folded(text, room)]
        time = f"{(rung.time - rungs[0].time) * 1000:.{digits}f}"
        lines += [
            f"{time:>{TIME_WIDTH}}  {part}" if number == 0 else _INDENT + part for number, part in enumerate(folded)
        ]
    return "\n".join(lines) + "\n"


def _texts(rung: Rung, names: tuple[str, str], shown: dict[End, int], room: int) -> Iterator[str]:
    """Yield the segment, the timer and the new states of a row, the states in one text if they fit into `room`.

    `shown` has the last state of each end.
    """
    if rung.arrow is not None:
        marks = marks_of(rung.arrow)
        yield f"{_head(rung.arrow)} {header_words(rung.arrow)}{' ' if marks else ''}{marks}"
    called = dict(zip(ENDS, names, strict=True))
    if rung.expired is not None:
        end, timer = rung.expired
        yield f"{called[end]} (timer {TIMERS[timer]})"
    changes = []
    for end in ENDS:
        state = rung.state(end)
        if state is not None and shown.get(end) != state:
            shown[end] = state
            changes.append(f"{called[end]} {NAMES[state]}")
    together = ", ".join(changes)
    yield from [together] if changes and columns(together) <= room else changes


def _head(arrow: Arrow) -> str:
    line = "--" if arrow.sent is not None else "..."
    if arrow.sender == "client":
        return f"{line}{'>' if arrow.received is not None else 'x'}"
    return f"{'<' if arrow.received is not None else 'x'}{line}"


def _folded(text: str, width: int) -> list[str]:
    """Break a text, with the further lines indented below the first word after the arrow."""
    first, *rest = wrap(text, width, columns)
    if not rest:
        return [first]
    further = wrap(" ".join(rest), width - 4, columns)
    return [first, *(f"    {line}" for line in further)]
