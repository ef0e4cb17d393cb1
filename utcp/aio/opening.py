"""An active open in progress, until a transport takes over the connection."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import TypeVar

from utcp.aio.address import with_port
from utcp.aio.driver import Driver
from utcp.aio.tls.options import TlsOptions, settles
from utcp.aio.transport import Transport
from utcp.errors import ConnectionAborted, ConnectionRefused, PathUnreachable
from utcp.link.path import SocketAddress
from utcp.tcp.connection import Connection
from utcp.tcp.event import CONNECTED, ENDED
from utcp.tcp.transmit import Remote

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)


class Opening:
    """The user of a connection until it has a transport. It stores the events until then."""

    callback_context = None
    __slots__ = ("connection", "driver", "events", "waiter")

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.connection: Connection | None = None
        self.events = 0
        self.waiter: asyncio.Future[None] = driver.loop.create_future()

    @classmethod
    async def establish(cls, driver: Driver, address: SocketAddress, port: int, local_port: int | None) -> Opening:
        """Connect to utcp port `port` at the UDP address `address`.

        Raises the connection's error with asyncio's text ("Connect call failed ..."), ConnectionRefused for port 0,
        AddressInUse or AddressNotAvailable for the local port, LimitReached if a limit of the endpoint is reached,
        OSError if there is no route. A cancelled call leaves no connection behind.
        """
        if not (address[1] and port):  # nothing listens on port 0; kernel TCP refuses it too
            raise ConnectionRefused(f"Connect call failed {with_port(address, port)}")
        link = driver.link
        remote = link.remote(address)
        for is_last in (False, True):
            self = cls(driver)
            self.connection = driver.stack.connect(remote, port, link.now(), local_port=local_port, context=self)
            try:
                if not driver.flush_requested:
                    driver.schedule_flush()
                await self.waiter
            except BaseException:
                self.abandon()
                raise
            if self.events & CONNECTED:
                return self
            again = None if is_last else self._route_again(remote, address)
            if again is None:
                break
            self.abandon()
            remote = again
        raise self._failure(with_port(address, port))

    def _route_again(self, remote: Remote, address: SocketAddress) -> Remote | None:
        """Return another name of the link for the peer, with which a second attempt may succeed, or None.

        A failed send has made the link drop its cached routes. If this host's address has changed, the new route uses
        the new address.
        """
        if self.driver.closed or not isinstance(self._error, PathUnreachable):
            return None
        try:
            again = self.driver.link.remote(address)
        except OSError:
            return None
        return None if again == remote else again

    def ready(self, connection: Connection) -> None:
        self.events |= connection.take_events()
        if self.events & (CONNECTED | ENDED) and not self.waiter.done():
            self.waiter.set_result(None)

    def abandon(self) -> None:
        """Give up the connection: delete it if the handshake is not complete, otherwise reset it."""
        connection = self.connection
        if connection is None:
            return
        self.connection = connection.context = None
        connection.abort(self.driver.link.now())  # a connection that has ended only drops its unread data
        if not self.events & ENDED:
            self.driver.schedule_flush()

    @property
    def _error(self) -> OSError | None:
        """The error that ended the connection, or None."""
        return None if self.connection is None else self.connection.error

    def _failure(self, address: SocketAddress) -> OSError:
        """Abandon the connection, and return its error with asyncio's text."""
        error = self._error
        self.abandon()
        if error is None:
            return ConnectionAborted("The endpoint was closed")
        error.strerror = f"Connect call failed {address}"
        error.args = (error.errno, error.strerror)
        return error

    async def hand_over(
        self, protocol_factory: Callable[[], ProtocolT], tls: TlsOptions | None
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """Give the established connection a transport and a protocol. With `tls`, also complete the TLS handshake."""
        connection = self.connection
        if connection is None:
            raise ConnectionAborted("The endpoint was closed")
        try:
            protocol = protocol_factory()
            waiter = None if tls is None else self.driver.loop.create_future()
            secure = None if tls is None or waiter is None else tls.transport(protocol, settles(waiter))
            context = contextvars.copy_context()
            transport = Transport(self.driver, connection, secure or protocol, context)
        except BaseException:
            self.abandon()
            raise
        self.connection = None
        context.run(transport.start, self.events)
        if self.events & ~CONNECTED:
            self.driver.schedule_flush()  # reading may have opened the window
        if secure is None or waiter is None:
            return transport, protocol
        try:
            await waiter
        except BaseException:
            secure.close()
            raise
        return secure, protocol
