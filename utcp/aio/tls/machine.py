"""TLS in memory, without a socket, a clock or an event loop."""

from __future__ import annotations

import ssl
from collections import deque
from typing import Final

_RECORD: Final = 1 << 14
"""Maximum plaintext of a TLS record, octets (RFC 8446 5.1)."""

_AGAIN: Final = (ssl.SSLWantReadError, ssl.SSLSyscallError)
"""Errors that mean that OpenSSL needs more octets from the peer."""


class TlsMachine:
    """One side of a TLS connection, without input and output of its own.

    `feed()` accepts the octets received by the connection. After each other call, `take()` returns the octets to send.
    `handshake()`, `read()`, `write()` and `close()` raise ssl.SSLError if TLS fails. Then `take()` may return an alert.
    """

    __slots__ = (
        "_backlog",
        "_incoming",
        "_outgoing",
        "backlog_size",
        "close_notify_sent",
        "context",
        "object",
        "peer_closed",
        "server_side",
    )

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None = None) -> None:
        """Create one side of a connection.

        Args:
            context: the TLS context.
            server_side: whether this is the server.
            server_hostname: the name that a client sends and checks, or None.

        Raises ValueError if the name is invalid, or if it is missing and the context checks it; ssl.SSLError for a
        context of the other side.
        """
        self.context = context
        self.server_side = server_side
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.object = context.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname)
        self.peer_closed = False
        """Whether the peer's close_notify has been read, after which it sends no data (RFC 8446 6.1)."""
        self.close_notify_sent = False
        self._backlog: deque[memoryview] = deque()
        """Plaintext that waits, with TLS 1.2, for the end of a renegotiation that the server has started."""
        self.backlog_size = 0
        """Size of the backlog, octets."""

    def feed(self, data: bytes) -> None:
        """Accept octets that the connection has received."""
        self._incoming.write(data)

    def take(self) -> bytes:
        """Return the octets to send, each only once."""
        return self._outgoing.read()

    def handshake(self) -> bool:
        """Continue the handshake. Return whether it is complete."""
        try:
            self.object.do_handshake()
        except _AGAIN:
            return False
        return True

    def read(self) -> bytes:
        """Decrypt every complete record, and return the plaintext.

        No record may be left unread, because `close()` fails if one precedes the peer's close_notify.
        """
        read, incoming = self.object.read, self._incoming
        plaintext: list[bytes] = []
        try:
            # One call returns a whole record, so that OpenSSL itself holds no plaintext when `incoming` is empty.
            while incoming.pending:
                data = read(_RECORD)
                if not data:
                    self.peer_closed = True
                    break
                plaintext.append(data)
        except _AGAIN:
            pass
        except ssl.SSLZeroReturnError:  # instead of b"" after our own close_notify
            self.peer_closed = True
        if self._backlog:
            self.write_backlog()
        return plaintext[0] if len(plaintext) == 1 else b"".join(plaintext)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt `data`. The part that OpenSSL does not accept now waits in the backlog until `read()`."""
        view = memoryview(bytes(data) if type(data) is memoryview else data)  # a memoryview may have another format
        if not self._backlog:
            try:
                while view:
                    view = view[self.object.write(view) :]
            except _AGAIN:
                pass
        if view:
            self._backlog.append(memoryview(bytes(view)))  # the caller may change its buffer
            self.backlog_size += len(view)

    def write_backlog(self) -> None:
        """Encrypt as much of the backlog as OpenSSL accepts now."""
        backlog = self._backlog
        try:
            while backlog:
                written = self.object.write(backlog[0])
                self.backlog_size -= written
                backlog[0] = backlog[0][written:]
                if not backlog[0]:
                    backlog.popleft()
        except _AGAIN:
            pass

    def close(self) -> bool:
        """Send close_notify, once, after the backlog. Return whether the peer's close_notify has also arrived.

        Raises ssl.SSLError if data arrives instead of the peer's close_notify.
        """
        if self.close_notify_sent and self.peer_closed:
            return True
        if self._backlog:
            self.write_backlog()
        try:
            self.object.unwrap()
        except _AGAIN:
            self.close_notify_sent = True
            return self.peer_closed
        self.close_notify_sent = self.peer_closed = True
        return True
