"""The asyncio server, which listens on one or several endpoints."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from typing import Final

from utcp.aio.address import with_port
from utcp.aio.containment import attempt
from utcp.aio.open_endpoint import OpenEndpoint
from utcp.aio.socket_facade import ListeningSocket
from utcp.aio.tls.options import TlsOptions
from utcp.aio.transport import CLOSE_NOTIFY_GRACE, Transport
from utcp.errors import FinTimedOut
from utcp.tcp.connection import Connection
from utcp.tcp.event import READABLE
from utcp.tcp.listener import Listener

_NOT_CLOSED: Final = "closing a part of a server failed"


class Server(asyncio.AbstractServer):
    """Accepts connections on one utcp port of each endpoint.

    On every version of Python it has the interface of asyncio's Server in 3.13.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        endpoints: Sequence[OpenEndpoint],
        ports: Sequence[int],
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        backlog: int,
        tls: TlsOptions | None,
        *,
        owns_endpoints: bool,
    ) -> None:
        self._loop = loop
        self._endpoints = endpoints
        self._ports = ports
        self._protocol_factory = protocol_factory
        self._backlog = backlog
        self._tls = tls
        self._owns_endpoints = owns_endpoints
        self._listeners: dict[Listener, OpenEndpoint] = {}
        """The listener of each endpoint, once the server has begun to serve."""
        self._clients: dict[Transport, None] = {}  # ordered, so that simulated runs are reproducible
        self._sockets: tuple[ListeningSocket, ...] = tuple(
            ListeningSocket(with_port(endpoint.address, port)) for endpoint, port in zip(endpoints, ports, strict=True)
        )
        self.callback_context = contextvars.copy_context()
        self._closed = False
        self._accepting = 0
        """Number of ready() calls in progress, because a protocol factory may close the server."""
        self._ending = False  # newly accepted connections are closed at once
        self._serving_forever: asyncio.Future[None] | None = None
        self._gone: asyncio.Future[None] = loop.create_future()  # closed, and no connection left

    def __repr__(self) -> str:
        return f"<{type(self).__name__} sockets={self.sockets!r}>"

    @property
    def sockets(self) -> tuple[ListeningSocket, ...]:
        """One socket for each address; empty once the server is closed."""
        return self._sockets

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def is_serving(self) -> bool:
        return bool(self._listeners) and not self._closed

    async def start_serving(self) -> None:
        """Start accepting connections. A second call does nothing.

        Raises AddressInUse if another server listens on the same port of the endpoint, RuntimeError if the server is
        closed.
        """
        if self._closed:
            raise RuntimeError(f"server {self!r} is closed")
        self.listen()

    async def serve_forever(self) -> None:
        """Accept connections until cancelled. Then close the server and its connections, and wait for their end.

        This takes at most `Config.close_timeout`. Then connections with unacknowledged data are reset, and their
        connection_lost() gets FinTimedOut. A second cancellation resets them at once.

        `close()` also ends this call, but does not close the connections. The call then waits, without a limit, for the
        end of the last one.
        """
        if self._serving_forever is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        if self._closed:
            raise RuntimeError(f"server {self!r} is closed")
        self.listen()
        self._serving_forever = self._loop.create_future()
        try:
            await self._serving_forever
        except asyncio.CancelledError:
            if self.is_serving():
                self.close()
                await self._end()
            else:  # ended by close(), which does not close the connections
                await self.wait_closed()
            raise
        finally:
            self._serving_forever = None

    async def _end(self) -> None:
        """Close the connections, and wait for their end, within `Config.close_timeout`."""
        # wait_closed() alone would wait for ever for an idle peer or one that no longer answers.
        self._ending = True
        loop = self._loop
        timeout = max(endpoint.config.close_timeout for endpoint in self._endpoints)
        deadline = loop.time() + timeout
        if self._owns_endpoints:
            for endpoint in self._endpoints:
                endpoint.close_by(deadline)
        self.close_clients()
        try:
            await asyncio.wait([self._gone], timeout=min(CLOSE_NOTIFY_GRACE, timeout / 2))
            for transport in self._clients.copy():
                attempt(loop, _NOT_CLOSED, transport.close_without_notify)
            await asyncio.wait([self._gone], timeout=max(0, deadline - loop.time()))
        finally:
            self._end_listening()
            for transport in self._clients.copy():
                error = FinTimedOut("The server was closed before the peer had acknowledged everything")
                attempt(loop, _NOT_CLOSED, transport.fail, error)
        await self.wait_closed()

    def _end_listening(self) -> None:
        for listener, endpoint in self._listeners.items():
            attempt(self._loop, _NOT_CLOSED, endpoint.end_listening, listener)

    def close(self) -> None:
        """Stop listening. Open connections stay open. A second call does nothing.

        Half-open connections are still accepted if their handshake completes within a second, because the peer may
        already be connected. Otherwise they are reset.
        """
        if self._closed:
            return
        self._closed = True
        self._sockets = ()
        for listener, endpoint in self._listeners.items():
            attempt(self._loop, _NOT_CLOSED, endpoint.stop_listening, listener)
        if self._serving_forever is not None and not self._serving_forever.done():
            self._serving_forever.cancel()
        if self._owns_endpoints:
            for endpoint in self._endpoints:
                attempt(self._loop, _NOT_CLOSED, endpoint.close_when_idle)
        self._wake()

    def close_clients(self) -> None:
        """Close the accepted connections."""
        for transport in self._clients.copy():
            transport.close_by_owner()

    def abort_clients(self) -> None:
        """Reset the accepted connections."""
        for transport in self._clients.copy():
            attempt(self._loop, _NOT_CLOSED, transport.abort)

    async def wait_closed(self) -> None:
        """Wait until the server is closed and its last accepted connection has ended, in either order."""
        await asyncio.shield(self._gone)

    # --- what the endpoint and the transports call

    def listen(self) -> None:
        if self._listeners:
            return
        try:
            for endpoint, port in zip(self._endpoints, self._ports, strict=True):
                self._listeners[endpoint.listen(port, self._backlog, self)] = endpoint
        except BaseException:
            self._end_listening()
            self._listeners.clear()
            raise

    def ready(self, listener: Listener) -> None:
        """Give every waiting connection of the listener a transport and a protocol."""
        endpoint = self._listeners[listener]
        self._accepting += 1
        try:
            while (connection := listener.accept()) is not None:
                context = self.callback_context.copy()
                context.run(self._serve, endpoint, connection, context)
        except BaseException:
            # SystemExit or KeyboardInterrupt: connections that still wait are accepted if the loop runs again.
            endpoint.stack.listener_ready(listener)
            raise
        finally:
            self._accepting -= 1
        if self._closed:
            self._wake()

    def _serve(self, endpoint: OpenEndpoint, connection: Connection, context: contextvars.Context) -> None:
        try:
            driver = endpoint.driver
            protocol = self._protocol_factory()
            if self._tls is not None:
                protocol = self._tls.transport(protocol)
            transport = Transport(driver, connection, protocol, context, server=self)
            self._clients[transport] = None
        except BaseException as exc:
            attempt(self._loop, _NOT_CLOSED, endpoint.abort, connection)
            if isinstance(exc, (SystemExit, KeyboardInterrupt)):
                raise
            self._loop.call_exception_handler(
                {"message": "Error on transport creation for incoming connection", "exception": exc}
            )
            return
        transport.start(READABLE)  # or nothing yet
        if self._ending:
            transport.close_by_owner()

    def detach(self, transport: Transport) -> None:
        self._clients.pop(transport, None)
        if self._closed:
            self._wake()

    def _wake(self) -> None:
        """End the waiting for a closed server if its last connection has ended."""
        if self._accepting or self._clients or self._gone.done():
            return
        if not any(listener.half_open or listener.queue for listener in self._listeners):
            self._gone.set_result(None)
