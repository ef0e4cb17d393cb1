"""What both transports share: flow control, reports of exceptions, and buffers of BufferedProtocol."""

from __future__ import annotations

import asyncio
from asyncio import constants, transports
from asyncio.log import logger
from collections.abc import Iterable
from typing import Any, Final

# Both names are private, but the fallback of loop.sendfile() requires them.
FlowControl: Any = transports._FlowControlMixin  # noqa: SLF001
SENDFILE_FALLBACK: Final[Any] = constants._SendfileMode.FALLBACK  # noqa: SLF001

LOGGED_DROPS: Final = constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES
"""Writes after the end of a connection that are dropped silently. A transport logs a warning for each further one."""


class BaseTransport(FlowControl, asyncio.Transport):  # type: ignore[misc]  # the base is Any
    """The parts of Transport and TlsTransport that are the same."""

    __slots__ = ("_dropped_writes", "_fills_buffers", "_protocol")

    _start_tls_compatible = True
    _dropped_writes: int
    """Number of writes after the end of the connection."""
    _fills_buffers: bool
    """Whether the protocol is a BufferedProtocol."""
    _protocol: Any

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        self._fills_buffers = isinstance(protocol, asyncio.BufferedProtocol)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Write all parts. Raises TypeError and writes nothing if one of them is not bytes-like."""
        self.write(b"".join(list_of_data))

    def abort(self) -> None:
        """Reset the connection. connection_lost(None) follows in the next turn."""
        self._force_close(None)

    def _force_close(self, exc: BaseException | None) -> None:
        """Reset the connection; connection_lost(exc) follows. asyncio's TLS above calls this method by its name."""
        raise NotImplementedError

    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        """Report an exception unless it is an OSError, and reset the connection."""
        if not isinstance(exc, OSError):
            self._report(exc, message)
        elif self._loop.get_debug():
            logger.debug("%r: %s", self, message, exc_info=True)
        self._force_close(exc)

    def _callback_failed(self, exc: BaseException, callback: str) -> None:
        self._fatal_error(exc, f"Fatal error: protocol.{callback}() call failed.")

    def _report(self, exc: BaseException, message: str) -> None:
        """Report an exception of a callback to the loop's exception handler."""
        self._loop.call_exception_handler(
            {"message": message, "exception": exc, "transport": self, "protocol": self._protocol}
        )


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
