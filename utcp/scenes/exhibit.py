"""What a scene shows besides its ladder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Exhibit:
    """Something that a ladder does not show: what an application read, who holds which port. `lines` are as wide as
    they are, and not to be wrapped."""

    title: str
    lines: tuple[str, ...]
