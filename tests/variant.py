"""The interpreted and the compiled variant (`utcp.tcp.COMPILED`) pass the same tests, but for a few."""

import pytest

from utcp.tcp import COMPILED

SHARE = 0 if COMPILED else 1
"""Which half of the seeds of long random runs is tried: each variant takes another one."""

interpreted_only = pytest.mark.skipif(
    COMPILED, reason="compiled code runs no lines that could be counted, and its parts cannot be replaced"
)
