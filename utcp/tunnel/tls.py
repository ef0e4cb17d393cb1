"""TLS with unauthenticated peers, with bounds on their cost before the handshake is complete."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, TypeAlias

from utcp.aio.tls.machine import TlsMachine
from utcp.aio.tls.transport import HandshakeEnded, TlsTransport

FIRST_RECORD_TIMEOUT: Final = 5.0
"""Seconds within which a client must send its first record. Until then a server has no TLS state for it."""

HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds for the rest of the handshake after that."""

ALERT_TIMEOUT: Final = 1.0
"""Seconds for delivery of the alert of a failed handshake, after which the connection is reset."""

HANDSHAKE_OCTETS: Final = 1 << 15
"""Maximum number of octets from a peer before its handshake is complete, for its certificate chain."""

_ALERT: Final = 21
_HANDSHAKE: Final = 22
"""ContentTypes, the first octets of records (RFC 8446 5.1)."""

_HEADER: Final = 5
"""Octets of a record's header: ContentType, version, length."""

_Ranges: TypeAlias = tuple[tuple[int, int], ...]
_CLIENT_HELLO: Final[_Ranges] = ((_HANDSHAKE, _HANDSHAKE), (3, 3), (1, 3), (0, 0x1F), (0, 0xFF), (1, 1))
"""Ranges of a client's first octets (RFC 8446 5.1 and 4): the header of a record of at most 8,191 octets, and the
message type ClientHello. OpenSSL's ClientHello has fewer than 2,000 octets."""

_SERVER_HELLO: Final[_Ranges] = ((_ALERT, _HANDSHAKE),)
"""Range of a server's first octet, which may belong to an alert."""


class GuardedTls(TlsTransport):
    """TLS of a tunnel and of `utcp nc`, with half-close and with time and size limits on the handshake.

    A server creates its TLS state, which takes some 40 kB, only after a complete first record that looks like a
    ClientHello. A failed handshake sends its alert, which contains the reason.

    Args:
        protocol: the protocol above TLS. After a failed handshake none of its methods is called.
        context: the TLS context.
        handshake_ended: called once: with None after `protocol.connection_made()` when the handshake is complete, or
            with the reason of the failure when the connection is lost.
        server_side: whether this end is the server.
        server_name: the name to send and verify; None: none.
    """

    __slots__ = ("_context", "_first", "_handshake_octets", "_is_server", "_peer_speaks_tls", "_server_name")

    def __init__(
        self,
        protocol: asyncio.BaseProtocol,
        context: ssl.SSLContext,
        handshake_ended: HandshakeEnded,
        *,
        server_side: bool,
        server_name: str | None = None,
    ) -> None:
        super().__init__(protocol, None, handshake_ended, half_close=True, handshake_timeout=HANDSHAKE_TIMEOUT)
        self._context = context
        self._is_server = server_side
        self._server_name = server_name
        self._first = b""
        """A server's received part of the client's first record."""
        self._peer_speaks_tls = False
        """Whether the peer's first record looks like TLS."""
        self._handshake_octets = 0
        """Octets received before the handshake was complete."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._is_server:
            self._below = transport
            self._limit(FIRST_RECORD_TIMEOUT, self._handshake_timed_out)
        else:
            self._begin(transport)

    def data_received(self, data: bytes) -> None:
        if not self._peer_speaks_tls and self._error is None:
            data = self._first_record(data)
            if not data:
                return
        super().data_received(data)
        if not self._open and self._error is None:
            self._handshake_octets += len(data)
            if self._handshake_octets > HANDSHAKE_OCTETS:
                self._force_close(ssl.SSLError(ssl.SSL_ERROR_SSL, "the TLS handshake is too long"))

    def _first_record(self, data: bytes) -> bytes:
        """Return the received data once the peer's first record looks like TLS; b"" until then.

        A server waits for the whole record before it creates its TLS state.
        """
        if self._is_server:
            data = self._first = self._first + data
        ranges = _CLIENT_HELLO if self._is_server else _SERVER_HELLO
        if not all(low <= octet <= high for octet, (low, high) in zip(data, ranges, strict=False)):
            # No alert, because a peer that does not speak TLS would take it for data.
            self._force_close(ssl.SSLError(ssl.SSL_ERROR_SSL, "the other end does not use TLS"))
            return b""
        if self._is_server:
            if len(data) < _HEADER or len(data) < _HEADER + int.from_bytes(data[3:_HEADER], "big"):
                return b""
            self._first = b""
            self._begin(self._below)
        self._peer_speaks_tls = True
        return data

    def _begin(self, transport: asyncio.BaseTransport) -> None:
        """Create the TLS state and start the handshake."""
        self._machine = TlsMachine(self._context, server_side=self._is_server, server_hostname=self._server_name)
        super().connection_made(transport)

    def _handshake_failed(self, error: ssl.SSLError) -> None:
        if self._machine is not None:
            self._flush(self._machine)  # sends the alert
        self._error = error
        self._machine = None
        # The peer may have closed its window. Until the connection is lost, it counts as a handshake in progress.
        self._limit(ALERT_TIMEOUT, self._below.abort)
        self._below.close()

    def _handshake_timed_out(self) -> None:
        self._force_close(TimeoutError("the TLS handshake takes too long"))
