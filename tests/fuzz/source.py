"""Decisions read from a fuzzer's octets."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Source:
    """Reads numbers and choices from `data`; behind its end there are only zeros.

    A decision takes as many octets wherever it is read: a changed octet changes one decision and leaves the others.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def exhausted(self) -> bool:
        return self._position >= len(self._data)

    def number(self, octets: int) -> int:
        """An unsigned number of so many octets."""
        return int.from_bytes(self.octets(octets).ljust(octets, b"\0"), "big")

    def choice(self, options: Sequence[T]) -> T:
        """One of up to 256 options."""
        return options[self.number(1) % len(options)]

    def octets(self, count: int) -> bytes:
        """The next `count` octets, fewer at the end."""
        taken = self._data[self._position : self._position + count]
        self._position += count
        return taken
