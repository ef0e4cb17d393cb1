"""The interpreted and the compiled variant (`utcp.tcp.COMPILED`) pass the same tests, but for a few."""

import pytest

from utcp.tcp import COMPILED

interpreted_only = pytest.mark.skipif(
    COMPILED, reason="compiled code runs no lines that could be counted, and its parts cannot be replaced"
)
