"""A ladder as a page to step through, in one file that needs no server and no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from utcp.tcp import timers
from utcp.tcp.state import NAMES
from utcp.trace.comments import running_timers
from utcp.trace.ladder.diagram import state_diagram
from utcp.trace.ladder.explain import MEANING, Facts, Step, explain
from utcp.trace.ladder.page import render
from utcp.trace.ladder.rungs import ENDS, Arrow, End, Rung
from utcp.trace.ladder.svg import render_svg
from utcp.trace.ladder.words import Clock
from utcp.wire import flag_names

_Json: TypeAlias = dict[str, Any]

_NOTHING: Final = ("parts", "intro", "outro", "exhibits", "edits", "checks")
"""What runs of the laboratory have besides."""


def render_html(
    rungs: Sequence[Rung], *, title: str = "A TCP connection", names: tuple[str, str] = ("client", "server")
) -> str:
    """Return the ladder as a self-contained HTML page.

    It has the drawing twice, for wide screens and for phones, and as a table. Buttons, a slider and keys move from rung
    to rung. Each rung is explained: the segment's fields and fate, the states of both ends and, if known, their
    variables and timers. The address ends in `#step=N`.
    """
    title = title or "A TCP connection"
    run = {
        "address": "",
        "scene": "",
        "title": title,
        "edited": False,
        "origin": "ladder",
        "names": names,
        "svg": {
            "wide": render_svg(rungs, names=names, steps=True),
            "narrow": render_svg(rungs, names=names, steps=True, narrow=True),
        },
        "rungs": _told(rungs, names),
        **{name: [] for name in _NOTHING},
    }
    catalogue = {
        "states": NAMES,
        "diagram": state_diagram(),
        "scenes": [],
        "settings": [],
        "edits": [],
        "exercises": [],
    }
    page = {"catalogue": catalogue, "comparison": None, "run": run}
    return render({"address": "", "experiments": False, "plain": True, "why": {"en": ""}, "title": title, "en": page})


def _told(rungs: Sequence[Rung], names: tuple[str, str]) -> list[_Json]:
    clock = Clock(rungs)
    told = []
    before: Step | None = None
    for index, (rung, step) in enumerate(zip(rungs, explain(rungs, names), strict=True)):
        ends: _Json = {end: _end(end, rung, step, before, number=index + 1) for end in ENDS}
        told.append(
            {
                "index": index,
                "kind": "note" if rung.note is not None else "segment" if rung.arrow is not None else "state",
                "time": rung.time,
                "clock": f"{clock.text(rung.time)} {clock.unit}",
                "heading": step["heading"],
                "said": step["said"],
                "note": rung.note,
                "arrow": None if rung.arrow is None else _arrow(rung.arrow),
                "fields": step["fields"],
                "packet": None,
                "edits": [],
                "decision": [],
                **ends,
            }
        )
        before = step
    return told


def _arrow(arrow: Arrow) -> _Json:
    return {
        "flags": flag_names(arrow.flags),
        "seq": arrow.seq,
        "ack": arrow.ack,
        "length": arrow.length,
        "received": arrow.received,
    }


def _end(end: End, rung: Rung, step: Step, before: Step | None, *, number: int) -> _Json:
    """Return an end after the rung with a number from 1. `before` is the step before it."""
    now = step[end]
    was = None if before is None else before[end]
    touched = now["known"] == number
    old = {} if was is None else dict(_variables(was["facts"]))
    return {
        "state": now["state"],
        "before": None if was is None else was["state"],
        "edge": now["edge"],
        "variables": [
            {"name": name, "before": old.get(name), "after": value, "changed": touched and old.get(name) != value}
            for name, value in _variables(now["facts"])
        ],
        "touched": touched or not now["facts"],
        "timers": _timers(end, rung) if touched else [],
    }


def _variables(facts: Facts) -> Facts:
    return tuple((name, value) for name, value in facts if not name.startswith("timer "))


def _timers(end: End, rung: Rung) -> list[_Json]:
    arrow = rung.arrow
    if arrow is None:
        return []
    comment, time = (arrow.at_sender, arrow.sent) if arrow.sender == end else (arrow.at_receiver, arrow.received)
    return [
        {
            "name": name,
            "title": name.replace("_", " "),
            "left": left,
            "fires_at": (rung.time if time is None else time) + left,
            "meaning": MEANING[timers.NAMES.index(name)] if name in timers.NAMES else "",
        }
        for name, left in running_timers(comment).items()
        if name != "pacing"
    ]
