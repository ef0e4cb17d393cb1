"""TLS by asyncio's own SSLProtocol, which runs over any transport under any loop."""

from __future__ import annotations

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from typing import Any, Final

from utcp.aio.containment import soon

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

    def __init__(
        self, loop: asyncio.AbstractEventLoop, app_protocol: asyncio.BaseProtocol, tls: Tls, *, upgrade: bool = False
    ) -> None:
        """`upgrade`: the protocol has had its connection_made(), and a caller waits for a server's handshake as well.

        No caller waits for the other handshakes of servers: SSLProtocol reports their failures itself.
        """
        self._waiter: asyncio.Future[None] | None = loop.create_future() if upgrade or not tls.server_side else None
        # Wider than annotated: the context and the waiter may be None, the timeouts floats.
        make: Any = SSLProtocol
        self.protocol: SSLProtocol = make(
            loop,
            app_protocol,
            tls.context,
            self._waiter,
            tls.server_side,
            tls.server_hostname,
            call_connection_made=not upgrade,
            ssl_handshake_timeout=tls.handshake_timeout,
            ssl_shutdown_timeout=tls.shutdown_timeout,
        )
        # asyncio itself hands it out so; there is no public name.
        self.transport: asyncio.Transport = self.protocol._app_transport  # noqa: SLF001

    async def handshake(self, below: asyncio.WriteTransport | None = None) -> None:
        """Wait until the handshake is complete, unless it is a server's that no caller waits for.

        Raises the error of the handshake, and closes `below`, by default the transport above TLS.
        """
        if self._waiter is None:
            return
        try:
            await self._waiter
        except BaseException:
            (below or self.transport).close()
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

    If `protocol` is that of a StreamReader, `take_read_ahead()` decides on the octets that the reader holds. Any other
    protocol that keeps received octets has to do so itself. On a client, it must not treat them as received by TLS.
    """
    if not isinstance(sslcontext, ssl.SSLContext):
        raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}")
    below: Any = transport
    if not getattr(below, "_start_tls_compatible", False):
        raise TypeError(f"transport {transport!r} is not supported by start_tls()")
    if transport.is_closing():
        raise ConnectionAbortedError("Connection closed before the TLS handshake")  # asyncio's waits for ever
    loop = asyncio.get_running_loop()
    tls = Tls(
        sslcontext,
        server_side=server_side,
        server_hostname=server_hostname,
        handshake_timeout=ssl_handshake_timeout,
        shutdown_timeout=ssl_shutdown_timeout,
    )
    secured = Secured(loop, protocol, tls, upgrade=True)
    # No octets may reach SSLProtocol before its connection_made(), which the loop has to call, and not this coroutine.
    below.pause_reading()
    take_read_ahead(secured.protocol, below)
    below.set_protocol(secured.protocol)
    made = soon(loop, secured.protocol.connection_made, below)
    resumed = soon(loop, below.resume_reading)
    try:
        await secured.handshake(below)
    except BaseException:
        made.cancel()
        resumed.cancel()
        raise
    return secured.transport


def take_read_ahead(tls: SSLProtocol, below: asyncio.WriteTransport) -> None:
    """Decide on the octets that the application's StreamReader holds when TLS begins on its connection.

    They arrived before the handshake, so a server's belong to it: the client has sent its ClientHello together with the
    line before it, and that goes to TLS. On a client they are plaintext, because a server speaks second in TLS. An
    attacker on the path can add such octets, and the application would take them for authenticated ones
    (CVE-2011-0411 is this fault in mail servers). They are dropped, the connection is aborted, and ssl.SSLError is
    raised: the same class as when the octets come a little later and the handshake fails at them.

    asyncio leaves both in the reader; since February 2026 (issue 142352) it gives a server's to TLS.
    """
    private: Any = tls
    protocol = private._app_protocol  # noqa: SLF001
    reader: Any = (
        getattr(protocol, "_stream_reader", None) if isinstance(protocol, asyncio.StreamReaderProtocol) else None
    )
    if reader is None or not reader._buffer:  # noqa: SLF001
        return
    held = bytes(reader._buffer)  # noqa: SLF001
    reader._buffer.clear()  # noqa: SLF001
    if private._server_side:  # noqa: SLF001
        private._incoming.write(held)  # noqa: SLF001
        return
    error = ssl.SSLError(ssl.SSL_ERROR_SSL, f"the peer sent {len(held)} octets of plaintext before the TLS handshake")
    private._app_transport._closed = True  # noqa: SLF001  # no caller has it, so it must not warn when it is collected
    reader.set_exception(error)
    below.abort()
    raise error


def _forbid_timeouts(handshake_timeout: float | None, shutdown_timeout: float | None) -> None:
    if handshake_timeout is not None:
        raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
    if shutdown_timeout is not None:
        raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")
