"""An experiment in one file, for the page without a server."""

from __future__ import annotations

from utcp.lab.catalogue import catalogue
from utcp.lab.compare import compare
from utcp.lab.experiment import Experiment
from utcp.lab.words import text
from utcp.scenes.text import Language
from utcp.trace.ladder.page import render
from utcp.trace.ladder.told import Json


def contained(experiment: Experiment) -> Json:
    """Return what the page shows of an experiment without a server, in both languages."""
    languages: tuple[Language, Language] = ("en", "zh")
    why = text("contained", address=experiment.to_address())
    shown: Json = {
        "address": experiment.to_address(),
        "experiments": False,
        "why": {"en": why.en, "zh": why.zh},
    }
    for language in languages:
        comparison = compare(experiment, language=language)
        shown[language] = {
            "catalogue": catalogue(language),
            "comparison": comparison if experiment.edited else None,
            "run": comparison["now"],
        }
    return shown


def page_of(shown: Json) -> str:
    """Return the page as one file that shows this alone."""
    return render(shown)
