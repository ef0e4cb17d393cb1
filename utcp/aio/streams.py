"""The protocol of asyncio's streams, which creates rarely used objects only when needed."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeAlias

from utcp._compiled import mypyc_attr
from utcp.aio.stream_reader import StreamReader
from utcp.aio.stream_writer import StreamWriter
from utcp.errors import FinTimedOut

ClientConnected: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]
StreamFactory: TypeAlias = Callable[[], asyncio.StreamReaderProtocol]


@mypyc_attr(allow_interpreted_subclasses=True)
class StreamProtocol(asyncio.StreamReaderProtocol):
    """asyncio's StreamReaderProtocol of Python 3.13, on every version.

    The deque for `drain()` and the future for the end are created only when a caller waits. With the writer's future,
    which is unused, they take 1.2 KB per connection. The reference to the reader is a strong one, because the writer
    has one as well, and a connection without a writer is closed.
    """

    # Values before the first change. The instance has none of its own until then.
    _closed: asyncio.Future[None] | None = None
    """Future of the end, once a caller waits for it."""
    _connection_lost = False
    _drain_waiters: Collection[asyncio.Future[None]] = ()
    _error: BaseException | None = None
    """The argument of connection_lost()."""
    _owner_closes = False
    """Whether the server or the endpoint, and not the handler, has closed the connection."""
    _paused = False
    _task: asyncio.Task[None] | None = None
    _transport: asyncio.BaseTransport | None = None

    # Does not call the base class, which would create the objects that this class avoids.
    def __init__(
        self,
        stream_reader: asyncio.StreamReader | None,
        client_connected_cb: ClientConnected | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._loop = asyncio.get_event_loop() if loop is None else loop
        self._reader = stream_reader
        self._client_connected_cb = client_connected_cb

    @property
    def _stream_reader(self) -> asyncio.StreamReader | None:
        return self._reader

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        reader = self._reader
        if reader is not None:
            reader.set_transport(transport)
        if self._client_connected_cb is None or reader is None:
            return
        writer = StreamWriter(transport, self, reader, self._loop)
        handling = self._client_connected_cb(reader, writer)
        if asyncio.iscoroutine(handling):
            self._task = task = self._loop.create_task(handling)
            # The callback would keep a copy of the context if it did not share that of the task, as on Python 3.11.
            task.add_done_callback(self._handled, context=getattr(task, "get_context", contextvars.copy_context)())

    def _handled(self, task: asyncio.Task[None]) -> None:
        """Close the connection of a server's handler that was cancelled or has failed, and report its exception.

        If the server or the endpoint has closed the connection, FinTimedOut and the ConnectionResetError of asyncio's
        `drain()` are not reported, because they are expected then.
        """
        transport: Any = self._transport
        if task.cancelled():
            transport.close()
            return
        exc = task.exception()
        if exc is None:
            return
        if not (self._owner_closes and isinstance(exc, (FinTimedOut, ConnectionResetError))):
            self._loop.call_exception_handler(
                {"message": "Unhandled exception in client_connected_cb", "exception": exc, "transport": transport}
            )
        transport.close()

    def data_received(self, data: bytes) -> None:
        if self._reader is not None:
            self._reader.feed_data(data)

    def eof_received(self) -> bool:
        if self._reader is not None:
            self._reader.feed_eof()
        # True keeps the transport open. asyncio's TLS, which cannot be half-closed, closes in any case, with a warning.
        transport: Any = self._transport
        return transport is None or transport.can_write_eof() or transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: BaseException | None) -> None:
        reader = self._reader
        if reader is not None:
            if exc is None:
                reader.feed_eof()
            else:
                reader.set_exception(exc)  # type: ignore[arg-type]  # asyncio's own does the same
        self._connection_lost = True
        self._error = exc
        if self._closed is not None:
            _settle(self._closed, exc)
        for waiter in self._drain_waiters:
            _settle(waiter, exc)
        self._reader = self._task = None

    def pause_writing(self) -> None:
        if self._owner_closes and self._paused:
            return
        super().pause_writing()
        if not self._drain_waiters:
            self._drain_waiters = deque()  # from now on drain() may wait

    def resume_writing(self) -> None:
        if not self._owner_closes:
            super().resume_writing()

    def owner_closes(self) -> None:
        """Drop all data written from now on, because the server or the endpoint closes the connection.

        `drain()` then waits for the end of the connection. Otherwise a handler that writes in an endless loop would use
        all of the CPU until then.
        """
        self._owner_closes = True
        if not self._connection_lost:
            self.pause_writing()

    def _get_close_waiter(self, _: object) -> asyncio.Future[None]:
        if self._closed is None:
            self._closed = self._loop.create_future()
            if self._connection_lost:
                _settle(self._closed, self._error)
        return self._closed

    def _replace_transport(self, transport: Any) -> None:
        self._transport = transport

    def __del__(self) -> None:
        """Do nothing, in place of the base class, which would do a part of `_settle()` later."""


def _settle(waiter: asyncio.Future[None], exc: BaseException | None) -> None:
    if waiter.done():
        return
    if exc is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(exc)
        waiter.exception()  # so that asyncio does not log it if the caller no longer waits


def stream_factory(client_connected_cb: ClientConnected, limit: Any) -> StreamFactory:  # asyncio takes floats as well
    """Return the protocol factory of a server that calls `client_connected_cb(reader, writer)` for each connection."""
    loop = asyncio.get_running_loop()

    def factory() -> StreamProtocol:
        return StreamProtocol(StreamReader(limit, loop), client_connected_cb, loop)

    return factory
