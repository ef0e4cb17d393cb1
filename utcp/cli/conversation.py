"""Carries stdin and stdout over one connection until both directions are finished."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeAlias, TypeVar

import click

T = TypeVar("T")

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

CHUNK: Final = 1 << 18
"""Maximum number of bytes per read."""


class StdioFailed(click.ClickException):
    """stdin could not be read or stdout not be written, independent of the connection."""


class Conversation:
    """One open connection with stdin and stdout.

    Args:
        streams: the connection.
        stdin: the source of data to send.
        stdout: the sink of received data.
        shutdown: whether the end of stdin is sent as FIN.
        patient: whether the rest of stdin is still sent after the peer's FIN, however long that takes; otherwise this
            side finishes too.
    """

    def __init__(self, streams: Streams, stdin: Input, stdout: Output, *, shutdown: bool, patient: bool) -> None:
        self._reader, self._writer = streams
        self._stdin = stdin
        self._stdout = stdout
        self._shutdown = shutdown
        self._patient = patient
        self._finished = False
        self.sent = 0
        """Bytes of stdin passed to the connection."""
        self.received = 0
        """Bytes received on the connection."""

    async def run(self) -> None:
        """Run until the peer's FIN has arrived, stdout has taken all data, and the peer has acknowledged all data and
        the FIN.

        Otherwise, also when cancelled, the connection is reset and the cause raised: OSError for the connection,
        StdioFailed, or BrokenPipeError when stdout has no reader any more.
        """
        try:
            async with asyncio.TaskGroup() as group:
                closed = group.create_task(self._writer.wait_closed())
                sending = group.create_task(self._send())
                group.create_task(self._receive(sending))
                await closed  # here, because Python 3.11 does not undo a cancellation at the end of the group
        except BaseExceptionGroup as several:
            self._writer.transport.abort()
            error = several.exceptions[0]
            if not isinstance(error, (StdioFailed, BrokenPipeError)):
                await self._stdout.drain()  # data received before the error
            raise error from None
        except asyncio.CancelledError:
            self._writer.transport.abort()
            raise

    async def _send(self) -> None:
        while data := await self._stdin.read():
            self.sent += len(data)
            self._writer.write(data)
            await self._writer.drain()
        if self._shutdown:
            self._finish()

    async def _receive(self, sending: asyncio.Task[None]) -> None:
        while data := await self._reader.read(CHUNK):
            self.received += len(data)
            await self._stdout.write(data)
        if not self._patient:
            sending.cancel()
        elif not sending.done() and self._stdin.is_terminal():
            click.echo("utcp nc: the peer has finished; Ctrl-D finishes this side too", err=True)
        await asyncio.wait([sending])
        self._finish()
        self._writer.close()

    def _finish(self) -> None:
        if not self._finished:
            self._finished = True
            self._writer.write_eof()


class Input:
    """The process's stdin: a file, a pipe or a terminal.

    Threads read and write, because an event loop refuses regular files, and setting a terminal or a pipe to
    non-blocking would affect every process that shares it. A thread never outlives the process, even if its system call
    never returns.
    """

    def __init__(self) -> None:
        self._ended = sys.stdin is None
        self._next: asyncio.Future[bytes] | None = None

    def is_terminal(self) -> bool:
        """Return whether it is a terminal."""
        return sys.stdin is not None and os.isatty(0)

    async def read(self) -> bytes:
        """Return the next chunk, empty at the end. Raises StdioFailed. If cancelled, the next call returns the
        chunk."""
        if self._ended:
            return b""
        if self._next is None:
            self._next = _in_thread(_read)
        chunk = await _result("stdin", self._next)
        self._next = None
        self._ended = not chunk
        return chunk


class Output:
    """The process's stdout, whose reader may be slow."""

    def __init__(self) -> None:
        """Raises StdioFailed if the process has no stdout."""
        if sys.stdout is None:
            raise StdioFailed(f"stdout: {os.strerror(errno.EBADF)}")
        self._writing: asyncio.Future[None] | None = None

    async def write(self, data: bytes) -> None:
        """Write `data`. Raises StdioFailed, or BrokenPipeError when stdout has no reader any more."""
        self._writing = _in_thread(partial(_write, data))
        await _result("stdout", self._writing)

    async def drain(self) -> None:
        """Wait until all data is written, or writing has failed."""
        if self._writing is not None:
            await asyncio.wait([self._writing])


def _in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Call `work` in a thread, and return a future of its result or OSError."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            report: Callable[[], None] = partial(future.set_result, work())
        except OSError as error:
            report = partial(future.set_exception, error)
        with suppress(RuntimeError):  # the loop is closed, so the result is not needed
            loop.call_soon_threadsafe(report)

    threading.Thread(target=run, name="stdio", daemon=True).start()
    return future


async def _result(stream: str, future: asyncio.Future[T]) -> T:
    try:
        return await asyncio.shield(future)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StdioFailed(f"{stream}: {error.strerror}") from error


def _read() -> bytes:
    while True:
        try:
            return os.read(0, CHUNK)
        except BlockingIOError:  # another process has set it to non-blocking for all that share it
            select.select([0], [], [])


def _write(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(1, rest) :]
        except BlockingIOError:  # as for stdin
            select.select([], [1], [])
