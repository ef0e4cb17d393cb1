"""Scenes and their results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from utcp.scenes.text import Language, Text, read_texts, texts_of
from utcp.trace.ladder import Rung

if TYPE_CHECKING:
    from utcp.scenes.stage import Exhibit, Stage

Script: TypeAlias = "Callable[[Stage], Awaitable[None]]"


@dataclass(frozen=True, slots=True)
class Result:
    """A played scene. `rungs` is its ladder, with times in virtual seconds and notes in `language`."""

    scene: Scene
    language: Language
    rungs: list[Rung]
    exhibits: tuple[Exhibit, ...]
    differences: tuple[str, ...]
    """Differences from the expected result, one line each."""
    capture: bytes
    """All packets of the network, as a pcapng file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A story of how a connection ends, played by real endpoints in a simulated network."""

    name: str
    """The scene's name on the command line."""
    title: Text
    before: tuple[Text, ...]
    """Paragraphs of introduction: the content of the scene, its importance, and its artificial parts, if any."""
    after: tuple[Text, ...]
    """Paragraphs of conclusion."""
    sources: str
    """The specifications that define the behaviour."""
    knobs: str
    """The fields of `utcp.Config` that control the behaviour."""
    texts: Mapping[str, Text]
    """Texts of the script by name: notes in the ladder, and texts below it."""
    script: Script
    """The function that plays the scene on a stage and checks the result."""

    @classmethod
    def load(cls, name: str, script: Script, **values: object) -> Scene:
        """Return the scene `name` with its texts from `texts/NAME.toml`. `values` are filled into `before` and `after`
        as by str.format()."""
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
        """Play the scene in virtual time. Results differ only in the language of the notes."""
        from utcp.scenes.stage import Stage  # needs all of utcp, which listing the scenes does not

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
