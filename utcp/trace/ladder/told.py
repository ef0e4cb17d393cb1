"""The rungs of a ladder as JSON, for the page that steps through them: what each one says, and both ends at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from utcp.tcp import timers
from utcp.tcp.state import CLOSED, LISTEN
from utcp.trace.comments import Comment, running_timers
from utcp.trace.ladder.explain import MEANING, Facts, Step, explain
from utcp.trace.ladder.rungs import ENDS, Arrow, End, Rung
from utcp.trace.ladder.words import Clock
from utcp.wire import flag_names

Json: TypeAlias = dict[str, Any]

TWO_MSL: Final = "time_wait"
"""Name of the timer of TIME_WAIT in comments (`utcp.trace.comments`)."""

_TITLES: Final = {
    "retransmit": "retransmission",
    "persist": "zero-window probe",
    "delayed_ack": "delayed ACK",
    "fin_wait_2": "limit of FIN_WAIT_2",
    "user_timeout": "user timeout",
    "linger": "limit of the close",
    "probe": "tail loss probe",
    "reorder": "reordering window",
    TWO_MSL: "2 MSL",
}
"""The names of timers in words."""

_MEANING: Final = {
    TWO_MSL: "no segment of the connection is left in the network, and its ports are free again (RFC 9293 3.6.1)",
    **{timers.NAMES[timer]: meaning for timer, meaning in MEANING.items()},
}


def told(rungs: Sequence[Rung], names: tuple[str, str], translated: Mapping[str, str] | None = None) -> list[Json]:
    """Return the rungs of a ladder, with the variables and timers that its comments have. The arguments are those of
    `explain`."""
    clock = Clock(rungs)
    found = []
    before: Step | None = None
    for index, (rung, step) in enumerate(zip(rungs, explain(rungs, names, translated), strict=True)):
        ends: Json = {end: _end(end, rung, step, before, translated or {}) for end in ENDS}
        arrow = rung.arrow
        found.append(
            {
                **told_rung(index, rung, step, clock),
                "packet": None,
                "edits": [],
                "fate": None if arrow is None else "lost" if arrow.received is None else "arrived",
                "injected": False,
                "decision": [],
                **ends,
            }
        )
        before = step
    return found


def told_rung(index: int, rung: Rung, step: Step, clock: Clock) -> Json:
    """Return what a rung says by itself."""
    return {
        "index": index,
        "kind": _kind(index, rung),
        "time": round(rung.time, 6),
        "clock": f"{clock.text(rung.time)} {clock.unit}",
        "heading": step["heading"],
        "said": step["said"],
        "note": rung.note,
        "arrow": None if rung.arrow is None else _arrow(rung.arrow),
        "fields": [list(pair) for pair in step["fields"]],
    }


def running(deadlines: Mapping[str, float], now: float, translated: Mapping[str, str]) -> list[Json]:
    """Return the running timers by their names and deadlines, the next one first."""
    return [
        {
            "name": name,
            "title": translated.get(name, _TITLES.get(name, name)),
            "left": round(max(0.0, deadline - now), 5),
            "fires_at": round(deadline, 5),
            "meaning": translated.get(_MEANING.get(name, ""), _MEANING.get(name, "")),
        }
        for name, deadline in sorted(deadlines.items(), key=lambda item: (item[1], item[0]))
        if name != timers.NAMES[timers.PACING]
    ]


def _kind(index: int, rung: Rung) -> str:
    if rung.arrow is not None:
        return "segment"
    if rung.note is not None:
        return "note"
    if rung.expired is not None:
        return "timer"
    return "state" if index else "start"


def _arrow(arrow: Arrow) -> Json:
    return {
        "sender": arrow.sender,
        "flags": flag_names(arrow.flags),
        "seq": arrow.seq,
        "ack": arrow.ack,
        "length": arrow.length,
        "sent": None if arrow.sent is None else round(arrow.sent, 6),
        "received": None if arrow.received is None else round(arrow.received, 6),
        "retransmission": arrow.retransmission,
        "timer": None if arrow.timer is None else timers.NAMES[arrow.timer],
    }


def _end(end: End, rung: Rung, step: Step, before: Step | None, translated: Mapping[str, str]) -> Json:
    """Return an end after a rung. `before` is the step before it."""
    now, was = step[end], None if before is None else before[end]
    arrow = rung.arrow
    comment: Comment = {}
    if arrow is not None:
        comment = arrow.at_sender if arrow.sender == end else arrow.at_receiver
    at = rung.time if arrow is None or arrow.sender == end or arrow.received is None else arrow.received
    old = {} if was is None else dict(_variables(was["facts"]))
    known = () if now["state"] in (CLOSED, LISTEN) else _variables(now["facts"])
    return {
        "state": now["state"],
        "before": None if was is None else was["state"],
        "edge": now["edge"],
        "variables": [
            {
                "name": name,
                "before": old.get(name, ""),
                "after": value,
                "changed": bool(comment) and old.get(name) != value,
            }
            for name, value in known
        ],
        "touched": bool(comment) or rung.state(end) is not None or not now["facts"],
        "timers": running({name: at + left for name, left in running_timers(comment).items()}, at, translated),
    }


def _variables(facts: Facts) -> Facts:
    return tuple((name, value) for name, value in facts if not name.startswith("timer "))
