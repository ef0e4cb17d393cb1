"""What the laboratory offers: scenes, settings, edits, segments to inject, steps of a script, exercises."""

from __future__ import annotations

from typing import Final, NamedTuple

from utcp.lab.exercises import EXERCISES
from utcp.lab.experiment import ACTIONS, EDITS, KINDS, OWN, SCENES, Experiment
from utcp.lab.play import scene_of
from utcp.lab.settings import SETTINGS, Setting
from utcp.lab.words import tables, translated
from utcp.scenes.text import Language, Text
from utcp.tcp.state import NAMES, TRANSITIONS
from utcp.trace.ladder.diagram import state_diagram
from utcp.trace.ladder.style import STATE_COLOURS
from utcp.trace.ladder.told import Json
from utcp.wire import ACK


class Offered(NamedTuple):
    """The settings that make a difference in a scene, alone or when packets are lost or injected."""

    first: tuple[str, ...]
    """Those that its story is about."""
    others: tuple[str, ...]


OFFERED: Final = {
    "four-way": Offered(
        ("msl", "delayed_ack"),
        (
            "rto_initial",
            "rto_min",
            "syn_retries",
            "syn_ack_retries",
            "retries",
            "fin_retries",
            "timestamps",
            "rfc1337",
            "keepalive",
            "latency",
        ),
    ),
    "three-way": Offered(
        ("msl",),
        (
            "rto_initial",
            "rto_min",
            "syn_retries",
            "syn_ack_retries",
            "fin_retries",
            "syn_in_last_ack",
            "delayed_ack",
            "timestamps",
            "rfc1337",
            "keepalive",
            "latency",
        ),
    ),
    "half-close": Offered(
        ("latency",),
        (
            "msl",
            "rto_initial",
            "rto_min",
            "syn_retries",
            "syn_ack_retries",
            "retries",
            "fin_retries",
            "delayed_ack",
            "timestamps",
            "rfc1337",
        ),
    ),
    "simultaneous": Offered(
        ("msl", "fin_retries", "latency"),
        (
            "rto_initial",
            "rto_min",
            "syn_retries",
            "syn_ack_retries",
            "delayed_ack",
            "timestamps",
            "rfc1337",
            "time_wait_reuse",
            "keepalive",
        ),
    ),
    "late-ack": Offered(
        ("rto_min", "rto_initial", "retries"),
        ("msl", "syn_retries", "fin_retries", "delayed_ack", "rfc1337", "keepalive", "latency"),
    ),
    "lost-last-ack": Offered(
        ("msl", "fin_retries", "rto_min"),
        (
            "rto_initial",
            "syn_retries",
            "syn_ack_retries",
            "syn_in_last_ack",
            "fin_wait_2_timeout",
            "delayed_ack",
            "timestamps",
            "rfc1337",
            "keepalive",
            "latency",
        ),
    ),
    "no-time-wait": Offered(
        ("msl", "fin_retries", "rto_min"),
        (
            "rto_initial",
            "syn_retries",
            "syn_ack_retries",
            "retries",
            "syn_in_last_ack",
            "delayed_ack",
            "timestamps",
            "keepalive",
            "latency",
        ),
    ),
    "syn-hits-last-ack": Offered(
        ("syn_in_last_ack", "msl"),
        (
            "rto_initial",
            "rto_min",
            "syn_retries",
            "syn_ack_retries",
            "fin_retries",
            "fin_wait_2_timeout",
            "delayed_ack",
            "timestamps",
            "keepalive",
            "latency",
        ),
    ),
    "old-duplicate": Offered(
        ("msl",), ("rto_initial", "rto_min", "syn_retries", "syn_ack_retries", "fin_retries", "rfc1337", "keepalive")
    ),
    "port-exhaustion": Offered(
        ("msl",),
        (
            "rto_initial",
            "rto_min",
            "syn_retries",
            "syn_ack_retries",
            "fin_retries",
            "syn_in_last_ack",
            "timestamps",
            "rfc1337",
            "keepalive",
            "latency",
        ),
    ),
    "own": Offered(
        ("msl", "latency", "rto_min", "timestamps"),
        (
            "rto_initial",
            "syn_retries",
            "syn_ack_retries",
            "retries",
            "fin_retries",
            "delayed_ack",
            "rfc1337",
            "keepalive",
            "syn_in_last_ack",
            "fin_wait_2_timeout",
            "time_wait_reuse",
        ),
    ),
}

LIKE: Final = {
    "four-way": (
        "own?do=server@0:listen&do=client@0:open&do=client@0.5:send,29&do=client@1:finish"
        "&do=server@1.55:send,26&do=server@2.05:send,21&do=server@2.55:close"
    ),
    "half-close": (
        "own?do=server@0:listen&do=client@0:open&do=client@0.6:send,15&do=client@0.6:finish"
        "&do=server@90.65:send,15&do=server@91.15:close"
    ),
    "simultaneous": "own?do=server@0:listen&do=client@0:open&do=client@0.6:close&do=server@0.6:close",
    "lost-last-ack": ("own?do=server@0:listen&do=client@0:open&do=client@0.6:close&do=server@1.15:close&lose=7"),
}
"""Scripts of one's own that are like a scene."""

_SECONDS: Final = {"lose": "none", "delay": "required", "duplicate": "optional", "corrupt": "none"}


def catalogue(language: Language = "en") -> Json:
    """Return everything that a page offers, in a language."""
    from utcp import __version__

    texts, words = tables("catalogue"), translated(language)

    def said(table: str, name: str) -> Json:
        return {key: Text(**texts[table][name][key]).in_(language) for key in ("title", "help")}

    return {
        "language": language,
        "version": __version__,
        "states": list(NAMES),
        "colours": list(STATE_COLOURS),
        "diagram": state_diagram(),
        "transitions": [
            {
                "before": row.before,
                "after": row.after,
                "event": words.get(row.event, row.event),
                "source": words.get(row.source, row.source),
            }
            for row in TRANSITIONS
        ],
        "scenes": [_scene(name, language) for name in SCENES],
        "settings": [_setting(setting, language) for setting in SETTINGS.values()],
        "edits": [{"name": name, **said("edits", name), "seconds": _SECONDS[name]} for name in EDITS],
        "kinds": [
            {
                "name": name,
                **said("kinds", name),
                "fields": ["seq", *(["ack"] if flags & ACK else []), *(["length"] if name == "DATA" else []), "ts"],
            }
            for name, flags in KINDS.items()
        ],
        "actions": [{"name": name, **said("actions", name), "octets": name == "send"} for name in ACTIONS],
        "exercises": [
            {
                "name": exercise.name,
                "title": exercise.title.in_(language),
                "text": [paragraph.in_(language) for paragraph in exercise.text],
                "hint": exercise.hint.in_(language),
                "level": exercise.level,
                "address": exercise.start,
            }
            for exercise in EXERCISES.values()
        ],
    }


def _scene(name: str, language: Language) -> Json:
    scene = scene_of(Experiment(scene=name))
    return {
        "name": name,
        "title": scene.title.in_(language),
        "before": [paragraph.in_(language) for paragraph in scene.before],
        "after": [paragraph.in_(language) for paragraph in scene.after],
        "sources": scene.sources,
        "settings": [*OFFERED[name].first, *OFFERED[name].others],
        "few": len(OFFERED[name].first),
        "own": LIKE.get(name) if name != OWN else None,
    }


def _setting(setting: Setting, language: Language) -> Json:
    choices = tables("settings")["choices"]
    return {
        "name": setting.name,
        "title": setting.title.in_(language),
        "help": setting.help.in_(language),
        "kind": setting.kind,
        "default": setting.default,
        "choices": [{"value": each, "title": Text(**choices[each]).in_(language)} for each in setting.choices],
        "least": setting.least,
        "most": setting.most,
        "unit": "s" if setting.kind == "seconds" else "",
    }
