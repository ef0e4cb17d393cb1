"""Two runs side by side, with the first difference."""

from __future__ import annotations

from typing import Final

from utcp.lab.experiment import Experiment
from utcp.lab.run import run
from utcp.lab.words import text
from utcp.scenes.text import Language, Text
from utcp.trace.ladder.told import Json

_SAME_TIME: Final = 1e-6
"""Seconds by which equal times may differ."""


def compare(now: Experiment, was: Experiment | None = None, language: Language = "en") -> Json:
    """Return the runs of two experiments and their first difference. Without `was`, it is the scene without edits."""
    return compared(run(was or now.unedited(), language), run(now, language), language)


def compared(was: Json, now: Json, language: Language) -> Json:
    """Return two runs and their first difference."""
    return {"was": was, "now": now, "first": _first_difference(was, now, language)}


def _first_difference(was: Json, now: Json, language: Language) -> Json | None:
    """Return the first rungs that differ in their segment, its fate, their time, or the states of the ends. Notes do
    not count, because they only tell the story."""
    pairs = [[rung for rung in run["rungs"] if rung["kind"] != "note"] for run in (was, now)]
    for index in range(max(map(len, pairs))):
        left, right = (rungs[index] if index < len(rungs) else None for rungs in pairs)
        key = _difference(left, right)
        if key is not None:
            said: Text = text(f"differs_{key}")
            return {
                "was": None if left is None else left["index"],
                "now": None if right is None else right["index"],
                "text": said.in_(language),
            }
    return None


def _difference(was: Json | None, now: Json | None) -> str | None:
    """Return the kind of the difference of two rungs, or None."""
    if was is None or now is None:
        return "longer" if was is None else "shorter"
    first, second = was["arrow"], now["arrow"]
    if (first is None) != (second is None):
        return "event"
    if first is not None and second is not None:
        if any(first[name] != second[name] for name in ("sender", "flags", "seq", "ack", "length")):
            return "segment"
        if was["fate"] != now["fate"]:
            return "fate"
        if abs((first["received"] or 0) - (second["received"] or 0)) > _SAME_TIME:
            return "time"
    if any(was[end]["state"] != now[end]["state"] for end in ("client", "server")):
        return "state"
    if abs(was["time"] - now["time"]) > _SAME_TIME:
        return "time"
    return None
