"""Texts on a drawn ladder: along arrows, beside the ends, and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from utcp.tcp import timers
from utcp.tcp.state import NAMES
from utcp.trace.ladder.layout import usual_flight
from utcp.trace.ladder.rungs import ENDS, Arrow, End, Rung
from utcp.wire import flag_names

ENGLISH: Final[Mapping[str, str]] = {}
"""The translations of the words in a drawing into English: none."""


class Beside(NamedTuple):
    """A line beside an end."""

    kind: Literal["state", "timer"]
    text: str


class Clock:
    """Formats times since the first rung, in milliseconds, or in seconds from ten seconds on, with a precision that
    shows the differences between rungs."""

    def __init__(self, rungs: Sequence[Rung]) -> None:
        self._zero = rungs[0].time if rungs else 0.0
        elapsed = rungs[-1].time - self._zero if rungs else 0.0
        self.unit = "s" if elapsed >= 10 else "ms"
        fine = usual_flight(rungs) < 0.001
        self._digits = (4 if fine else 3) if self.unit == "s" else (2 if fine else 1)
        self._scale = 1.0 if self.unit == "s" else 1000.0

    def text(self, time: float) -> str:
        return f"{(time - self._zero) * self._scale:.{self._digits}f}"


def label_of(rungs: Sequence[Rung], index: int, words: Mapping[str, str] = ENGLISH) -> str:
    """Return an arrow's label: control bits, numbers, and fate. `words` are those of `render_svg`."""
    arrow = rungs[index].arrow
    if arrow is None:
        raise AssertionError(f"rung {index} has no arrow")
    marks = []
    if arrow.retransmission:
        marks.append("retransmission")
    if arrow.sent is None:
        marks.append("duplicate")
    if arrow.received is None:
        marks.append("lost")
    if is_late(rungs, index):
        marks.append("late")
    fate = ", ".join(words.get(mark, mark) for mark in marks)
    return f"{header_words(arrow)}{' · ' if marks else ''}{fate}"


def short_label_of(arrow: Arrow) -> str:
    """Return a label for little room: control bits and numbers, as in "FIN,ACK 1:30 ack 1"."""
    numbers = f"{arrow.seq}:{arrow.seq + arrow.length}" if arrow.length else f"{arrow.seq}"
    return f"{flag_names(arrow.flags)} {numbers}{'' if arrow.ack is None else f' ack {arrow.ack}'}"


def header_words(arrow: Arrow) -> str:
    """Return control bits and relative numbers, as in "PSH,ACK seq=1:30 ack=1 len=29"."""
    numbers = f"seq={arrow.seq}"
    if arrow.length:
        numbers += f":{arrow.seq + arrow.length}"
    if arrow.ack is not None:
        numbers += f" ack={arrow.ack}"
    if arrow.length:
        numbers += f" len={arrow.length}"
    return f"{flag_names(arrow.flags)} {numbers}"


def is_late(rungs: Sequence[Rung], index: int) -> bool:
    """Return whether a segment that the same end sent later arrived before this one."""
    arrow = rungs[index].arrow
    if arrow is None or arrow.sent is None or arrow.received is None:
        return False
    for rung in rungs[index + 1 :]:
        if rung.time > arrow.received:
            break
        other = rung.arrow
        if (
            other is not None
            and other.sender == arrow.sender
            and other.sent is not None
            and other.received is not None
            and other.received < arrow.received
        ):
            return True
    return False


def beside_lines(rungs: Sequence[Rung], words: Mapping[str, str] = ENGLISH) -> dict[tuple[int, End], list[Beside]]:
    """Return the lines beside the ends of each rung: the timer that expired, the state that begins. `words` are those
    of `render_svg`."""
    beside: dict[tuple[int, End], list[Beside]] = {}
    shown: dict[End, int] = {}
    for index, rung in enumerate(rungs):
        for end in ENDS:
            lines: list[Beside] = []
            arrow = rung.arrow
            if arrow is not None and arrow.sender == end and arrow.timer is not None:
                lines.append(Beside("timer", timer_name(arrow.timer, words)))
            if rung.expired is not None and rung.expired[0] == end:
                lines.append(Beside("timer", timer_name(rung.expired[1], words)))
            state = rung.state(end)
            if state is not None and shown.get(end) != state:
                shown[end] = state
                lines.append(Beside("state", NAMES[state]))
            if lines:
                beside[index, end] = lines
    return beside


def timer_name(timer: int, words: Mapping[str, str] = ENGLISH) -> str:
    name = timers.NAMES[timer].replace("_", " ")
    return words.get(name, name)
