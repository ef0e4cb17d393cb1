"""TLS 1.3 with half-close, as a transport above one connection."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from utcp.errors import ConnectionReset

FIRST_RECORD_TIMEOUT: Final = 5.0
"""Seconds that a client has for its first record. Until then a server has no TLS state for it."""

HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds that a peer then has for the rest of the handshake."""

ALERT_TIMEOUT: Final = 1.0
"""Seconds that the alert of a failed handshake has to be delivered. Then the connection is reset."""

HANDSHAKE_OCTETS: Final = 1 << 15
"""Octets that a peer may send before its handshake is complete: certificates of its own, with those of authorities."""

_RECORD: Final = 1 << 14
"""Octets that one TLS record carries at most (RFC 8446 5.1)."""

_ALERT: Final = 21
_HANDSHAKE: Final = 22
"""ContentTypes: the first octets of records (RFC 8446 5.1)."""

_HEADER: Final = 5
"""Octets of the header of a record: ContentType, version, length."""

_Ranges: TypeAlias = tuple[tuple[int, int], ...]
_CLIENT_HELLO: Final[_Ranges] = ((_HANDSHAKE, _HANDSHAKE), (3, 3), (1, 3), (0, 0x1F), (0, 0xFF), (1, 1))
"""The least and the most that each of a client's first octets can be (RFC 8446 5.1 and 4): the header of a record of
8,191 octets or less, and the message type ClientHello. OpenSSL's ClientHello has less than 2,000 octets."""

_SERVER_HELLO: Final[_Ranges] = ((_ALERT, _HANDSHAKE),)
"""The same of a server, which may refuse by an alert."""

Shaken: TypeAlias = Callable[[BaseException | None], None]


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """A protocol to the connection below, and the transport of `protocol` above.

    asyncio's own TLS has no half-close: it answers the peer's close_notify by closing. TLS 1.3 has it (RFC 8446 6.1),
    and so has this: `write_eof()` sends close_notify and then FIN, and goes on reading. FIN without close_notify is
    taken for what it may be, the work of somebody on the path, and resets the connection.

    `shaken(exc)` is called once: with None when the handshake is complete, after `protocol.connection_made()`; or with
    the reason why it failed, when the connection is lost. Then `protocol` is not told of the connection.
    `server_name` None: no name is sent or checked.

    A server makes its TLS state, which takes some 40 kB, when the client's first record is there as a whole and looks
    like a ClientHello.
    """

    __slots__ = (
        "_at_end",
        "_context",
        "_eof_written",
        "_error",
        "_first",
        "_handshake_octets",
        "_held",
        "_incoming",
        "_object",
        "_open",
        "_outgoing",
        "_paused",
        "_peer_closed",
        "_protocol",
        "_server_name",
        "_server_side",
        "_shaken",
        "_spoken",
        "_timeout",
        "_transport",
    )

    def __init__(
        self,
        protocol: asyncio.BaseProtocol,
        context: ssl.SSLContext,
        shaken: Shaken,
        *,
        server_side: bool,
        server_name: str | None = None,
    ) -> None:
        self._protocol: Any = protocol
        self._shaken: Shaken | None = shaken
        self._context = context
        self._server_side = server_side
        self._server_name = server_name
        self._first = b""
        """What a server has of the client's first record."""
        self._handshake_octets = 0
        """Received before the handshake was complete."""
        self._object: ssl.SSLObject
        self._incoming: ssl.MemoryBIO
        self._outgoing: ssl.MemoryBIO
        self._transport: Any = None
        self._timeout: asyncio.TimerHandle | None = None
        self._open = False
        self._paused = False
        self._peer_closed = False
        self._spoken = False
        self._eof_written = False
        self._at_end = False
        """The protocol above knows that nothing more will come."""
        self._held: list[bytes] = []
        """What was decrypted and waits for `resume_reading()`: of one read from below."""
        self._error: BaseException | None = None

    # --- what the connection below calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if self._server_side:
            self._limit(FIRST_RECORD_TIMEOUT)
        else:
            self._begin()
            self._shake_hands()

    def data_received(self, data: bytes) -> None:
        if self._peer_closed:
            return  # RFC 8446 6.1: what follows close_notify is ignored
        if self._error is not None:
            return  # there is no TLS state any more
        if not self._spoken:
            data = self._first_record(data)
            if not data:
                return
        self._incoming.write(data)
        if not self._open:
            self._handshake_octets += len(data)
            self._shake_hands()
            if not self._open and self._error is None and self._handshake_octets > HANDSHAKE_OCTETS:
                self._fail(ssl.SSLError(ssl.SSL_ERROR_SSL, "the TLS handshake is too long"))
        if self._open:
            self._decrypt()
            self._deliver()

    def eof_received(self) -> bool:
        if not self._peer_closed and self._error is None:
            self._fail(ConnectionReset("The connection ended without TLS's close_notify"))
        return True  # the protocol above has heard of it by close_notify

    def pause_writing(self) -> None:
        if self._open:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._open:
            self._protocol.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        error = self._error or exc
        if self._timeout is not None:
            self._timeout.cancel()
        # It is not settled yet if the handshake failed, or if the protocol's connection_made() raised an exception.
        self._settle(error or ConnectionReset("The connection ended in the TLS handshake"))
        if self._open:
            self._protocol.connection_lost(error)

    # --- what the protocol above calls

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def is_closing(self) -> bool:
        closing: bool = self._transport.is_closing()
        return closing

    def is_reading(self) -> bool:
        return not self._paused and not self.is_closing()

    def pause_reading(self) -> None:
        self._paused = True
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if self._held or self._peer_closed:
            # Before anything new from below, which is delivered in the next turn at the earliest.
            asyncio.get_running_loop().call_soon(self._deliver)
        self._transport.resume_reading()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[self._object.write(view) :]
        self._transport.write(self._outgoing.read())

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self._eof_written or self.is_closing():
            return
        try:
            self._object.unwrap()
        except ssl.SSLWantReadError:
            pass  # close_notify is written; the peer's is still to come
        self._flush()
        self._eof_written = True
        self._transport.write_eof()

    def get_write_buffer_size(self) -> int:
        size: int = self._transport.get_write_buffer_size()
        return size

    def close(self) -> None:
        """Of use once both have said that they have no more to say; before that it is an `abort()` to the peer."""
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    # --- TLS

    def _first_record(self, data: bytes) -> bytes:
        """Return what the peer has sent when its first record shows that it speaks TLS; b"" until then.

        A server waits for the whole record, and makes its TLS state then.
        """
        if self._server_side:
            data = self._first = self._first + data
        ranges = _CLIENT_HELLO if self._server_side else _SERVER_HELLO
        if not all(low <= octet <= high for octet, (low, high) in zip(data, ranges, strict=False)):
            # No alert: who does not speak TLS would take it for data.
            self._fail(ssl.SSLError(ssl.SSL_ERROR_SSL, "the other end does not speak TLS"))
            return b""
        if self._server_side:
            if len(data) < _HEADER or len(data) < _HEADER + int.from_bytes(data[3:_HEADER], "big"):
                return b""
            self._first = b""
            self._begin()
        self._spoken = True
        return data

    def _begin(self) -> None:
        """Make what the handshake needs."""
        self._limit(HANDSHAKE_TIMEOUT)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = self._context.wrap_bio(self._incoming, self._outgoing, self._server_side, self._server_name)

    def _limit(self, seconds: float) -> None:
        """Give the peer so many seconds from now on."""
        if self._timeout is not None:
            self._timeout.cancel()
        error = TimeoutError("the TLS handshake takes too long")
        self._timeout = asyncio.get_running_loop().call_later(seconds, self._fail, error)

    def _shake_hands(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._flush()  # the alert, which has the reason
            self._error = error.with_traceback(None)  # the traceback refers to the TLS state
            del self._object, self._incoming, self._outgoing
            if self._timeout is not None:
                self._timeout.cancel()
            # The peer may have closed its window. Until the connection is lost, it counts as a handshake under way.
            self._timeout = asyncio.get_running_loop().call_later(ALERT_TIMEOUT, self._transport.abort)
            self._transport.close()
            return
        self._flush()
        self._open = True
        self._protocol.connection_made(self)
        self._settle(None)

    def _decrypt(self) -> None:
        """Into `_held`. The records that are complete are always all decrypted: OpenSSL wants to see nothing else where
        it looks for the peer's close_notify."""
        try:
            while not self._peer_closed:
                data = self._object.read(_RECORD)
                if data:
                    self._held.append(data)
                else:
                    self._peer_closed = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._peer_closed = True
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._flush()

    def _deliver(self) -> None:
        if self._held and not self._paused and not self.is_closing():
            data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
            self._held.clear()
            self._protocol.data_received(data)
        if self._peer_closed and not self._at_end and not self._paused and not self.is_closing():
            # Not only at the FIN: there are those who send theirs when they have our close_notify.
            self._at_end = True
            if not self._protocol.eof_received():
                self.close()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data and not self._eof_written:  # OpenSSL may still want to answer what it reads
            self._transport.write(data)

    def _settle(self, error: BaseException | None) -> None:
        shaken, self._shaken = self._shaken, None
        if self._timeout is not None:
            self._timeout.cancel()
        if shaken is not None:
            shaken(error)

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._transport.abort()
