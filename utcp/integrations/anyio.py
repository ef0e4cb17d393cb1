"""anyio over utcp: a byte stream and a listener, for anyio programs that run on asyncio.

    async with await connect_utcp("127.0.0.1", 9000) as stream:
        await stream.send(b"what else?")
        await stream.send_eof()  # a half-close: sends FIN, and the stream can still receive
        answer = await stream.receive()

For TLS, use anyio's `TLSStream.wrap(stream, ...)` and `TLSListener(listener, context)`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any, Final, cast

from utcp import Config, ConnectionInfo, Endpoint, Server
from utcp.extras import needs_extra
from utcp.integrations.via import Via

with needs_extra("integrations"):
    from anyio import (
        BrokenResourceError,
        ClosedResourceError,
        EndOfStream,
        ResourceGuard,
        TypedAttributeSet,
        WouldBlock,
        create_memory_object_stream,
        create_task_group,
        typed_attribute,
    )
    from anyio.abc import ByteStream, Listener, SocketAttribute, TaskGroup
    from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

READ_LIMIT: Final = 65536
"""Received bytes waiting for `receive()` above which reading from the connection pauses, so that the window closes."""


class UtcpAttribute(TypedAttributeSet):
    """Attributes of a UtcpStream in addition to anyio's SocketAttribute; available through TLS as well."""

    info: ConnectionInfo = typed_attribute()
    """The connection's variables now, or at its end."""
    transport: asyncio.Transport = typed_attribute()
    """The underlying asyncio transport."""


async def connect_utcp(
    remote_host: str,
    remote_port: int,
    *,
    local_host: str | None = None,
    config: Config | None = None,
    endpoint: Endpoint | None = None,
) -> UtcpStream:
    """Connect over utcp, as anyio's `connect_tcp` does over TCP.

    Attempts for several addresses of a host start 0.25 seconds apart. Raises OSError as `utcp.create_connection` does
    (ConnectionRefusedError, TimeoutError, ...).

    Args:
        remote_host: host name or address to connect to.
        remote_port: utcp port to connect to.
        local_host: local address to bind; None: the system picks one.
        config: utcp's configuration of the sockets that the loop's clients share.
        endpoint: the endpoint to connect from.
    """
    _require_asyncio()
    via = Via(config, endpoint)
    _, protocol = await via.create_connection(StreamProtocol, remote_host, remote_port, local_host=local_host)
    return UtcpStream(protocol)


async def create_utcp_listener(
    *,
    local_host: str | None = None,
    local_port: int = 0,
    backlog: int = 100,
    config: Config | None = None,
    endpoint: Endpoint | None = None,
) -> UtcpListener:
    """Listen over utcp, as anyio's `create_tcp_listener` does over TCP.

    Raises OSError when the address is taken.

    Args:
        local_host: address to bind; None: all interfaces.
        local_port: UDP port and utcp port; 0: the system picks one, and a different one for IPv6. With an `endpoint`,
            the utcp port (0: the number of its UDP port).
        backlog: maximum number of connections waiting to be accepted, at least one; further ones are reset.
        config: utcp's configuration.
        endpoint: the endpoint to listen on.
    """
    _require_asyncio()
    arrived, waiting = create_memory_object_stream[StreamProtocol](max(backlog, 1))
    try:
        server = await Via(config, endpoint).create_server(
            lambda: StreamProtocol(arrived), local_host, local_port, backlog=backlog
        )
    except BaseException:
        arrived.close()
        waiting.close()
        raise
    return UtcpListener(server, arrived, waiting)


class UtcpStream(ByteStream):
    """One connection. Created by `connect_utcp()` and by listeners.

    `send()` returns when the send buffer has room again, not when the peer has the data. `aclose()` waits for the
    peer's acknowledgment.
    """

    def __init__(self, protocol: StreamProtocol) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        self._receiving = ResourceGuard("reading from")
        self._sending = ResourceGuard("writing to")
        self._sent = 0
        self._eof_sent = False
        self._closed = False

    async def receive(self, max_bytes: int = READ_LIMIT) -> bytes:
        """Return received data, up to `max_bytes` bytes. Wait if there is none.

        Raises EndOfStream after the peer's FIN, BrokenResourceError when the connection failed, ClosedResourceError
        when this side has closed it, BusyResourceError when another task receives.
        """
        if max_bytes < 1:
            raise ValueError("max_bytes must be a positive integer")
        protocol = self._protocol
        with self._receiving:
            if protocol.readable.is_set():
                await checkpoint()
            else:
                await protocol.readable.wait()
            if self._closed:
                raise ClosedResourceError
            data = protocol.take(max_bytes)
            if data:
                return data
            if protocol.eof:
                raise EndOfStream
            raise BrokenResourceError from protocol.error

    async def send(self, item: bytes) -> None:
        """Send `item` completely. Wait while the connection's send buffer is full.

        Raises BrokenResourceError when the connection failed, ClosedResourceError after `send_eof()` or `aclose()`,
        BusyResourceError when another task sends.
        """
        protocol = self._protocol
        with self._sending:
            await checkpoint_if_cancelled()
            if not protocol.writable.is_set():  # a cancelled send() has left data in the buffer
                await protocol.writable.wait()
            self._require_open_for_sending()
            self._transport.write(item)
            self._sent += len(item)
            if protocol.writable.is_set():
                await cancel_shielded_checkpoint()
                return
            await protocol.writable.wait()
            self._require_open_for_sending()

    async def send_eof(self) -> None:
        """Half-close: send a FIN after the data. `receive()` still works. Idempotent."""
        with self._sending:
            await checkpoint_if_cancelled()
            if not self._eof_sent:
                self._require_open_for_sending()
                self._eof_sent = True
                self._transport.write_eof()
            await cancel_shielded_checkpoint()

    async def aclose(self) -> None:
        """Close, and wait until the peer has acknowledged all data and the FIN.

        Raises BrokenResourceError if the connection ended before the peer acknowledged all data. If cancelled, delivery
        continues in the background. Data that the peer sends after the close is answered by RST. Idempotent.
        """
        protocol = self._protocol
        if not self._closed:
            self._closed = True
            protocol.wake()
            self._transport.close()
        if protocol.over.is_set():
            await checkpoint()
            return
        await checkpoint_if_cancelled()  # a caller that does not wait, such as aclose_forcefully(), gets no error
        await protocol.over.wait()
        if protocol.error is not None and self._info().bytes_acked < self._sent:
            raise BrokenResourceError from protocol.error

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Return anyio's SocketAttribute and UtcpAttribute values. `raw_socket` accepts the options of a TCP socket but
        has no file descriptor."""
        about = self._transport.get_extra_info
        return {
            SocketAttribute.family: lambda: about("socket").family,
            SocketAttribute.local_address: lambda: _address(about("sockname")),
            SocketAttribute.local_port: lambda: about("sockname")[1],
            SocketAttribute.raw_socket: lambda: about("socket"),
            SocketAttribute.remote_address: lambda: _address(about("peername")),
            SocketAttribute.remote_port: lambda: about("peername")[1],
            UtcpAttribute.info: self._info,
            UtcpAttribute.transport: lambda: self._transport,
        }

    def _info(self) -> ConnectionInfo:
        return cast("ConnectionInfo", self._transport.get_extra_info("utcp"))

    def _require_open_for_sending(self) -> None:
        if self._closed or self._eof_sent:
            raise ClosedResourceError
        if self._protocol.over.is_set():
            raise BrokenResourceError from self._protocol.error


class UtcpListener(Listener[UtcpStream]):
    """Accepts connections. Created by `create_utcp_listener()`."""

    def __init__(
        self,
        server: Server,
        arrived: MemoryObjectSendStream[StreamProtocol],
        waiting: MemoryObjectReceiveStream[StreamProtocol],
    ) -> None:
        self._server = server
        self._sockets = server.sockets
        self._arrived = arrived
        self._waiting = waiting
        self._accepting = ResourceGuard("accepting connections from")

    async def accept(self) -> UtcpStream:
        """Return the next connection. Raises ClosedResourceError once closed, BusyResourceError when another task
        accepts."""
        with self._accepting:
            try:
                return UtcpStream(await self._waiting.receive())
            except EndOfStream:
                raise ClosedResourceError from None

    async def serve(self, handler: Callable[[UtcpStream], Any], task_group: TaskGroup | None = None) -> None:
        """Run `handler(stream)` in the task group for each connection, until cancelled."""
        async with AsyncExitStack() as stack:
            if task_group is None:
                task_group = await stack.enter_async_context(create_task_group())
            while True:
                task_group.start_soon(handler, await self.accept())

    async def aclose(self) -> None:
        """Stop listening. Accepted connections stay open; waiting ones are reset."""
        self._server.close()
        self._arrived.close()
        with suppress(EndOfStream, ClosedResourceError):
            while True:
                self._waiting.receive_nowait().transport.abort()
        self._waiting.close()
        await checkpoint()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Return anyio's SocketAttribute values of the first listening address."""
        first = self._sockets[0]
        return {
            SocketAttribute.family: lambda: first.family,
            SocketAttribute.local_address: lambda: _address(first.getsockname()),
            SocketAttribute.local_port: lambda: first.getsockname()[1],
            SocketAttribute.raw_socket: lambda: first,
        }


class StreamProtocol(asyncio.Protocol):
    """Keeps received data until `receive()` takes it, and signals readability, writability and the connection's end."""

    transport: asyncio.Transport

    def __init__(self, arrived: MemoryObjectSendStream[StreamProtocol] | None = None) -> None:
        self.readable = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()
        self.over = asyncio.Event()
        """Set by connection_lost()."""
        self.eof = False
        self.error: Exception | None = None
        self._arrived = arrived
        """The queue of a listener's connections."""
        self._chunks: deque[bytes] = deque()
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(0)  # writing pauses as soon as the connection's send buffer is full
        if self._arrived is not None:
            try:
                self._arrived.send_nowait(self)
            except (WouldBlock, ClosedResourceError):
                self.transport.abort()

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
        """Return received data, up to `max_bytes` bytes; empty if there is none."""
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


def _address(sockname: tuple[Any, ...]) -> tuple[str, int]:
    """Return host and port in anyio's form, with an IPv6 scope as part of the host."""
    host, port, *scope = sockname
    if scope and scope[1] and "%" not in host:
        host = f"{host}%{scope[1]}"
    return host, port


def _require_asyncio() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError as error:
        raise RuntimeError("utcp needs an event loop of asyncio: it does not support trio") from error
