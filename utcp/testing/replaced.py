"""Parts of the standard library that a simulation replaces while it runs."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from utcp.testing.sockets import SimulatedSocket


@contextlib.contextmanager
def replaced() -> Iterator[None]:
    """Replace the parts within this context, and restore them at its end.

    Each replacement has an effect only in code that a simulation's loop runs. In other threads it does what the
    original does.
    """
    real = socket.socket
    socket.socket = SimulatedSocket  # type: ignore[misc]  # the class itself is what programs call
    try:
        yield
    finally:
        socket.socket = real  # type: ignore[misc]
