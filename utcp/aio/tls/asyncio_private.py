# ruff: noqa: SLF001
"""What TLS has to know of asyncio's private members: of asyncio's own TLS above a transport of ours, and of what a
StreamReader holds.

`loop.start_tls()` of asyncio's loops makes an SSLProtocol of its own, whatever transport it is given. The transport
below must know the application behind it, and must close it. Neither has a public name.
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
    """A view of asyncio's TLS, with the methods of TlsTransport that a transport below calls."""

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
        """Take the first octets of the peer's TLS. To be called before connection_made()."""
        self._tls._incoming.write(data)

    def close(self) -> None:
        """As close() of its transport. A second call does nothing."""
        self._tls._start_shutdown()

    def get_write_buffer_size(self) -> int:
        """Return how many octets it holds back because the transport below has asked for a pause."""
        size: int = self._tls._get_write_buffer_size()
        return size

    def silence(self) -> None:
        """Keep its transport from warning that it was not closed, when it is collected."""
        self._tls._app_transport._closed = True

    def keep_extra_info(self, name: str, value: object) -> None:
        """Have its transport answer get_extra_info(name) after the end, when it has let go of the transport below."""
        self._tls._extra[name] = value


def take_read_ahead(tls: Layer, below: asyncio.WriteTransport) -> None:
    """Decide on the octets that the application's StreamReader holds when TLS begins on its connection.

    They arrived before the handshake, so a server's belong to it: the client has sent its ClientHello together with the
    line before it, and that goes to TLS. On a client they are plaintext, because a server speaks second in TLS. An
    attacker on the path can add such octets, and the application would take them for authenticated ones
    (CVE-2011-0411 is this fault in mail servers). They are dropped, the connection is aborted, and ssl.SSLError is
    raised: the same class as when the octets come a little later and the handshake fails at them.

    asyncio leaves both in the reader; since February 2026 (issue 142352) it gives a server's to TLS.
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
    error = ssl.SSLError(ssl.SSL_ERROR_SSL, f"the peer sent {len(held)} octets of plaintext before the TLS handshake")
    if isinstance(tls, AsyncioTls):
        tls.silence()  # no caller has its transport
    reader.set_exception(error)
    below.abort()
    raise error
