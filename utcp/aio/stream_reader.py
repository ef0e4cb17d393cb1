"""asyncio's StreamReader without its two copies of the data."""

from __future__ import annotations

import asyncio
import sys
from asyncio import format_helpers
from typing import Any, Final

DEFAULT_LIMIT: Final = 65536
"""Half of the bytes that a StreamReader buffers before it pauses its transport (asyncio's default)."""


class StreamReader(asyncio.StreamReader):
    """asyncio's StreamReader with a read() that returns a received chunk without copying it. The base class copies all
    data into its buffer and out of it.

    A chunk is kept beside the buffer until another one arrives or a method reads the buffer. Then it moves into the
    buffer, as in the base class.

    A chunk beyond the limit pauses the transport, and the read() that takes it resumes the transport, which would then
    deliver the next chunk in the next loop turn. The next read() takes it from the transport at once. Otherwise each
    256 KiB of a bulk transfer would take two turns of the loop.
    """

    # Slots, because objects of a class without them share room for 30 attributes, of which CPython 3.13 takes one away
    # with each object. If many readers are opened before the first data arrives, all would have dictionaries.
    __slots__ = (
        "_chunk",
        "_eof",
        "_exception",
        "_joined",
        "_limit",
        "_loop",
        "_paused",
        "_resumed",
        "_transport",
        "_waiter",
    )

    # Does not call the base class, which would create a buffer.
    def __init__(self, limit: int = DEFAULT_LIMIT, loop: asyncio.AbstractEventLoop | None = None) -> None:
        if limit <= 0:
            raise ValueError("Limit cannot be <= 0")
        self._limit = limit
        self._loop = asyncio.get_event_loop() if loop is None else loop
        self._chunk: bytes | None = None
        self._eof = False
        self._exception: Exception | None = None
        self._joined: bytearray | None = None
        self._paused = False
        self._resumed = False
        """Whether read() has resumed the transport, so that the transport may hold data for the next turn."""
        self._transport: Any = None
        self._waiter: asyncio.Future[None] | None = None
        if self._loop.get_debug():
            self._source_traceback = format_helpers.extract_stack(sys._getframe(1))  # noqa: SLF001  # as asyncio does

    @property
    def _buffer(self) -> bytearray:
        if self._joined is None:
            self._joined = bytearray()
        if self._chunk is not None:
            self._joined += self._chunk
            self._chunk = None
        return self._joined

    @_buffer.setter
    def _buffer(self, buffer: bytearray) -> None:
        self._joined = buffer

    def feed_data(self, data: Any) -> None:
        if self._chunk is not None or self._joined or self._eof or type(data) is not bytes:
            super().feed_data(data)
        elif data:
            self._chunk = data
            if self._waiter is not None:
                waiter, self._waiter = self._waiter, None
                if not waiter.cancelled():
                    waiter.set_result(None)
            if len(data) > 2 * self._limit and not self._paused and self._transport is not None:
                try:
                    self._transport.pause_reading()
                except NotImplementedError:
                    self._transport = None  # not called again, as in the base class
                else:
                    self._paused = True

    def _maybe_resume_transport(self) -> None:
        if self._paused and len(self._buffer) <= self._limit:
            self._paused = False
            self._transport.resume_reading()
            self._resumed = True

    def _next_data(self, caller: str) -> asyncio.Future[None]:
        """Return a future that is done when data or EOF has arrived. `caller` awaits it and then clears `_waiter`. The
        base class has a coroutine for both, which costs as much as the rest of read()."""
        if self._waiter is not None:
            raise RuntimeError(f"{caller}() called while another coroutine is already waiting for incoming data")
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self._waiter = self._loop.create_future()
        return self._waiter

    async def readexactly(self, n: int) -> bytes:
        chunk = self._chunk
        if chunk is None and n > 0 and not self._joined and not self._eof and self._exception is None:
            waiter = self._next_data("readexactly")
            try:
                await waiter
            finally:
                self._waiter = None
            chunk = self._chunk
        if chunk is None or len(chunk) != n or self._exception is not None:
            return await super().readexactly(n)
        self._chunk = None
        if self._paused:
            self._maybe_resume_transport()
        return chunk

    async def read(self, n: int = -1) -> bytes:
        if n < 0:
            blocks = []
            while block := await self.read(sys.maxsize):
                blocks.append(block)
            return b"".join(blocks)
        if n == 0 or self._joined or self._exception is not None:
            return await super().read(n)
        if self._chunk is None and not self._eof:
            if self._resumed:
                # start_tls() may have replaced the transport since, and only utcp's without TLS has the method.
                take_held = getattr(self._transport, "take_held", None)
                data: bytes = b"" if take_held is None else take_held(self, n)
                if data:
                    return data
                self._resumed = False
            waiter = self._next_data("read")
            try:
                await waiter
            finally:
                self._waiter = None
        chunk = self._chunk
        if chunk is not None and len(chunk) <= n:
            self._chunk = None
            if self._paused:
                self._maybe_resume_transport()
            return chunk
        if chunk is None and not self._joined:
            return b""  # end of the stream
        return await super().read(n)
