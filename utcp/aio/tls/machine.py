"""TLS over memory: octets of the connection and plaintext go in and out. No socket, no clock, no event loop."""

from __future__ import annotations

import ssl
from collections import deque
from typing import Final

_RECORD: Final = 1 << 14
"""Octets of plaintext that one TLS record carries at most (RFC 8446 5.1)."""

_AGAIN: Final = (ssl.SSLWantReadError, ssl.SSLSyscallError)
"""OpenSSL needs more octets from the peer before it can go on."""


class TlsMachine:
    """One side of a TLS connection, driven by its caller.

    `feed()` takes octets that the connection has delivered. After each other call, `take()` returns the octets that the
    connection has to carry. `handshake()`, `read()`, `write()` and `close()` raise ssl.SSLError when TLS fails. Then
    `take()` may return an alert.
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
        """`server_hostname`: for a client; None if no name is sent or checked.

        Raises ValueError for a name that cannot be one, or that is missing where the context checks it; ssl.SSLError
        for a context of the other side.
        """
        self.context = context
        self.server_side = server_side
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.object = context.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname)
        self.peer_closed = False
        """True once the peer's close_notify has been read: it sends no more data (RFC 8446 6.1)."""
        self.close_notify_sent = False
        self._backlog: deque[memoryview] = deque()
        """Plaintext that has to wait: with TLS 1.2 for the end of a handshake that the server has started again."""
        self.backlog_size = 0
        """Octets in the backlog."""

    def feed(self, data: bytes) -> None:
        """Take octets that the connection has delivered."""
        self._incoming.write(data)

    def take(self) -> bytes:
        """Return the octets that the connection has to carry, and forget them."""
        return self._outgoing.read()

    def handshake(self) -> bool:
        """Go on with the handshake. Return True when it is complete."""
        try:
            self.object.do_handshake()
        except _AGAIN:
            return False
        return True

    def read(self) -> bytes:
        """Decrypt every complete record, and return the plaintext.

        No record may be left for later, because `close()` fails when one precedes the peer's close_notify.
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
        except ssl.SSLZeroReturnError:  # instead of b"" when our own close_notify has been sent
            self.peer_closed = True
        if self._backlog:
            self.write_backlog()
        return plaintext[0] if len(plaintext) == 1 else b"".join(plaintext)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt `data`. What OpenSSL does not accept now waits in the backlog until `read()`."""
        view = memoryview(bytes(data) if type(data) is memoryview else data)  # one of another format has no octets
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
        """Encrypt what waits in the backlog, as far as OpenSSL accepts it now."""
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
        """Send close_notify, once, after the backlog. Return True if the peer's close_notify has arrived as well.

        Raises ssl.SSLError when the peer's close_notify is awaited, and data comes instead.
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
