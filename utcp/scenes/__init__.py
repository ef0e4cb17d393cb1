"""Scenes of how connections close, played in a simulated network: `utcp demo SCENE`.

    result = utcp.scenes.load("lost-last-ack").play()
    print(render_text(result.rungs))

Each scene is a module of this package with a `SCENE`, and a file of its texts in `texts/`. The scenes run in the
network of `utcp.testing`, in virtual time, with the same segments at the same times on every machine.
"""

from importlib import import_module
from typing import Final

from utcp.scenes.scene import Scene

NAMES: Final = (
    "four-way",
    "three-way",
    "half-close",
    "simultaneous",
    "late-ack",
    "lost-last-ack",
    "no-time-wait",
    "syn-hits-last-ack",
    "old-duplicate",
    "port-exhaustion",
)
"""Names of the scenes, in the recommended order."""


def load(name: str) -> Scene:
    """Return the scene `name`. Raises KeyError if there is none."""
    if name not in NAMES:
        raise KeyError(name)
    scene: Scene = import_module(f"utcp.scenes.{name.replace('-', '_')}").SCENE
    return scene
