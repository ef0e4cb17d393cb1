"""The interpreted and the compiled variant (`utcp.tcp.COMPILED`) pass the same tests, but for a few."""

import pytest

from utcp.tcp import COMPILED


def share(count: int) -> range:
    """Which of `count` seeds of a long random run are tried: the compiled variant takes the first four fifths, the
    interpreted one, which is several times as slow, the others."""
    return range(count * 4 // 5) if COMPILED else range(count * 4 // 5, count)


def examples(count: int) -> int:
    """How many of `count` examples of hypothesis are tried: the compiled variant takes all, the interpreted one the
    first third."""
    return count if COMPILED else count // 3


interpreted_only = pytest.mark.skipif(
    COMPILED, reason="compiled code runs no lines that could be counted, and its parts cannot be replaced"
)
