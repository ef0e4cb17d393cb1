"""asyncio's own streams over utcp."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeAlias

from utcp.aio.tls import start_tls

DEFAULT_LIMIT: Final = 65536
"""Octets that a StreamReader buffers before it pauses its transport, by half (asyncio's default)."""

ClientConnected: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]
StreamFactory: TypeAlias = Callable[[], asyncio.StreamReaderProtocol]


class StreamWriter(asyncio.StreamWriter):
    """asyncio's, whose start_tls() works under uvloop too, and takes `ssl_shutdown_timeout` on every version."""

    async def start_tls(
        self,
        sslcontext: ssl.SSLContext,
        *,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        """Upgrade the connection to TLS. Raises what the handshake raises; the connection is closed then."""
        protocol: Any = self._protocol  # type: ignore[attr-defined]  # private to asyncio's writer, as what follows
        await self.drain()
        self._transport = await start_tls(
            self.transport,
            protocol,
            sslcontext,
            server_side=protocol._client_connected_cb is not None,  # noqa: SLF001
            server_hostname=server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        if hasattr(protocol, "_replace_transport"):  # Python 3.13
            protocol._replace_transport(self._transport)  # noqa: SLF001
        else:
            protocol._replace_writer(self)  # noqa: SLF001


async def open_streams(
    connect: Callable[[Callable[[], asyncio.StreamReaderProtocol]], Awaitable[tuple[asyncio.Transport, Any]]],
    limit: int,
) -> tuple[asyncio.StreamReader, StreamWriter]:
    """A reader and a writer on the connection that `connect(protocol_factory)` opens."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await connect(lambda: protocol)
    return reader, StreamWriter(transport, protocol, reader, loop)


def stream_factory(client_connected_cb: ClientConnected, limit: int) -> StreamFactory:
    """The protocol factory of a server that calls `client_connected_cb(reader, writer)` for each connection."""
    loop = asyncio.get_running_loop()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Awaitable[None] | None:
        # asyncio's protocol makes the writer itself. A second one is no way out: the first would close the transport
        # when it is collected.
        writer.__class__ = StreamWriter
        handling = client_connected_cb(reader, writer)
        return _closed_when_cancelled(handling, writer) if asyncio.iscoroutine(handling) else handling

    def factory() -> asyncio.StreamReaderProtocol:
        reader = asyncio.StreamReader(limit=limit, loop=loop)
        return asyncio.StreamReaderProtocol(reader, connected, loop=loop)

    return factory


async def _closed_when_cancelled(handling: Coroutine[Any, Any, None], writer: asyncio.StreamWriter) -> None:
    """As asyncio does from 3.12.3 on. Before, the connection stays open, and Server.wait_closed() waits for ever."""
    try:
        await handling
    except asyncio.CancelledError:
        writer.close()
        raise
