"""The asyncio transport of one connection."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from asyncio.log import logger
from asyncio.sslproto import SSLProtocol
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any, Final, Protocol

from utcp.aio.address import with_port
from utcp.aio.containment import soon
from utcp.aio.driver import Driver
from utcp.aio.flow_control import LOGGED_DROPS
from utcp.aio.sendfile import send_file, sendfile_mode
from utcp.aio.socket_facade import ConnectionSocket
from utcp.aio.streams import StreamProtocol
from utcp.aio.tls.asyncio_private import AsyncioTls, take_read_ahead
from utcp.aio.tls.transport import TlsTransport
from utcp.aio.transport_base import BaseTransport, writable_view
from utcp.errors import InvalidState
from utcp.tcp.connection import Connection
from utcp.tcp.connection.info import ConnectionInfo
from utcp.tcp.event import CONNECTED, ENDED, PEER_CLOSED, READABLE, TROUBLE, WRITABLE
from utcp.tcp.send import SMALL

SHARE: Final = 768 * 1024
"""Bytes that a stream reader takes in one turn of the loop, after a chunk of `MAX_READ`. With more, the other
connections would wait longer, and so would the sender for its ACK, whose round trip and so the window would grow."""

MAX_READ: Final = 256 * 1024
"""Octets that a protocol gets at once, as many as asyncio reads from a socket at once."""

CLOSE_NOTIFY_GRACE: Final = 1.0
"""Seconds that a closing server or endpoint waits for the peers' close_notify (TLS) before it sends FIN, or half of its
total time if that is less."""

_INCOMING: Final = READABLE | PEER_CLOSED
_RARE: Final = WRITABLE | TROUBLE

_EXTRA_INFO: Final = frozenset({"peername", "sockname", "udp_peername", "udp_sockname", "socket", "utcp"})


class Owner(Protocol):
    """The server that has accepted the connection of a transport."""

    def detach(self, transport: Transport) -> None:
        """Remove the transport, which has had its connection_lost()."""


class Transport(BaseTransport):
    """The asyncio transport of one connection.

    `connection_lost(None)` after `close()` means that the peer has acknowledged all data, and also our FIN unless RST
    replaced it (unread data, a linger time of 0, `abort()`). `connection_lost(exc)` means that it has not; `exc` is the
    reason.

    The connection has its own send buffer (`Config.send_buffer`). `get_write_buffer_size()` counts the bytes that this
    buffer has not accepted yet.

    An exception of a callback is passed to the loop's exception handler. Then the connection is reset, except after
    `pause_writing()`, `resume_writing()` and `connection_trouble()`. asyncio keeps it after `connection_made()` too.

    If the protocol has a method `connection_trouble(exc)`, it is called before the connection fails: with None after
    three unanswered retransmissions of one segment, with an OSError after an ICMP error about the path. The connection
    continues.

    `loop.sendfile()` of asyncio's loops works as with kernel TCP; uvloop has none.

    `get_extra_info()`, also of TLS above, supports "socket" (examples/README.md lists its options), "peername" and
    "sockname" (host and utcp port), "udp_peername", "udp_sockname", and "utcp": a `ConnectionInfo` of the present, or
    of the end of the connection.
    """

    __slots__ = (
        "_buffer",
        "_buffer_size",
        "_closing",
        "_conn_lost",
        "_connection",
        "_driver",
        "_ended_at",
        "_eof_received",
        "_eof_written",
        "_facade",
        "_paused",
        "_room",
        "_server",
        "_share",
        "_tcb",
        "callback_context",
    )

    def __init__(
        self,
        driver: Driver,
        connection: Connection,
        protocol: asyncio.BaseProtocol,
        callback_context: contextvars.Context,
        *,
        server: Owner | None = None,
    ) -> None:
        super().__init__(protocol, driver.loop)
        self._driver = driver
        self._connection: Connection | None = connection
        """The connection; None after connection_lost()."""
        self._tcb = connection
        """The connection, also after its end, for its last information and its error."""
        self._ended_at = 0.0
        self._server = server
        self.callback_context = None if type(protocol) is StreamProtocol else callback_context
        """All callbacks of a connection run in the context in which it was opened. Otherwise they would run in that of
        the endpoint's first user. None: streams, whose callbacks run no code of the application."""
        self._buffer: deque[bytes | memoryview] | None = None
        """Data that the connection has not accepted yet. None until needed, because an empty deque takes 700 octets."""
        self._buffer_size = 0
        self._room: asyncio.Future[None] | None = None
        """Set while sendfile() runs. It is done when the connection may accept more data or has ended."""
        self._paused = False
        self._closing = False
        self._share = 0
        self._eof_received = False
        self._eof_written = False
        self._conn_lost = 0  # 1: connection_lost() was called, or is about to be
        self._facade: ConnectionSocket | None = None
        remote = connection.remote
        if driver.peers is not None and (driver.link, remote) not in driver.peers.examined:
            driver.peers.watch(driver.link, remote)
        driver.transports[self] = None

    def __repr__(self) -> str:
        state = "closed" if self._connection is None else "closing" if self._closing else "open"
        return (
            f"<{type(self).__name__} {state} sockname={self.get_extra_info('sockname')} "
            f"peername={self.get_extra_info('peername')} bufsize={self._buffer_size}>"
        )

    # --- what the endpoint calls

    def start(self, events: int) -> None:
        """Become the connection's user: call connection_made(), then handle `events`. Call it in `callback_context`."""
        connection = self._connection
        if connection is None:
            return
        connection.context = self
        try:
            self._protocol.connection_made(self)
        except (SystemExit, KeyboardInterrupt):
            self._put_back(events)
            raise
        except BaseException as exc:
            self._callback_failed(exc, "connection_made")
            return
        if events & ~CONNECTED:
            self.ready(connection, events)

    def ready(self, connection: Connection, events: int = 0) -> None:
        """Handle the connection's new events, and `events`. Call it in `callback_context`.

        An exception of a callback is reported and ends at most this connection. SystemExit and KeyboardInterrupt end
        the loop. The remaining events are put back in case the loop runs again.
        """
        events |= connection.take_events()
        receive = connection.receive_side
        is_reading = True
        try:
            if events & _INCOMING:
                while not (self._paused or self._closing):
                    if receive.readable:
                        if self._fills_buffers:
                            self._fill_buffer(connection)
                        else:
                            self._protocol.data_received(connection.read(MAX_READ))
                    elif receive.fin_reached and not self._eof_received:
                        self._receive_eof()
                    else:
                        break
            is_reading = False
            if events & _RARE:
                self._handle(events)
            if events & ENDED and not self._conn_lost:
                self._closing = True
                self._conn_lost = 1
                self._call_connection_lost(connection.error)
        except (SystemExit, KeyboardInterrupt):
            self._put_back(events & ~TROUBLE)
            raise
        except BaseException as exc:
            if is_reading:
                self._callback_failed(exc, "data_received")
            else:
                self._fatal_error(exc, "Fatal error: the events of the connection could not be handled.")

    def vanish(self) -> None:
        """End without any callback and without the warning about unclosed transports. For simulated power loss."""
        self._closing = True
        self._conn_lost = 1
        if isinstance(self._protocol, SSLProtocol):
            AsyncioTls(self._protocol).silence()

    def fail(self, error: OSError) -> None:
        """Reset the connection, unless the peer has acknowledged everything.

        connection_lost(error) follows in the next turn. If the connection has already ended, it gets the error of that
        end instead.
        """
        connection = self._connection
        if self._conn_lost or connection is None:
            return
        if connection.ended:
            self._force_close(connection.error)
            return
        self._driver.schedule_flush()
        try:
            connection.abort(self._driver.link.now())
        finally:
            self._force_close(error)

    def _put_back(self, events: int) -> None:
        connection = self._connection
        if connection is not None:
            connection.report(events)
            self._driver.schedule_flush()

    def _handle(self, events: int) -> None:
        if events & WRITABLE and not self._closing:
            self._feed()
            self._wake_sendfile()
        if events & TROUBLE and not self._conn_lost:
            self._report_trouble()

    def _report_trouble(self) -> None:
        """Report R1 of RFC 9293 3.8.3 (SHLD-10) and soft errors (SHLD-25) to a protocol with `connection_trouble()`."""
        try:
            callback = getattr(self._application(), "connection_trouble", None)
            if callback is not None and self._connection is not None:
                callback(self._connection.soft_error)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._report(exc, "protocol.connection_trouble() call failed.")

    def _application(self) -> Any:
        """Return the application's protocol, above TLS if there is any."""
        protocol: Any = self._protocol
        while (tls := _tls(protocol)) is not None:
            protocol = tls.get_protocol()
        return protocol

    # --- reading

    def is_reading(self) -> bool:
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        """Stop delivering data. The receive buffer fills, and the window that is offered to the peer closes."""
        if not self._closing:
            self._paused = True

    def resume_reading(self) -> None:
        if self._closing or not self._paused:
            return
        self._paused = False
        self._share = SHARE
        connection = self._connection
        if connection is not None and (connection.readable or connection.at_eof):
            soon(self._loop, self._deliver_again, context=self.callback_context)

    def _deliver_again(self) -> None:
        """Deliver the data that has arrived while reading was paused."""
        if self._connection is not None:
            self.ready(self._connection, READABLE)
        self._driver.schedule_flush()  # reading may have opened the window

    def take_held(self, reader: asyncio.StreamReader, limit: int) -> bytes:
        """Return at most `limit` bytes that have arrived and wait for `_deliver_again()`, for the reader of the
        protocol. The result is empty if there are none, or if the reader has had its `SHARE` of this turn."""
        connection = self._connection
        if self._paused or self._closing or connection is None or not self._share or not connection.readable:
            return b""
        protocol = self._protocol
        # The data belongs to TLS above, or to a protocol whose data_received() may change it.
        if type(protocol) is not StreamProtocol or protocol._stream_reader is not reader:  # noqa: SLF001
            return b""
        data = connection.read(min(limit, self._share))
        self._share -= len(data)
        return data

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        tls = _tls(protocol)
        if tls is not None:
            # For loop.start_tls() of asyncio; utcp's own start_tls() has already done it.
            take_read_ahead(tls, self)
            self._eof_received = False  # TLS gets eof_received() too
        if self.callback_context is None:
            self.callback_context = contextvars.copy_context()
        super().set_protocol(protocol)

    def _fill_buffer(self, connection: Connection) -> None:
        callback = "get_buffer"
        try:
            view = writable_view(self._protocol.get_buffer(-1))
            data = connection.read(len(view))
            view[: len(data)] = data
            # A bytearray with a view cannot be resized, and buffer_updated() may resize it.
            view.release()
            callback = "buffer_updated"
            self._protocol.buffer_updated(len(data))
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._callback_failed(exc, callback)

    def _receive_eof(self) -> None:
        self._eof_received = True
        try:
            keep_open = self._protocol.eof_received()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._callback_failed(exc, "eof_received")
            return
        if not keep_open:
            self.close()

    # --- writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if type(data) is not bytes:
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
            data = bytes(data)  # the caller may change it afterwards
        if self._closing or self._eof_written or self._room is not None:
            self._refuse(data)
            return
        rest: bytes | memoryview = data
        if not self._buffer:
            if not data:
                return
            if not self._driver.flush_requested:
                self._driver.schedule_flush()
            try:
                accepted = self._tcb.send(data)
            except InvalidState as exc:
                self._ended_earlier(exc)
                return
            if accepted == len(data):
                return
            try:
                if accepted:
                    rest = memoryview(data)[accepted:]
                if self._buffer is None:
                    self._buffer = deque()
                self._keep(rest)
            except BaseException as exc:  # the stream would have a hole
                self._force_close(exc)
                raise
        else:
            self._keep(rest)
        self._buffer_size += len(rest)
        self._maybe_pause_protocol()

    def _refuse(self, data: bytes) -> None:
        """Raise asyncio's error for a write(), or drop its data if the transport is closing."""
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._room is not None:
            raise RuntimeError("unable to write; sendfile is in progress")
        if data:
            self._dropped_writes += 1
            if self._dropped_writes >= LOGGED_DROPS:
                logger.warning("socket.send() raised exception.")

    def _keep(self, rest: bytes | memoryview) -> None:
        """Append `rest` to the buffer, which exists. Join small adjacent pieces, because each has an overhead."""
        buffer: Any = self._buffer
        if len(rest) < SMALL and buffer and len(buffer[-1]) < SMALL:
            buffer[-1] = b"".join((buffer[-1], rest))
        else:
            buffer.append(rest)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        if self._eof_written:
            raise RuntimeError("Cannot call writelines() after write_eof()")
        super().writelines(list_of_data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Half-close: send FIN after the written data. Reading continues."""
        if self._closing or self._eof_written:
            return
        self._eof_written = True
        connection = self._connection
        if connection is not None and self._feed_all(connection):
            self._driver.schedule_flush()
            connection.shutdown(self._driver.link.now())

    def get_write_buffer_size(self) -> int:
        return self._buffer_size

    def _send(self, data: bytes | memoryview) -> int:
        """Return how many bytes the connection has accepted. If it has ended, end the transport and return 0."""
        self._driver.schedule_flush()
        try:
            return self._tcb.send(data)
        except InvalidState as exc:
            self._ended_earlier(exc)
            return 0

    def _ended_earlier(self, exc: InvalidState) -> None:
        """End the transport, because its connection has ended earlier in this batch and refuses data."""
        self._fatal_error(self._tcb.error or exc, "Fatal write error on socket transport")

    def _feed(self) -> None:
        """Move data from the buffer to the connection, which has room again."""
        buffer = self._buffer
        if buffer is None:
            return
        while buffer:
            data = buffer[0]
            accepted = self._send(data)
            if self._closing:
                return
            self._buffer_size -= accepted
            if accepted < len(data):
                buffer[0] = memoryview(data)[accepted:]
                break
            buffer.popleft()
        self._maybe_resume_protocol()

    def _feed_all(self, connection: Connection) -> bool:
        """Move the whole buffer to the connection, beyond its limit, because a FIN follows. Return False if the
        connection has ended."""
        if self._buffer is None:
            return True
        try:
            while self._buffer:
                self._buffer_size -= connection.send(self._buffer[0], force=True)
                self._buffer.popleft()
        except InvalidState as exc:
            self._ended_earlier(exc)
            return False
        if self._protocol_paused:
            # In the next turn, because this runs within a call of the application.
            soon(self._loop, self._resume_protocol, context=self.callback_context)
        return True

    def _resume_protocol(self) -> None:
        if not self._conn_lost:
            self._maybe_resume_protocol()

    # --- sending files

    @property
    def _sendfile_compatible(self) -> Any:
        """The mode for `loop.sendfile()`, which reads this attribute."""
        return sendfile_mode(self._loop, Transport)

    def send_file(self, file: Any, offset: int, count: int | None) -> Coroutine[Any, Any, int]:
        """Send a file for `loop.sendfile()`, which applications call instead (uvloop has none)."""
        return send_file(self, file, offset, count)

    @contextlib.contextmanager
    def sending_file(self) -> Iterator[None]:
        """Deliver nothing within this context, and let write() raise RuntimeError, as in asyncio's transports."""
        if self._room is not None:
            raise RuntimeError("sendfile is in progress")
        was_reading = self.is_reading()
        self.pause_reading()
        self._room = self._loop.create_future()
        try:
            yield
        finally:
            self._room = None
            if was_reading:
                self.resume_reading()

    def send_part(self, data: memoryview) -> int:
        """Send `data` after all earlier writes. Only within `sending_file()`.

        Returns how many bytes the connection has accepted; 0: it has no `room()`. Raises the connection's error or
        ConnectionError; RuntimeError after write_eof(), as write() does.
        """
        if self._closing:
            raise self._tcb.error or ConnectionError("Connection closed while a file was sent")
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        return 0 if self._buffer else self._send(data)

    def room(self) -> asyncio.Future[None]:
        """Return a future that is done when the connection may accept more data or has ended."""
        self._room = self._loop.create_future()
        return self._room

    def _wake_sendfile(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # --- closing

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Send FIN after the written data. connection_lost() follows when the peer has acknowledged everything.

        If received data has not been delivered, send RST instead (RFC 9293 3.6.1, SHLD-3).
        """
        connection = self._connection
        if self._closing or connection is None or (self._buffer and not self._feed_all(connection)):
            return
        self._closing = True
        driver = self._driver
        if not driver.flush_requested:
            driver.schedule_flush()
        connection.close(driver.link.now())

    def close_by_owner(self) -> None:
        """Close the connection on behalf of a server or an endpoint.

        TLS above sends close_notify before the FIN. The FIN then waits for the peer's close_notify, up to
        `ssl_shutdown_timeout`. `owner_closes()` of a stream protocol is called, because its handler may still write.
        """
        try:
            application = self._application()
            if hasattr(application, "owner_closes"):
                application.owner_closes()
            tls = _tls(self._protocol)
            (self if tls is None else tls).close()
        except Exception as exc:  # the caller must close its other connections
            self._fatal_error(exc, "Fatal error: the connection could not be closed.")

    def close_without_notify(self) -> None:
        """Send FIN after `close_by_owner()` without the peer's close_notify, unless TLS still has data to send."""
        tls = _tls(self._protocol)
        if tls is None or not tls.get_write_buffer_size():
            self.close()

    def abort(self) -> None:
        """Reset the connection by RST. With kernel TCP, asyncio's abort() sends FIN instead.

        After close(), only the transport ends: the connection still delivers its data in the background.
        connection_lost(None) follows in the next turn.
        """
        super().abort()

    def _force_close(self, exc: BaseException | None) -> None:
        connection = self._connection
        if self._conn_lost or connection is None:
            return
        self._conn_lost = 1
        connection.context = None
        try:
            if not self._closing:
                self._closing = True
                self._driver.schedule_flush()
                connection.abort(self._driver.link.now())
        finally:
            self._drop_buffer()
            soon(self._loop, self._call_connection_lost, exc, context=self.callback_context)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        """Call connection_lost(). Then drop all references to other objects, and theirs to this transport."""
        try:
            self._protocol.connection_lost(exc)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._report(error, "Fatal error: protocol.connection_lost() call failed.")
        finally:
            connection = self._connection
            try:
                if connection is not None:
                    self._ended_at = self._driver.link.now()
                    connection.context = None
                    self._connection = None
                    if connection.ended:
                        connection.discard_unread()
                if isinstance(self._protocol, SSLProtocol):
                    AsyncioTls(self._protocol).keep_extra_info("utcp", self._info())
            finally:  # those who wait for the end of this connection must not wait for ever
                self._protocol = None
                if self._buffer is not None:
                    self._drop_buffer()
                if self._room is not None:
                    self._wake_sendfile()
                if self._facade is not None:
                    self._facade.detach()
                self._driver.transports.pop(self, None)
                if self._server is not None:
                    self._server.detach(self)
                    self._server = None

    def _drop_buffer(self) -> None:
        self._buffer = None
        self._buffer_size = 0

    # --- extra info

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        link = self._driver.link
        if name not in _EXTRA_INFO:
            return default
        connection = self._tcb
        match name:
            case "peername":
                return with_port(link.peername(connection.remote), connection.remote_port)
            case "sockname":
                return with_port(link.sockname(connection.remote), connection.local_port)
            case "udp_peername":
                return link.peername(connection.remote)
            case "udp_sockname":
                return link.sockname(connection.remote)
            case "socket":
                return self._socket()
        return self._info()

    def _info(self) -> ConnectionInfo:
        """Return the connection's information of now, or of its end if it has ended."""
        return self._tcb.info(self._ended_at if self._connection is None else self._driver.link.now())

    def _socket(self) -> ConnectionSocket:
        if self._facade is None:
            self._facade = ConnectionSocket(
                self.get_extra_info("sockname"), self.get_extra_info("peername"), self._connection, self._driver
            )
        return self._facade


def _tls(protocol: object) -> TlsTransport | AsyncioTls | None:
    """Return `protocol` as TLS if it is utcp's or asyncio's TLS, otherwise None."""
    if isinstance(protocol, TlsTransport):
        return protocol
    return AsyncioTls(protocol) if isinstance(protocol, SSLProtocol) else None
