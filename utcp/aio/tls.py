"""TLS by asyncio's own SSLProtocol, which runs over any transport under any loop."""

from __future__ import annotations

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from typing import Any, Final

_CLOSED_IN_HANDSHAKE: Final = "Connection closed during the TLS handshake"


class Tls:
    """What `ssl=` and its companions ask for. `context` None: asyncio's default for a client."""

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
    ) -> Tls | None:
        """None without TLS. Raises asyncio's ValueErrors for what does not go together."""
        if not context:
            if server_hostname is not None:
                raise ValueError("server_hostname is only meaningful with ssl")
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
    ) -> Tls | None:
        """None without TLS. Raises asyncio's TypeError and ValueErrors for what does not go together."""
        if isinstance(context, bool):
            raise TypeError("ssl argument must be an SSLContext or None")
        if context is None:
            _forbid_timeouts(handshake_timeout, shutdown_timeout)
            return None
        return cls(context, server_side=True, handshake_timeout=handshake_timeout, shutdown_timeout=shutdown_timeout)


class Secured:
    """TLS on one connection: `protocol` for the transport below, `transport` for the application above."""

    __slots__ = ("_waiter", "protocol", "transport")

    def __init__(self, loop: asyncio.AbstractEventLoop, app_protocol: asyncio.BaseProtocol, tls: Tls) -> None:
        # A server's handshakes have nobody who waits for them: SSLProtocol reports their failures itself.
        self._waiter: asyncio.Future[None] | None = None if tls.server_side else loop.create_future()
        # Wider than annotated: the context and the waiter may be None, the timeouts floats.
        make: Any = SSLProtocol
        self.protocol: SSLProtocol = make(
            loop,
            app_protocol,
            tls.context,
            self._waiter,
            tls.server_side,
            tls.server_hostname,
            ssl_handshake_timeout=tls.handshake_timeout,
            ssl_shutdown_timeout=tls.shutdown_timeout,
        )
        # asyncio itself hands it out so; there is no public name.
        self.transport: asyncio.Transport = self.protocol._app_transport  # noqa: SLF001

    async def handshake(self) -> None:
        """Wait until a client's handshake is complete. Raises what it failed with; the connection is closed then."""
        if self._waiter is None:
            return
        try:
            await self._waiter
        except BaseException:
            self.transport.close()
            raise
        # SSLProtocol is content, too, when our own side closes the connection before the handshake is complete.
        if self.transport.get_extra_info("ssl_object") is None:
            raise ConnectionAbortedError(_CLOSED_IN_HANDSHAKE)


async def start_tls(
    transport: asyncio.WriteTransport,
    protocol: asyncio.BaseProtocol,
    sslcontext: ssl.SSLContext,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
) -> asyncio.Transport:
    """asyncio's `loop.start_tls()` for a utcp transport, under any loop: uvloop's own takes only uvloop's transports.

    Returns the transport to use from now on; `protocol` gets the decrypted data. Raises what the handshake raises
    (ssl.SSLError, ConnectionResetError, ConnectionAbortedError); the connection is closed then.
    """
    loop: Any = asyncio.get_running_loop()
    upgraded: asyncio.Transport | None = await asyncio.BaseEventLoop.start_tls(
        loop,
        transport,
        protocol,
        sslcontext,
        server_side=server_side,
        server_hostname=server_hostname,
        ssl_handshake_timeout=ssl_handshake_timeout,
        ssl_shutdown_timeout=ssl_shutdown_timeout,
    )
    if upgraded is None:
        raise ConnectionAbortedError(_CLOSED_IN_HANDSHAKE)
    return upgraded


def _forbid_timeouts(handshake_timeout: float | None, shutdown_timeout: float | None) -> None:
    if handshake_timeout is not None:
        raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
    if shutdown_timeout is not None:
        raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")
