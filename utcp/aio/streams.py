"""asyncio's streams over utcp, with a protocol and a writer that make nothing which most connections never use."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any, TypeAlias

from utcp.aio.stream_reader import StreamReader
from utcp.aio.tls.upgrade import start_tls
from utcp.errors import FinTimedOut

ClientConnected: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]
StreamFactory: TypeAlias = Callable[[], asyncio.StreamReaderProtocol]


class StreamProtocol(asyncio.StreamReaderProtocol):
    """asyncio's StreamReaderProtocol as of Python 3.13, on every version.

    A connection has no deque of those who drain and no future for its end until somebody waits: with the writer's
    future, which has no use, they take 1.2 KB of a connection. The reader is held by a plain reference: the writer has
    one as well, and without a writer the connection closes.
    """

    _owner_closes = False
    """The server or the endpoint has closed the connection, not the handler."""

    # Not the base's: it makes what this class is there to avoid.
    def __init__(
        self,
        stream_reader: asyncio.StreamReader | None,
        client_connected_cb: ClientConnected | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._closed: asyncio.Future[None] | None = None  # first: __del__() looks at it, whatever fails below
        self._loop = asyncio.get_event_loop() if loop is None else loop
        self._reader = stream_reader
        self._client_connected_cb = client_connected_cb
        self._transport: asyncio.BaseTransport | None = None
        self._task: asyncio.Task[None] | None = None
        self._over_ssl = False
        self._paused = False
        self._drain_waiters: Collection[asyncio.Future[None]] = ()
        self._connection_lost = False
        self._error: BaseException | None = None
        """What connection_lost() said."""

    @property
    def _stream_reader(self) -> asyncio.StreamReader | None:
        return self._reader

    def connection_made(self, transport: Any) -> None:
        self._replace_transport(transport)
        reader = self._reader
        if reader is not None:
            reader.set_transport(transport)
        if self._client_connected_cb is None or reader is None:
            return
        writer = StreamWriter(transport, self, reader, self._loop)
        handling = self._client_connected_cb(reader, writer)
        if asyncio.iscoroutine(handling):
            self._task = self._loop.create_task(handling)
            self._task.add_done_callback(partial(_handled, self, transport, self._loop))

    def data_received(self, data: bytes) -> None:
        if self._reader is not None:
            self._reader.feed_data(data)

    def eof_received(self) -> bool:
        if self._reader is not None:
            self._reader.feed_eof()
        return not self._over_ssl

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
        self._reader = self._task = self._transport = None

    def pause_writing(self) -> None:
        if self._owner_closes and self._paused:
            return
        super().pause_writing()
        if not self._drain_waiters:
            self._drain_waiters = deque()  # from now on somebody may wait

    def resume_writing(self) -> None:
        if not self._owner_closes:
            super().resume_writing()

    def owner_closes(self) -> None:
        """The server or the endpoint closes the connection: what is written from now on is lost.

        `drain()` waits for the end. Otherwise a handler that writes for ever would turn the loop until then.
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
        self._over_ssl = transport.get_extra_info("sslcontext") is not None and not transport.can_write_eof()

    def __del__(self) -> None:
        # Who has stopped waiting need not hear why the connection ended.
        if self._closed is not None and self._closed.done() and not self._closed.cancelled():
            self._closed.exception()


def _settle(waiter: asyncio.Future[None], exc: BaseException | None) -> None:
    if waiter.done():
        return
    if exc is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(exc)


def _handled(
    protocol: StreamProtocol, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]
) -> None:
    """Close the connection of a server's handler that was cancelled or has failed, and report its exception.

    Not reported is the end of a connection that the server or the endpoint has closed: FinTimedOut, or asyncio's own
    ConnectionResetError of `drain()`. Whoever closed the server knows of it.
    """
    if task.cancelled():
        transport.close()
        return
    exc = task.exception()
    if exc is None:
        return
    if not (protocol._owner_closes and isinstance(exc, (FinTimedOut, ConnectionResetError))):  # noqa: SLF001
        loop.call_exception_handler(
            {"message": "Unhandled exception in client_connected_cb", "exception": exc, "transport": transport}
        )
    transport.close()


class StreamWriter(asyncio.StreamWriter):
    """asyncio's, whose start_tls() works under uvloop too, and takes `ssl_shutdown_timeout` on every version."""

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        protocol: asyncio.BaseProtocol,
        reader: asyncio.StreamReader | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        # As the base's, but for a future that nobody asks for.
        self._transport = transport
        self._protocol: Any = protocol
        self._reader = reader
        self._loop = loop

    async def start_tls(
        self,
        sslcontext: ssl.SSLContext,
        *,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        """Upgrade the connection to TLS. If the handshake fails, close the connection and raise its error.

        Octets that the reader holds at that moment are the beginning of TLS on a server. On a client they are
        plaintext that an attacker may have added: the connection is aborted, and ssl.SSLError is raised.
        """
        protocol = self._protocol
        await self.drain()
        below: Any = self._transport
        self._transport = await start_tls(
            below,
            protocol,
            sslcontext,
            server_side=protocol._client_connected_cb is not None,  # noqa: SLF001
            server_hostname=server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        protocol._replace_transport(self._transport)  # noqa: SLF001
        # From now on a full reader pauses TLS, which a close can resume to read the peer's close_notify.
        reader: Any = self._reader
        if reader is not None:
            reader._transport = self._transport  # noqa: SLF001
            if reader._paused:  # noqa: SLF001  # by what came right behind the handshake
                self._transport.pause_reading()


class ClientStreams:
    """What a client's connection will have: called, it is the protocol factory."""

    __slots__ = ("_protocol", "_reader")

    def __init__(self, limit: int) -> None:
        loop = asyncio.get_running_loop()
        self._reader = StreamReader(limit, loop)
        self._protocol = StreamProtocol(self._reader, None, loop)

    def __call__(self) -> StreamProtocol:
        return self._protocol

    def on(self, transport: asyncio.Transport) -> tuple[StreamReader, StreamWriter]:
        """The reader and the writer, once there is a transport."""
        protocol = self._protocol
        return self._reader, StreamWriter(transport, protocol, self._reader, protocol._loop)  # noqa: SLF001


def stream_factory(client_connected_cb: ClientConnected, limit: int) -> StreamFactory:
    """The protocol factory of a server that calls `client_connected_cb(reader, writer)` for each connection."""
    loop = asyncio.get_running_loop()

    def factory() -> StreamProtocol:
        return StreamProtocol(StreamReader(limit, loop), client_connected_cb, loop)

    return factory
