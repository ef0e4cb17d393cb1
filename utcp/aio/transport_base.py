"""Parts of asyncio that the transports use: the base class with flow control, and buffers of BufferedProtocol."""

from __future__ import annotations

from asyncio import constants, transports
from typing import Any, Final

# Both names are private, but the fallback of loop.sendfile() requires them.
FlowControl: Any = transports._FlowControlMixin  # noqa: SLF001
SENDFILE_FALLBACK: Final[Any] = constants._SendfileMode.FALLBACK  # noqa: SLF001

LOGGED_DROPS: Final = constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES
"""Writes after the end of a connection that are dropped silently. A transport logs a warning for each further one."""


def writable_view(buffer: Any) -> memoryview:
    """Return a view of the octets of `buffer`, which `BufferedProtocol.get_buffer()` has returned.

    Raises RuntimeError for an empty buffer and TypeError for a read-only one.
    """
    view = memoryview(buffer).cast("B")
    if not view:
        raise RuntimeError("get_buffer() returned an empty buffer")
    if view.readonly:
        raise TypeError("get_buffer() returned a read-only buffer")
    return view
