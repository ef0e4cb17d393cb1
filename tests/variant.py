"""The interpreted and the compiled variant (`utcp.tcp.COMPILED`) pass the same tests, but for a few."""

import pytest

from utcp.tcp import COMPILED


def share(count: int) -> range:
    """Return the seeds below `count` that this variant tries in a long random run: the compiled variant takes the first
    four fifths, and the interpreted one, which is several times slower, takes the rest."""
    return range(count * 4 // 5) if COMPILED else range(count * 4 // 5, count)


def examples(count: int) -> int:
    """Return how many of `count` hypothesis examples this variant tries: all where it is compiled, otherwise the first
    third."""
    return count if COMPILED else count // 3


compiled_only = pytest.mark.skipif(not COMPILED, reason="a count of the compiled variant")

interpreted_only = pytest.mark.skipif(
    COMPILED, reason="compiled code runs no lines that could be counted, and its parts cannot be replaced"
)
