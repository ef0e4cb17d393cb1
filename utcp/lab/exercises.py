"""Exercises: each asks for a run in which something happens that does not happen in its scene alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from utcp.lab.experiment import Experiment
from utcp.lab.play import Played, play
from utcp.lab.run import Json
from utcp.lab.settings import ExperimentError
from utcp.lab.words import tables, text
from utcp.scenes.text import Language, Text
from utcp.tcp.state import (
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RCVD,
    SYN_SENT,
    TIME_WAIT,
)
from utcp.trace.ladder import Arrow, End
from utcp.trace.ladder.rungs import stays_in_time_wait
from utcp.wire import RST, SYN


@dataclass(frozen=True, slots=True)
class Exercise:
    """An exercise: the address at which it starts, what a run must show, and an address that solves it."""

    name: str
    level: Literal[1, 2, 3]
    start: str
    solution: str
    is_solved: Callable[[Played], bool]

    def _texts(self) -> Any:
        return tables("exercises")[self.name]

    @property
    def title(self) -> Text:
        return Text(**self._texts()["title"])

    @property
    def text(self) -> tuple[Text, ...]:
        return tuple(Text(**paragraph) for paragraph in self._texts()["text"])

    @property
    def hint(self) -> Text:
        return Text(**self._texts()["hint"])

    @property
    def solved(self) -> Text:
        """What a solution shows."""
        return Text(**self._texts()["solved"])

    @property
    def missing(self) -> Text:
        """What a run must show, for a run that does not."""
        return Text(**self._texts()["missing"])


def check(name: str, experiment: Experiment, language: Language = "en") -> Json:
    """Return whether an experiment solves an exercise, and a sentence. Raises ExperimentError for an unknown one."""
    exercise = EXERCISES.get(name)
    if exercise is None:
        raise ExperimentError(text("unknown_exercise", name=repr(name)))
    if experiment.scene != Experiment.from_address(exercise.start).scene:
        said = text("other_scene", scene=exercise.start)
        return {"solved": False, "text": said.in_(language)}
    solved = exercise.is_solved(play(experiment, language))
    return {"solved": solved, "text": (exercise.solved if solved else exercise.missing).in_(language)}


# ---------------------------------------------------------------------- what a run shows


def _arrows(played: Played) -> list[Arrow]:
    return [rung.arrow for rung in played.rungs if rung.arrow is not None]


def _real(played: Played) -> list[Arrow]:
    """Return the segments of the two ends, without the injected ones."""
    return [
        rung.arrow
        for index, rung in enumerate(played.rungs)
        if rung.arrow is not None and played.numbers.get(index) not in played.forged
    ]


def _has_path(played: Played, end: End, *states: int) -> bool:
    """Return whether an end went through these states, one directly after the other."""
    path = played.paths[end]
    return any(path[start : start + len(states)] == states for start in range(len(path)))


def _sent_rst(played: Played, end: End) -> bool:
    return any(arrow.sender == end and arrow.flags & RST for arrow in _real(played))


def _retransmitted(played: Played, end: End, flag: int) -> int:
    """Return how often an end has retransmitted a segment with a control bit."""
    return sum(arrow.sender == end and bool(arrow.flags & flag) and arrow.retransmission for arrow in _arrows(played))


def _time_wait(played: Played, end: End) -> float:
    """Return the longest TIME_WAIT of an end, seconds."""
    stays = [stay.ended - stay.began for stay in stays_in_time_wait(played.rungs) if stay.end == end]
    return max(stays, default=0.0)


# ---------------------------------------------------------------------- the exercises


def _server_resets(played: Played) -> bool:
    return _sent_rst(played, "server")


def _syn_again(played: Played) -> bool:
    return _retransmitted(played, "client", SYN) > 0 and ESTABLISHED in played.paths["client"]


def _long_time_wait(played: Played) -> bool:
    return any(
        stay.end == "client" and stay.restarts and stay.ended - stay.began > 1.001 * (stay.ended - _last(played, stay))
        for stay in stays_in_time_wait(played.rungs)
    )


def _last(played: Played, stay: Any) -> float:
    arrow = played.rungs[stay.restarts[-1]].arrow
    return arrow.received or 0.0 if arrow is not None else 0.0


def _both_closing(played: Played) -> bool:
    return all(CLOSING in path for path in played.paths.values())


def _last_ack_gives_up(played: Played) -> bool:
    return _has_path(played, "server", LAST_ACK, CLOSED) and any(
        arrow.sender == "server" and arrow.flags & RST and arrow.timer is not None for arrow in _real(played)
    )


def _open_fails(played: Played) -> bool:
    return _has_path(played, "client", SYN_SENT, CLOSED) and _retransmitted(played, "client", SYN) > 0


def _simultaneous_open(played: Played) -> bool:
    return all(_has_path(played, end, SYN_SENT, SYN_RCVD, ESTABLISHED) for end in ("client", "server"))


def _half_open(played: Played) -> bool:
    """An end is reset by the answer to its keepalive probe."""
    return any(
        arrow.flags & RST and arrow.received is not None and _was_keepalive(played, arrow) for arrow in _real(played)
    )


def _was_keepalive(played: Played, rst: Arrow) -> bool:
    from utcp.tcp.timers import KEEPALIVE

    before = [
        arrow
        for arrow in _arrows(played)
        if arrow.sender != rst.sender and arrow.received is not None and arrow.received <= (rst.sent or 0.0)
    ]
    return bool(before) and before[-1].timer == KEEPALIVE


def _rst_is_ignored(played: Played) -> bool:
    return any(
        index in played.numbers
        and played.numbers[index] in played.forged
        and rung.arrow is not None
        and rung.arrow.flags & RST
        and rung.arrow.received is not None
        and _state_at(played, rung.arrow.receiver, rung.arrow.received) == TIME_WAIT
        and any(
            stay.end == rung.arrow.receiver and stay.began < rung.arrow.received < stay.ended - 1e-6
            for stay in stays_in_time_wait(played.rungs)
        )
        for index, rung in enumerate(played.rungs)
    )


def _state_at(played: Played, end: End, time: float) -> int | None:
    """Return the state of an end just before a time."""
    found = None
    for rung in played.rungs:
        state = rung.state(end)
        if state is not None and rung.state_time(end) < time:
            found = state
    return found


def _assassinated(played: Played) -> bool:
    return any(
        stay.end == "client" and not stay.expired and stay.ended > stay.began
        for stay in stays_in_time_wait(played.rungs)
    )


def _refused(played: Played) -> bool:
    return _has_path(played, "client", SYN_SENT, CLOSED)


def _corrupted(played: Played) -> bool:
    """The server of the new connection has read data of the old one although 2 MSL were set for both parts."""
    return any("OLD" in line for exhibit in played.exhibits for line in exhibit.lines)


def _fin_wait_1_to_time_wait(played: Played) -> bool:
    return _has_path(played, "client", FIN_WAIT_1, TIME_WAIT)


def _fin_wait_2_expires(played: Played) -> bool:
    return _has_path(played, "client", FIN_WAIT_2, CLOSED)


def _challenged(played: Played) -> bool:
    return any(
        around.after is not None
        and around.before is not None
        and around.after.counters["challenge_acks"] > around.before.counters["challenge_acks"]
        for probe in played.probes["server"]
        for around in probe.history
    )


EXERCISES: Final[dict[str, Exercise]] = {
    exercise.name: exercise
    for exercise in (
        Exercise("syn-again", 1, "four-way", "four-way?lose=1", _syn_again),
        Exercise("server-resets", 1, "four-way", "four-way?inject=client@1.2:RST", _server_resets),
    )
}
"""By name, from easy to hard."""
