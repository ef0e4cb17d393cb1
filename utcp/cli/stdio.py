"""The process's stdin and stdout for asyncio, for files, pipes or terminals, without blocking the loop."""

from __future__ import annotations

import asyncio
import errno
import os
import queue
import select
import sys
import threading
from typing import Final

CHUNK: Final = 1 << 18
"""Maximum number of octets per read."""
AHEAD: Final = 4
"""Number of chunks read in advance."""
BEHIND: Final = 1 << 20
"""Octets waiting to be written above which write() waits."""


class Input:
    """Reads a descriptor chunk by chunk.

    A thread reads, because an event loop refuses regular files, and setting a terminal or a pipe to non-blocking would
    affect every process that shares it. The thread never outlives the process, even if a read never returns.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[bytes | OSError] = asyncio.Queue()
        self._room = threading.Semaphore(AHEAD)
        self._started = False
        self._ended = False

    @classmethod
    def stdin(cls) -> Input:
        """Return the process's stdin, already at its end if the process has none."""
        found = cls(0)
        found._ended = sys.stdin is None
        return found

    def is_terminal(self) -> bool:
        """Return whether it is a terminal."""
        return not self._ended and os.isatty(self._descriptor)

    async def read(self) -> bytes:
        """Return the next chunk, empty at the end. Raises the OSError with which reading failed."""
        if self._ended:
            return b""
        if not self._started:
            self._started = True
            threading.Thread(target=self._read_all, name="input", daemon=True).start()
        chunk = await self._chunks.get()
        self._room.release()
        if isinstance(chunk, OSError):
            self._ended = True
            raise chunk
        self._ended = not chunk
        return chunk

    def _read_all(self) -> None:
        chunk: bytes | OSError = b"more"
        while chunk and not isinstance(chunk, OSError):
            self._room.acquire()
            try:
                chunk = self._read_one()
            except OSError as error:
                chunk = error
            try:
                self._loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)
            except RuntimeError:  # the loop is closed, so the data is not needed
                return

    def _read_one(self) -> bytes:
        while True:
            try:
                return os.read(self._descriptor, CHUNK)
            except BlockingIOError:  # another process has set it to non-blocking for all that share it
                select.select([self._descriptor], [], [])


class Output:
    """Writes to a descriptor whose reader may be slow, in a thread for the same reasons as Input."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._waiting = 0
        self._changed = asyncio.Event()
        self._error: OSError | None = None
        self._started = False

    @classmethod
    def stdout(cls) -> Output:
        """Return the process's stdout. Raises OSError if the process has none."""
        if sys.stdout is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return cls(1)

    async def write(self, data: bytes) -> None:
        """Write `data`, and wait while too much waits to be written. Raises the OSError with which writing failed."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._write_all, name="output", daemon=True).start()
        self._waiting += len(data)
        self._chunks.put(data)
        await self._until(BEHIND)

    async def drain(self) -> None:
        """Wait until all data is written. Raises as `write` does."""
        await self._until(0)

    async def failed(self) -> None:
        """Wait until writing fails, and raise its error."""
        while self._error is None:
            self._changed.clear()
            await self._changed.wait()
        raise self._error

    async def _until(self, most: int) -> None:
        while self._waiting > most and self._error is None:
            self._changed.clear()
            await self._changed.wait()
        if self._error is not None:
            raise self._error

    def _write_all(self) -> None:
        try:
            while True:
                error = None
                rest = memoryview(self._chunks.get())
                size = len(rest)
                try:
                    while rest:
                        rest = rest[self._write_some(rest) :]
                except OSError as caught:
                    error = caught
                self._loop.call_soon_threadsafe(self._written, size, error)
                if error is not None:
                    return
        except RuntimeError:  # the loop is closed, so no more data will come
            return

    def _write_some(self, data: memoryview) -> int:
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # as in Input
                select.select([], [self._descriptor], [])

    def _written(self, size: int, error: OSError | None) -> None:
        self._waiting -= size
        self._error = error
        self._changed.set()
