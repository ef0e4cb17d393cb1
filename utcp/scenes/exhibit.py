"""Results of a scene that its ladder does not show."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A result below the ladder, such as the data that an application read or the state of each port. `lines` are not
    to be wrapped."""

    title: str
    lines: tuple[str, ...]
