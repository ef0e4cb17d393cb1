"""The TLS options of a connection or a server: `ssl=` and related arguments."""

from __future__ import annotations

import asyncio
import ssl

from utcp.aio.tls.machine import TlsMachine
from utcp.aio.tls.transport import HandshakeEnded, TlsTransport


class TlsOptions:
    """The options of one connection, or of all connections of a server. A `context` of None is a client's default."""

    __slots__ = ("context", "handshake_timeout", "server_hostname", "server_side", "shutdown_timeout")

    def __init__(
        self,
        context: ssl.SSLContext | None,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        handshake_timeout: float | None = None,
        shutdown_timeout: float | None = None,
    ) -> None:
        self.context = context
        self.server_side = server_side
        self.server_hostname = server_hostname
        self.handshake_timeout = handshake_timeout
        self.shutdown_timeout = shutdown_timeout

    @classmethod
    def of_client(
        cls,
        context: ssl.SSLContext | bool | None,
        host: object,
        server_hostname: str | None,
        handshake_timeout: float | None,
        shutdown_timeout: float | None,
    ) -> TlsOptions | None:
        """Return the options of a client; None without TLS. Raises the ValueErrors of asyncio for wrong arguments."""
        if not context:
            if server_hostname is not None:
                raise ValueError("server_hostname is only meaningful with ssl")
            if handshake_timeout is not None or shutdown_timeout is not None:
                _forbid_timeouts(handshake_timeout, shutdown_timeout)
            return None
        if server_hostname is None:
            if not host:
                raise ValueError("You must set server_hostname when using ssl without a host")
            server_hostname = host.decode("idna") if isinstance(host, bytes) else str(host)
        return cls(
            None if isinstance(context, bool) else context,
            server_side=False,
            server_hostname=server_hostname,
            handshake_timeout=handshake_timeout,
            shutdown_timeout=shutdown_timeout,
        )

    @classmethod
    def of_server(
        cls, context: ssl.SSLContext | None, handshake_timeout: float | None, shutdown_timeout: float | None
    ) -> TlsOptions | None:
        """Return the options of a server; None without TLS. Raises the TypeError and ValueErrors of asyncio for wrong
        arguments."""
        if isinstance(context, bool):
            raise TypeError("ssl argument must be an SSLContext or None")
        if context is None:
            _forbid_timeouts(handshake_timeout, shutdown_timeout)
            return None
        return cls(context, server_side=True, handshake_timeout=handshake_timeout, shutdown_timeout=shutdown_timeout)

    def transport(
        self,
        protocol: asyncio.BaseProtocol,
        handshake_ended: HandshakeEnded | None = None,
        *,
        upgrade: bool = False,
    ) -> TlsTransport:
        """Return the TLS transport of one connection, below `protocol`.

        Args:
            protocol: the application's protocol.
            handshake_ended: called with the outcome of the handshake.
            upgrade: whether `protocol` has had its connection_made().

        Raises ValueError for an invalid server_hostname or timeout, ssl.SSLError for a context of the other side.
        """
        context = self.context
        if context is None:
            context = ssl.create_default_context()
            context.check_hostname = bool(self.server_hostname)
        name = None if self.server_side else self.server_hostname or None
        return TlsTransport(
            protocol,
            TlsMachine(context, server_side=self.server_side, server_hostname=name),
            handshake_ended,
            upgrade=upgrade,
            handshake_timeout=self.handshake_timeout,
            shutdown_timeout=self.shutdown_timeout,
        )


def settles(waiter: asyncio.Future[None]) -> HandshakeEnded:
    """Return a function that sets the outcome of a handshake on `waiter`, unless that is done, such as cancelled."""

    def settle(error: BaseException | None) -> None:
        if waiter.done():
            return
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)

    return settle


def _forbid_timeouts(handshake_timeout: float | None, shutdown_timeout: float | None) -> None:
    if handshake_timeout is not None:
        raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
    if shutdown_timeout is not None:
        raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")
