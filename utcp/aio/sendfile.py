"""`loop.sendfile()` of asyncio's loops for utcp's transports, with the behaviour that it has for kernel TCP.

asyncio uses the system call for its own sockets, and a fallback for all other transports. If `offset` is 0, the
fallback reads from the position of the file, and it sends the whole file if `count` is 0. It checks neither argument.
Here the file is read as by the system call, through its descriptor and at `offset`. So octets that a buffered writer
still holds are not sent.
"""

from __future__ import annotations

import asyncio
import io
import os
from asyncio import constants
from collections.abc import Coroutine
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, Protocol

BLOCK: Final = 256 * 1024
"""Octets read from the file at once."""


class FileSender(Protocol):
    """A transport that can send a file."""

    def get_extra_info(self, name: str, default: Any = None) -> Any: ...

    def sending_file(self) -> AbstractContextManager[None]:
        """Reserve the transport for the file."""

    def send_part(self, data: memoryview) -> int:
        """Return how many octets of `data` the connection has accepted; 0: it has no `room()`."""

    def room(self) -> asyncio.Future[None]:
        """Return a future that is done when the connection may accept more data."""

    def send_file(self, file: Any, offset: int, count: int | None) -> Coroutine[Any, Any, int]:
        """Call `send_file()` of this module."""


def sendfile_mode(loop: Any, ours: type[FileSender]) -> Any:
    """Return the mode of `loop.sendfile()` for transports of class `ours`, and prepare `loop` for it.

    The loop reads the mode of a transport just before it calls `_sendfile_native()`. This method is replaced here, on
    this loop only. For other transports it calls the loop's own method. asyncio has no public hook for this.
    """
    theirs = loop._sendfile_native  # noqa: SLF001
    if "_sendfile_native" not in vars(loop):

        async def sendfile_native(transport: Any, file: Any, offset: int, count: int | None) -> int:
            sends = transport.send_file if isinstance(transport, ours) else partial(theirs, transport)
            sent: int = await sends(file, offset, count)
            return sent

        loop._sendfile_native = sendfile_native  # noqa: SLF001
    return constants._SendfileMode.TRY_NATIVE  # noqa: SLF001


async def send_file(transport: FileSender, file: Any, offset: int, count: int | None) -> int:
    """Send `count` octets of `file` (None: up to its end) from `offset` on, after all data written before.

    Returns how many bytes the connection has accepted. Unless it is 0, the position of the file is then after the last
    of them, also after an exception. Raises asyncio's TypeError and ValueError for wrong parameters,
    SendfileNotAvailableError for a file that cannot be read at an offset, and OSError if the connection ends.
    """
    loop: Any = asyncio.get_running_loop()
    loop._check_sendfile_params(transport.get_extra_info("socket"), file, offset, count)  # noqa: SLF001
    try:
        descriptor = file.fileno()
        size = os.fstat(descriptor).st_size
    except (AttributeError, io.UnsupportedOperation, OSError) as exc:
        raise asyncio.SendfileNotAvailableError("not a regular file") from exc
    if not size and count is None:
        return 0
    sent = 0
    try:
        with transport.sending_file():
            while count is None or sent < count:
                block = _read(descriptor, BLOCK if count is None else min(BLOCK, count - sent), offset, sent)
                if not block:
                    break
                rest = memoryview(block)
                while rest:
                    while not (accepted := transport.send_part(rest)):
                        await transport.room()
                    sent += accepted
                    rest = rest[accepted:]
    finally:
        if sent:
            os.lseek(descriptor, offset + sent, os.SEEK_SET)
    return sent


def _read(descriptor: int, size: int, offset: int, sent: int) -> bytes:
    try:
        return os.pread(descriptor, size, offset + sent)
    except OSError as exc:
        if sent:
            raise
        raise asyncio.SendfileNotAvailableError("os.pread() failed") from exc
