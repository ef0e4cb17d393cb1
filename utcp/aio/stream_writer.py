"""asyncio's StreamWriter over utcp. It is not compiled, because mypyc would not call asyncio's `__del__`."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from utcp.aio.tls.upgrade import start_tls


class StreamWriter(asyncio.StreamWriter):
    """asyncio's StreamWriter with a start_tls() that also works under uvloop, and takes `ssl_shutdown_timeout` on every
    version."""

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        protocol: asyncio.BaseProtocol,
        reader: asyncio.StreamReader | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        # As in the base class, without an unused future.
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
        """Upgrade the connection to TLS. If the handshake fails, close the connection and raise the error.

        On a server, bytes that the reader already holds are the beginning of TLS. On a client they are plaintext that
        an attacker may have added, so the connection is aborted and ssl.SSLError is raised.
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
        # From now on a full reader pauses TLS, because close() can resume TLS to read the peer's close_notify.
        reader: Any = self._reader
        if reader is not None:
            reader._transport = self._transport  # noqa: SLF001
            if reader._paused:  # noqa: SLF001  # by data right after the handshake
                self._transport.pause_reading()
