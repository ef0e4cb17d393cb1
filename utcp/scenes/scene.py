"""What a scene is, and what comes of playing it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from utcp.scenes.exhibit import Exhibit
from utcp.scenes.text import Language, Text, read_texts, texts_of
from utcp.trace.ladder import Rung

if TYPE_CHECKING:
    from utcp.scenes.stage import Stage

Script: TypeAlias = "Callable[[Stage], Awaitable[None]]"


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
    texts: Mapping[str, Text]
    """What the script shows, by names of its own: notes in the ladder, and what stands below it."""
    script: Script
    """Plays it on a stage, and checks there that what it tells has happened."""

    @classmethod
    def load(cls, name: str, script: Script, **values: object) -> Scene:
        """Return the scene `name`, whose texts are in `texts/NAME.toml`, with `values` filled into `before` and `after`
        as str.format() does."""
        found = read_texts(name)
        return cls(
            name=name,
            title=Text(**found["title"]),
            before=tuple(Text(**text).format(**values) for text in found["before"]),
            after=tuple(Text(**text).format(**values) for text in found["after"]),
            sources=found["sources"],
            knobs=found["knobs"],
            texts=texts_of(found["texts"]),
            script=script,
        )

    def play(self, language: Language = "en") -> Result:
        """Play the scene, in virtual time. The same every time, but for the language of the notes."""
        from utcp.scenes.stage import Stage  # it needs the whole of utcp; to list scenes does not

        stage = Stage(self.texts, language)
        stage.run(self.script)
        return Result(
            scene=self,
            language=language,
            rungs=stage.rungs,
            exhibits=tuple(stage.exhibits),
            differences=tuple(stage.differences),
            capture=stage.captured,
        )
