"""What a scene is, and what comes of playing it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from utcp.scenes.text import Language, Text
from utcp.trace.ladder import Rung

if TYPE_CHECKING:
    from utcp.scenes.stage import Stage


@dataclass(frozen=True, slots=True)
class Exhibit:
    """Something that a ladder does not show: what an application read, who holds which port. `lines` are as wide as
    they are, and not to be wrapped."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """A scene that was played. `rungs` is its ladder, times in seconds of virtual time; the notes are in `language`."""

    scene: Scene
    language: Language
    rungs: list[Rung]
    exhibits: tuple[Exhibit, ...]
    differences: tuple[str, ...]
    """In what the scene was not as it should be, one line each; empty when all was right."""
    capture: bytes
    """All that the network carried, as a pcapng file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A story of how a connection ends, played by real endpoints in a simulated network."""

    name: str
    """What it is called on the command line."""
    title: Text
    before: tuple[Text, ...]
    """Paragraphs: what there will be to see, and why it matters. What is faked, if anything."""
    after: tuple[Text, ...]
    """Paragraphs: what to remember."""
    sources: str
    """Where it is specified."""
    knobs: str
    """The fields of `utcp.Config` that govern it."""
    script: Callable[[Stage], Awaitable[None]]
    """Plays it on a stage, and checks there that what it tells has happened."""

    def play(self, language: Language = "en") -> Result:
        """Play the scene, in virtual time. The same every time, but for the language of the notes."""
        from utcp.scenes.stage import Stage  # it needs the whole of utcp; to list scenes does not

        stage = Stage(language)
        stage.run(self.script)
        return Result(
            scene=self,
            language=language,
            rungs=stage.rungs,
            exhibits=tuple(stage.exhibits),
            differences=tuple(stage.differences),
            capture=stage.captured,
        )
