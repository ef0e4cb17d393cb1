"""What both transports share: flow control, reports of exceptions, and buffers of BufferedProtocol."""

from __future__ import annotations

import asyncio
from asyncio.log import logger
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final

from utcp._compiled import mypyc_attr
from utcp.aio.flow_control import FlowControl

HIGH_WATER: Final = 64 * 1024
"""Octets in the write buffer above which pause_writing() is called (asyncio's default)."""

_NO_EXTRA: Final[Mapping[str, Any]] = MappingProxyType({})


@mypyc_attr(allow_interpreted_subclasses=True)
class BaseTransport(FlowControl):
    """The parts of Transport and TlsTransport that are the same."""

    __slots__ = ("_dropped_writes", "_fills_buffers", "_protocol")

    _start_tls_compatible: ClassVar[bool] = True
    # Slots of asyncio's classes.
    _extra: Any
    _loop: asyncio.AbstractEventLoop
    _protocol_paused: bool
    _high_water: Any  # asyncio takes floats as well
    _low_water: Any

    # Does not call the base class, whose three constructors set the same attributes.
    def __init__(self, protocol: asyncio.BaseProtocol, loop: asyncio.AbstractEventLoop) -> None:
        self._extra = _NO_EXTRA
        self._loop = loop
        self._protocol_paused = False
        self._high_water = HIGH_WATER
        self._low_water = HIGH_WATER // 4
        self._dropped_writes = 0
        """Number of writes after the end of the connection."""
        self._protocol: Any = protocol
        self._fills_buffers = isinstance(protocol, asyncio.BufferedProtocol)
        """Whether the protocol is a BufferedProtocol."""

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
