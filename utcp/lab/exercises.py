"""Exercises: each asks for a run in which something happens that does not happen in its scene alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from utcp.lab.experiment import Experiment
from utcp.lab.own import OLD
from utcp.lab.play import Played, play
from utcp.lab.settings import ExperimentError
from utcp.lab.words import quoted, tables, text
from utcp.scenes.text import Language, Text
from utcp.tcp import timers
from utcp.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    LAST_ACK,
    SYN_RCVD,
    SYN_SENT,
    TIME_WAIT,
)
from utcp.trace.ladder import Arrow, End
from utcp.trace.ladder.rungs import ENDS, stays_in_time_wait
from utcp.trace.ladder.told import Json
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
        raise ExperimentError(text("unknown_exercise", name=quoted(name)))
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


def _retransmitted(played: Played, end: End, flag: int) -> int:
    """Return how often an end has retransmitted a segment with a control bit."""
    return sum(arrow.sender == end and bool(arrow.flags & flag) and arrow.retransmission for arrow in _arrows(played))


def _is_challenged(played: Played, end: End) -> bool:
    return any(
        around.before is not None
        and around.after is not None
        and around.after.counters["challenge_acks"] > around.before.counters["challenge_acks"]
        for probe in played.probes[end]
        for around in probe.history
    )


def _answers_keepalive_with_rst(played: Played) -> bool:
    """Return whether an RST answered a keepalive probe."""
    latest: dict[End, Arrow] = {}
    for arrow in _real(played):
        latest[arrow.sender] = arrow
        probe = latest.get(arrow.receiver)
        if arrow.flags & RST and arrow.received is not None and probe is not None and probe.timer == timers.KEEPALIVE:
            return True
    return False


# ---------------------------------------------------------------------- the exercises


def _syn_again(played: Played) -> bool:
    return _retransmitted(played, "client", SYN) > 0 and ESTABLISHED in played.paths["client"]


def _refused(played: Played) -> bool:
    return _has_path(played, "client", SYN_SENT, CLOSED) and any(
        arrow.sender == "server" and arrow.flags & RST and arrow.received is not None for arrow in _real(played)
    )


def _server_resets(played: Played) -> bool:
    return any(arrow.sender == "server" and arrow.flags & RST for arrow in _real(played))


def _both_closing(played: Played) -> bool:
    return all(CLOSING in path for path in played.paths.values())


def _time_wait_restarts(played: Played) -> bool:
    stays = stays_in_time_wait(played.rungs)
    return any(stay.end == "client" and stay.restarts and stay.expired for stay in stays)


def _open_fails(played: Played) -> bool:
    return (
        _has_path(played, "client", SYN_SENT, CLOSED)
        and _retransmitted(played, "client", SYN) > 0
        and not any(arrow.flags & RST for arrow in _arrows(played))
    )


def _challenged(played: Played) -> bool:
    return _is_challenged(played, "server") and _has_path(played, "server", CLOSE_WAIT, LAST_ACK, CLOSED)


def _ack_with_fin(played: Played) -> bool:
    return _has_path(played, "client", FIN_WAIT_1, TIME_WAIT)


def _fin_wait_2_expires(played: Played) -> bool:
    return any(rung.expired == ("client", timers.FIN_WAIT_2) for rung in played.rungs)


def _last_ack_gives_up(played: Played) -> bool:
    return _has_path(played, "server", LAST_ACK, CLOSED) and any(
        arrow.sender == "server" and arrow.flags & RST and arrow.timer == timers.RETRANSMIT for arrow in _real(played)
    )


def _simultaneous_open(played: Played) -> bool:
    return all(_has_path(played, end, SYN_SENT, SYN_RCVD, ESTABLISHED) for end in ENDS)


def _assassinated(played: Played) -> bool:
    """TIME_WAIT ended before its 2 MSL, by a segment."""
    stays = stays_in_time_wait(played.rungs)
    return any(stay.end == "client" and not stay.expired for stay in stays)


def _read_old_data(played: Played) -> bool:
    return any(OLD in line for exhibit in played.exhibits for line in exhibit.lines)


_TWO_CONNECTIONS: Final = (
    "&latency=0.0005&do=server@0:listen&do=client@0:open&do=client@0.002:send,20000&do=client@0.002:close"
    "&do=server@0.006:close&do=client@0.02:open&do=client@0.03:send,20000&do=client@0.03:close&do=server@0.04:close"
)
"""Two connections on the same ports. The first one sends faster than the clock of initial sequence numbers ticks."""

EXERCISES: Final[dict[str, Exercise]] = {
    exercise.name: exercise
    for exercise in (
        Exercise("syn-again", 1, "four-way", "four-way?lose=1", _syn_again),
        Exercise("refused", 1, "own", "own?do=client@0:open", _refused),
        Exercise("server-resets", 1, "four-way", "four-way?inject=client@1.2:RST", _server_resets),
        Exercise(
            "both-closing",
            1,
            "own",
            "own?do=server@0:listen&do=client@0:open&do=client@1:close&do=server@1:close",
            _both_closing,
        ),
        Exercise("longer-time-wait", 1, "four-way", "four-way?lose=13", _time_wait_restarts),
        Exercise("open-fails", 2, "three-way", "three-way?syn_retries=1&lose=1&lose=2", _open_fails),
        Exercise("challenge", 2, "four-way", "four-way?inject=client@1.2:SYN", _challenged),
        Exercise("ack-with-fin", 2, "lost-last-ack", "lost-last-ack?lose=5&lose=7", _ack_with_fin),
        Exercise("fin-wait-2", 2, "lost-last-ack", "lost-last-ack?fin_wait_2_timeout=0.2", _fin_wait_2_expires),
        Exercise(
            "half-open",
            2,
            "own",
            "own?do=server@0:listen&do=client@0:open&inject=client@1:RST",
            _answers_keepalive_with_rst,
        ),
        Exercise(
            "last-ack-gives-up",
            2,
            "three-way",
            "three-way?fin_retries=1&lose=8&lose=9&lose=10&lose=11",
            _last_ack_gives_up,
        ),
        Exercise("simultaneous-open", 3, "own", "own?do=client@0:open&do=server@0:open", _simultaneous_open),
        Exercise("assassination", 3, "four-way", "four-way?rfc1337=off&inject=server@5:RST", _assassinated),
        Exercise(
            "old-duplicate",
            3,
            f"own?{_TWO_CONNECTIONS[1:]}",
            f"own?msl=0&timestamps=off{_TWO_CONNECTIONS}&duplicate=12:0.024",
            _read_old_data,
        ),
    )
}
"""By name, from easy to hard."""
