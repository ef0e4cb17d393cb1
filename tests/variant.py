"""The variants that CI tests: interpreted on the oldest and the newest Python, and compiled (`utcp.tcp.COMPILED`).

All pass the same tests, but for a few.
"""

import sys

import pytest

from utcp.tcp import COMPILED

SHARE = 0 if COMPILED else 1 if sys.version_info < (3, 13) else 2
"""Which third of the seeds of long random runs is tried: each variant that CI tests takes another one."""

interpreted_only = pytest.mark.skipif(
    COMPILED, reason="compiled code runs no lines that could be counted, and its parts cannot be replaced"
)
