"""A capture in the laboratory's page: a run that was not simulated, and cannot be simulated again."""

from __future__ import annotations

from collections.abc import Sequence

from utcp.lab.catalogue import catalogue
from utcp.lab.run import drawings
from utcp.lab.words import name_of, number, text, translated
from utcp.scenes.text import Language, Text
from utcp.trace.ladder import End, Rung
from utcp.trace.ladder.from_capture import inferred_ends
from utcp.trace.ladder.rungs import ENDS
from utcp.trace.ladder.told import Json, told


def captured(rungs: Sequence[Rung], title: str, addresses: tuple[str, str]) -> Json:
    """Return what the page shows of a capture, in both languages.

    Args:
        rungs: the ladder (`utcp.trace.ladder.from_capture`).
        title: the name of the file.
        addresses: those of client and server.
    """
    languages: tuple[Language, Language] = ("en", "zh")
    why = text("captured")
    return {
        "address": "",
        "experiments": False,
        "why": {"en": why.en, "zh": why.zh},
        **{
            language: {
                "catalogue": catalogue(language),
                "comparison": None,
                "run": captured_run(rungs, title, addresses, language),
            }
            for language in languages
        },
    }


def captured_run(rungs: Sequence[Rung], title: str, addresses: tuple[str, str], language: Language) -> Json:
    """Return a capture as the JSON of a run."""
    names: dict[End, str] = {
        end: f"{name_of(end).in_(language)} {address}" for end, address in zip(ENDS, addresses, strict=True)
    }
    called = (names["client"], names["server"])
    inferred = inferred_ends(rungs)
    ended = text("ended_capture", seconds=number(rungs[-1].time if rungs else 0.0))
    return {
        "address": "",
        "scene": "",
        "title": title,
        "language": language,
        "parts": [],
        "edited": False,
        "origin": "capture",
        "inferred": bool(inferred),
        "names": list(called),
        "intro": [_states_from(inferred).in_(language)],
        "outro": [],
        "svg": drawings(rungs, called, language),
        "rungs": told(rungs, called, translated(language)),
        "exhibits": [],
        "edits": [],
        "checks": [],
        "ending": {"kind": "capture", "text": ended.in_(language)},
        "paths": {end: _path(rungs, end) for end in ENDS},
        "duration": round(rungs[-1].time if rungs else 0.0, 6),
        "packets": sum(rung.arrow is not None for rung in rungs),
        "digest": "",
    }


def _states_from(inferred: Sequence[End]) -> Text:
    """Return a text on the source of the states."""
    if len(inferred) == 1:
        return text("captured_inferred_one", end=name_of(inferred[0]))
    return text("captured_inferred" if inferred else "captured_commented")


def _path(rungs: Sequence[Rung], end: End) -> list[int]:
    found: list[int] = []
    for rung in rungs:
        state = rung.state(end)
        if state is not None and found[-1:] != [state]:
            found.append(state)
    return found
