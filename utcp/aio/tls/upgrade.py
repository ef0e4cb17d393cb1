"""`start_tls()`: the upgrade of an open connection to TLS."""

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
    """Upgrade a utcp transport to TLS, as `loop.start_tls()` of asyncio does.

    This works with any loop, while uvloop's own `start_tls()` accepts only uvloop's transports.

    Returns the transport to use from now on; `protocol` gets the decrypted data. If the handshake fails, the connection
    is closed, the error is raised (ssl.SSLError, ConnectionResetError, ConnectionAbortedError), and `protocol` gets
    connection_lost() with it.

    If `protocol` belongs to a StreamReader, `take_read_ahead()` handles the bytes that the reader holds. Any other
    protocol that keeps received bytes must handle them itself. On a client, it must not treat them as received by TLS.
    """
    if not isinstance(sslcontext, ssl.SSLContext):
        raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}")
    below: Any = transport
    if not getattr(below, "_start_tls_compatible", False):
        raise TypeError(f"transport {transport!r} is not supported by start_tls()")
    if transport.is_closing():
        raise ConnectionAbortedError("Connection closed before the TLS handshake")  # asyncio waits for ever
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
    # No data may arrive before connection_made(), which must be called by the loop and not within this coroutine.
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
