"""Ports of the kernel's for tests that need one before a program opens it, or one that is closed."""

import itertools
import os
import socket
from typing import Final

_FIRST: Final = 10_000
_LAST: Final = 32_000
"""Below Linux's ephemeral ports, which any process may be given at any time."""

_offsets = itertools.count(os.getpid() * 97)
"""Processes that run at the same time begin at different ports."""


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM, host: str = "127.0.0.1") -> int:
    """Return a port that nobody has, and that nobody gets who does not ask for it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for offset in itertools.islice(_offsets, _LAST - _FIRST):
        port = _FIRST + offset % (_LAST - _FIRST)
        with socket.socket(family, kind) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
        return port
    raise OSError("every port is taken")
