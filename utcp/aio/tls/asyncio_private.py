# ruff: noqa: SLF001
"""Private members of asyncio that TLS needs: those of asyncio's TLS above a utcp transport, and of StreamReader.

`loop.start_tls()` of asyncio's loops creates an SSLProtocol above any transport. The transport below needs access to
the application's protocol above it, and must close it. asyncio has no public interface for either.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from typing import Any, Protocol


class Layer(Protocol):
    """TLS between a connection and its application: a TlsTransport or an AsyncioTls."""

    @property
    def server_side(self) -> bool: ...

    def get_protocol(self) -> asyncio.BaseProtocol: ...

    def feed(self, data: bytes) -> None: ...


class AsyncioTls:
    """asyncio's TLS, with those methods of TlsTransport that a transport below calls."""

    __slots__ = ("_tls",)

    def __init__(self, tls: SSLProtocol) -> None:
        self._tls: Any = tls

    @property
    def server_side(self) -> bool:
        server_side: bool = self._tls._server_side
        return server_side

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol above."""
        protocol: asyncio.BaseProtocol = self._tls._app_protocol
        return protocol

    def feed(self, data: bytes) -> None:
        """Accept the first bytes of the peer's TLS. Call it before connection_made()."""
        self._tls._incoming.write(data)

    def close(self) -> None:
        """Close as its transport's close() does. A second call does nothing."""
        self._tls._start_shutdown()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes it holds back while the transport below has paused writing."""
        size: int = self._tls._get_write_buffer_size()
        return size

    def silence(self) -> None:
        """Suppress its transport's warning about unclosed transports."""
        self._tls._app_transport._closed = True

    def keep_extra_info(self, name: str, value: object) -> None:
        """Store a value for get_extra_info(name) of its transport after the end, when the transport below is gone."""
        self._tls._extra[name] = value


def take_read_ahead(tls: Layer, below: asyncio.WriteTransport) -> None:
    """Handle the bytes that the application's StreamReader holds when TLS begins on its connection.

    On a server, these bytes are passed to TLS, because the client has sent its ClientHello together with the line
    before it. On a client they are plaintext, because the server sends second in TLS. An attacker on the path can add
    such bytes, and the application would treat them as authenticated (CVE-2011-0411 is this fault in mail servers). So
    they are dropped, the connection is aborted, and ssl.SSLError is raised. If such bytes arrive a little later, the
    handshake fails with an error of the same class.

    asyncio leaves them in the reader. Since February 2026 (issue 142352), it passes those of a server to TLS.
    """
    protocol = tls.get_protocol()
    reader: Any = (
        getattr(protocol, "_stream_reader", None) if isinstance(protocol, asyncio.StreamReaderProtocol) else None
    )
    if reader is None or not reader._buffer:
        return
    held = bytes(reader._buffer)
    reader._buffer.clear()
    if tls.server_side:
        tls.feed(held)
        return
    error = ssl.SSLError(ssl.SSL_ERROR_SSL, f"the peer sent {len(held)} bytes of plaintext before the TLS handshake")
    if isinstance(tls, AsyncioTls):
        tls.silence()  # no caller can close its transport
    reader.set_exception(error)
    below.abort()
    raise error
