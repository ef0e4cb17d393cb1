"""The asyncio protocol of anyio's streams over utcp, and the queue of connections for a listener's accept()."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, cast

READ_LIMIT: Final = 65536
"""Received octets waiting for `receive()` above which reading from the connection pauses, so that the window closes."""


class StreamProtocol(asyncio.Protocol):
    """Keeps received data until `receive()` takes it, and signals readability, writability and the connection's end."""

    transport: asyncio.Transport

    def __init__(self, waiting: Waiting | None = None) -> None:
        self.readable = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()
        self.over = asyncio.Event()
        """Set by connection_lost()."""
        self.eof = False
        self.error: Exception | None = None
        self._waiting = waiting
        self._chunks: deque[bytes] = deque()
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(0)  # writing pauses as soon as the connection's send buffer is full
        if self._waiting is not None:
            self._waiting.put(self)

    def data_received(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        if self._size > READ_LIMIT:
            self.transport.pause_reading()
        self.readable.set()

    def eof_received(self) -> bool:
        self.eof = True
        self.readable.set()
        return True

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.over.set()
        self.wake()

    def wake(self) -> None:
        """Wake all waiting calls so that they check the state again."""
        self.readable.set()
        self.writable.set()

    def take(self, max_bytes: int) -> bytes:
        """Return received data, up to `max_bytes` octets; empty if there is none."""
        if not self._chunks:
            return b""
        data = self._chunks.popleft()
        if len(data) > max_bytes:
            data, rest = data[:max_bytes], data[max_bytes:]
            self._chunks.appendleft(rest)
        self._size -= len(data)
        if self._size <= READ_LIMIT:
            self.transport.resume_reading()
        if not (self._chunks or self.eof or self.over.is_set()):
            self.readable.clear()
        return data


class Waiting:
    """Established connections that wait for a listener's accept()."""

    def __init__(self, backlog: int) -> None:
        self.arrived = asyncio.Event()
        self.closed = False
        self._backlog = backlog
        self._protocols: deque[StreamProtocol] = deque()

    def put(self, protocol: StreamProtocol) -> None:
        if self.closed or len(self._protocols) >= self._backlog:
            protocol.transport.abort()
            return
        self._protocols.append(protocol)
        self.arrived.set()

    def take(self) -> StreamProtocol:
        protocol = self._protocols.popleft()
        if not self._protocols:
            self.arrived.clear()
        return protocol

    def close(self) -> None:
        self.closed = True
        self.arrived.set()  # wakes a task that waits in accept()
        while self._protocols:
            self._protocols.popleft().transport.abort()
