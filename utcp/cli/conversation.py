"""Carries stdin and stdout over one connection until both directions are finished."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

import click

from utcp.cli.stdio import CHUNK, Input, Output

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


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
        """Octets of stdin passed to the connection."""
        self.received = 0
        """Octets received on the connection."""

    async def run(self) -> None:
        """Run until the peer's FIN has arrived, stdout has taken all data, and the peer has acknowledged all data and
        the FIN.

        Otherwise, also when cancelled, the connection is reset and the cause raised: OSError for the connection,
        StdioFailed, or BrokenPipeError when stdout has no reader any more.
        """
        try:
            async with asyncio.TaskGroup() as group:
                closed = group.create_task(self._writer.wait_closed())
                watch = group.create_task(self._watch_stdout())
                sending = group.create_task(self._send())
                group.create_task(self._receive(sending))
                await closed
                watch.cancel()
        except BaseExceptionGroup as several:
            self._writer.transport.abort()
            error = several.exceptions[0]
            if not isinstance(error, (StdioFailed, BrokenPipeError)):
                await self._drain()  # data received before the error
            raise error from None
        except asyncio.CancelledError:
            self._writer.transport.abort()
            raise

    async def _send(self) -> None:
        while data := await self._read():
            self.sent += len(data)
            self._writer.write(data)
            await self._writer.drain()
        if self._shutdown:
            self._finish()

    async def _receive(self, sending: asyncio.Task[None]) -> None:
        while data := await self._reader.read(CHUNK):
            self.received += len(data)
            await self._write(data)
        if not self._patient:
            sending.cancel()
        elif not sending.done() and self._stdin.is_terminal():
            click.echo("utcp nc: the peer has finished; Ctrl-D finishes this side too", err=True)
        await asyncio.wait([sending])
        self._finish()
        await self._drain()
        self._writer.close()

    def _finish(self) -> None:
        if not self._finished:
            self._finished = True
            self._writer.write_eof()

    # --- stdin and stdout, whose errors are separate from the connection's

    async def _read(self) -> bytes:
        try:
            return await self._stdin.read()
        except OSError as error:
            raise StdioFailed(f"stdin: {error.strerror}") from error

    async def _write(self, data: bytes) -> None:
        try:
            await self._stdout.write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise StdioFailed(f"stdout: {error.strerror}") from error

    async def _drain(self) -> None:
        try:
            await self._stdout.drain()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise StdioFailed(f"stdout: {error.strerror}") from error

    async def _watch_stdout(self) -> None:
        """Detect that stdout's reader is gone while no data arrives."""
        try:
            await self._stdout.failed()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise StdioFailed(f"stdout: {error.strerror}") from error
