"""A ladder as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from utcp.tcp.state import NAMES
from utcp.tcp.timers import NAMES as TIMERS
from utcp.trace.ladder.rungs import Arrow, Rung
from utcp.trace.ladder.width import columns, pad
from utcp.wire import flag_names

_TIME_WIDTH: Final = 9
_STATE_WIDTH: Final = max(map(len, NAMES))


def render_text(rungs: Sequence[Rung], width: int = 100, names: tuple[str, str] = ("client", "server")) -> str:
    """The ladder as lines of text, `width` columns wide, or wider where a segment's description needs it.

    Times are milliseconds since the first rung. A state is written where it changes. An arrow that ends in `x` is a
    segment that never arrived; one that begins with `...`, one that arrived without having been sent. `(timer ...)`
    says which timer's expiry led to it. Chinese characters count as two columns.
    """
    labels = [_label(rung.arrow) for rung in rungs if rung.arrow]
    sides = max(_STATE_WIDTH, columns(names[0]))
    frame = _TIME_WIDTH + sides + max(_STATE_WIDTH, columns(names[1])) + len("  ") + 2 * len(" |")
    shaft = max([width - frame, *(len("---  --->") + len(label) for label in labels)])
    lines = [_line("ms", names[0], sides, " " * shaft, names[1])]
    left = right = None
    for rung in rungs:
        if rung.note is not None:
            lines.append(f"{'':{_TIME_WIDTH}}  {rung.note}")
            continue
        left_text, left = _changed(left, rung.client)
        right_text, right = _changed(right, rung.server)
        if rung.arrow is not None:
            body = _shaft(rung.arrow, shaft)
        elif rung.expired is not None:
            end, timer = rung.expired
            said = f"(timer {TIMERS[timer]})"
            body = f" {said:<{shaft - 1}}" if end == "client" else f"{said:>{shaft - 1}} "
        else:
            body = " " * shaft
        lines.append(_line(f"{(rung.time - rungs[0].time) * 1000:.1f}", left_text, sides, body, right_text))
    return "\n".join(lines) + "\n"


def _line(time: str, left: str, width: int, body: str, right: str) -> str:
    return f"{time:>{_TIME_WIDTH}}  {pad(left, width)} |{body}| {right}".rstrip()


def _changed(shown: int | None, state: int | None) -> tuple[str, int | None]:
    """What to write for `state` under a column that last showed `shown`, and what the column shows now."""
    return ("", shown) if state in (None, shown) else (NAMES[state], state)


def _label(arrow: Arrow) -> str:
    numbers = f"seq={arrow.seq}"
    if arrow.length:
        numbers += f":{arrow.seq + arrow.length}"
    if arrow.ack is not None:
        numbers += f" ack={arrow.ack}"
    if arrow.length:
        numbers += f" len={arrow.length}"
    marks = ["retransmission"] if arrow.retransmission else []
    if arrow.timer is not None:
        marks.append(f"timer {TIMERS[arrow.timer]}")
    if marks:
        numbers += f" ({', '.join(marks)})"
    return f"{flag_names(arrow.flags)} {numbers}"


def _shaft(arrow: Arrow, width: int) -> str:
    """The arrow between the columns: its description near the sender, its head at the receiver or, lost, an `x`."""
    label = _label(arrow)
    tail = "---" if arrow.sent is not None else "..."
    if arrow.sender == "client":
        start = f"{tail} {label} "
        return f"{start:-<{width - 1}}>" if arrow.received is not None else f"{start}--x".ljust(width)
    start = f" {label} {tail}"
    return f"<{start:->{width - 1}}" if arrow.received is not None else f"x--{start}".rjust(width)
