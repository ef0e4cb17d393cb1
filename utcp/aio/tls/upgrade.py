"""`start_tls()`: TLS on a connection that is open."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from utcp.aio.containment import soon
from utcp.aio.tls.asyncio_private import take_read_ahead
from utcp.aio.tls.options import TlsOptions, settles


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
    (ssl.SSLError, ConnectionResetError, ConnectionAbortedError); the connection is closed then, and `protocol` gets
    connection_lost() with the same error.

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
    options = TlsOptions(
        sslcontext,
        server_side=server_side,
        server_hostname=server_hostname,
        handshake_timeout=ssl_handshake_timeout,
        shutdown_timeout=ssl_shutdown_timeout,
    )
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()
    tls = options.transport(protocol, settles(waiter), upgrade=True)
    # No octets may arrive before connection_made(), which the loop has to call, and not this coroutine.
    below.pause_reading()
    take_read_ahead(tls, below)
    below.set_protocol(tls)
    made = soon(loop, tls.connection_made, below)
    resumed = soon(loop, below.resume_reading)
    try:
        await waiter
    except BaseException:
        below.close()
        made.cancel()
        resumed.cancel()
        raise
    return tls
