"""The responses of the laboratory, as a pure function: a target of a GET request in, status, type and body out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from threading import Lock
from typing import Final, NamedTuple
from urllib.parse import parse_qs

from utcp.lab.catalogue import catalogue
from utcp.lab.compare import compared
from utcp.lab.exercises import check
from utcp.lab.experiment import Experiment
from utcp.lab.run import run
from utcp.lab.settings import ExperimentError
from utcp.lab.words import quoted, text
from utcp.scenes.text import Language
from utcp.trace.ladder.page import render
from utcp.trace.ladder.told import Json

_HTML: Final = "text/html; charset=utf-8"
_JSON: Final = "application/json"

_one_at_a_time: Final = Lock()
"""A simulation switches the garbage collector off for its duration, so that only one runs at a time."""


class Response(NamedTuple):
    """A response to a GET request."""

    status: int
    content_type: str
    body: bytes


def respond(target: str, shown: Mapping[str, object] | None = None) -> Response:
    """Return the response to a GET request for `target`, a path with a query.

    Args:
        target: as in a request line, such as "/api/run?lang=en&address=four-way%3Flose%3D9".
        shown: a capture to show instead of experiments (`utcp.lab.captured`).
    """
    path, _, fields = target.partition("?")
    query = {name: values[-1] for name, values in parse_qs(fields).items()}
    if path == "/":
        return Response(200, _HTML, render(None).encode())
    language: Language = "zh" if query.get("lang") == "zh" else "en"
    try:
        return _json(200, _answer(path, query, language, shown))
    except ExperimentError as error:
        unknown = error.text == text("unknown_request", path=quoted(path))
        return _json(404 if unknown else 400, {"error": error.text.in_(language)})


def _answer(path: str, query: Mapping[str, str], language: Language, shown: Mapping[str, object] | None) -> Json:
    if query.get("lang", language) != language:
        raise ExperimentError(text("unknown_language", name=quoted(query["lang"])))
    if path == "/api/catalogue":
        return catalogue(language) if shown is None else {**catalogue(language), "capture": shown}
    if path not in ("/api/run", "/api/compare", "/api/check"):
        raise ExperimentError(text("unknown_request", path=quoted(path)))
    if shown is not None:
        raise ExperimentError(text("not_simulated"))
    experiment = Experiment.from_address(query.get("address", ""))
    with _one_at_a_time:
        if path == "/api/run":
            return _run(experiment, language)
        if path == "/api/check":
            return check(query.get("exercise", ""), experiment, language)
        other = query.get("with")
        was = experiment.unedited() if other is None else Experiment.from_address(other)
        return compared(_run(was, language), _run(experiment, language), language)


@lru_cache(maxsize=16)
def _run(experiment: Experiment, language: Language) -> Json:
    """Return a run, which is kept, because each change of an experiment is compared with the same scene, and undone."""
    return run(experiment, language)


def _json(status: int, answer: Json) -> Response:
    return Response(status, _JSON, json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode())
