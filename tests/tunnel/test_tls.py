"""TLS above a connection, met with what no tunnel of ours would send."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from tests.tunnel.ends import KEY
from utcp.tunnel.credentials import key_context
from utcp.tunnel.tls import GuardedTls


class Below(asyncio.Transport):
    """The connection below: keeps what it is given, and refuses what a transport must refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.ended = False
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.ended:
            raise RuntimeError("Cannot call write() after write_eof()")
        self.written += data

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    def resume_reading(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class Above(asyncio.Protocol):
    def __init__(self) -> None:
        self.received = bytearray()
        self.ends = 0

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> bool:
        self.ends += 1
        return True


class Ends:
    """A GuardedTls for the server, and a client of the library's, after their handshake."""

    def __init__(self) -> None:
        self.below, self.above = Below(), Above()
        self.server: Any = GuardedTls(self.above, key_context(KEY, server_side=True), self.shaken, server_side=True)
        self.failure: Any = "no handshake yet"
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = key_context(KEY, server_side=False).wrap_bio(self._incoming, self._outgoing)
        self.server.connection_made(self.below)
        while self.failure == "no handshake yet":
            try:
                self.client.do_handshake()
            except ssl.SSLWantReadError:
                pass
            self.carry()
        assert self.failure is None

    def shaken(self, error: BaseException | None) -> None:
        self.failure = error

    def said(self) -> bytes:
        """What the client has put on the wire since."""
        return self._outgoing.read()

    def carry(self) -> None:
        """All that either has said, to the other."""
        if data := self.said():
            self.server.data_received(data)
        self._incoming.write(self.below.written)
        self.below.written.clear()

    def client_ends(self) -> None:
        with pytest.raises(ssl.SSLWantReadError):
            self.client.unwrap()
        self.carry()


async def test_what_follows_the_close_notify_is_not_kept() -> None:
    """It must be ignored (RFC 8446 6.1): kept, it would fill the memory."""
    ends = Ends()
    ends.client.write(b"all I have to say")
    ends.client_ends()
    assert (bytes(ends.above.received), ends.above.ends) == (b"all I have to say", 1)
    for _ in range(10):
        ends.server.data_received(bytes(1 << 16))
    assert ends.server._machine._incoming.pending == 0
    assert not ends.below.closed
    ends.server.write(b"and I")
    ends.carry()
    assert ends.client.read() == b"and I"


async def test_the_end_is_written_once() -> None:
    """asyncio's own transports may report one end of a user's twice: when they are paused and resumed after it."""
    ends = Ends()
    ends.server.write_eof()
    ends.server.write_eof()
    ends.carry()
    assert ends.client.read() == b""
    assert ends.below.ended


async def test_nothing_is_written_after_the_end() -> None:
    """OpenSSL answers the peer's KeyUpdate even then; ssl has no way to send one."""
    ends = Ends()
    ends.server.write_eof()
    ends.carry()
    ends.server._machine._outgoing.write(b"as if it were an answer")
    ends.client.write(b"go on")
    ends.carry()
    assert ends.above.received == b"go on"
    assert not ends.below.closed


async def test_an_end_after_a_failure_is_not_written() -> None:
    """Between abort() and connection_lost() the user's end may come."""
    ends = Ends()
    ends.client.write(b"a record")
    broken = bytearray(ends.said())
    broken[-1] ^= 1
    ends.server.data_received(bytes(broken))
    assert ends.below.closed
    ends.server.write_eof()
    assert not ends.below.ended
