"""The transport of a connection with TLS."""

from __future__ import annotations

import asyncio
import ssl
from asyncio.log import logger
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from utcp.aio.containment import later, soon
from utcp.aio.flow_control import LOGGED_DROPS, SENDFILE_FALLBACK
from utcp.aio.tls.asyncio_private import AsyncioTls, take_read_ahead
from utcp.aio.tls.machine import TlsMachine
from utcp.aio.transport_base import BaseTransport, writable_view
from utcp.errors import ConnectionReset

HANDSHAKE_TIMEOUT: Final = 60.0
"""Maximum duration of a handshake, seconds (asyncio's default)."""

SHUTDOWN_TIMEOUT: Final = 30.0
"""Seconds from `close()` until the peer's close_notify (asyncio's default)."""

WRITE_LIMIT: Final = 512 * 1024
"""Octets in the write buffer above which pause_writing() is called (asyncio's default with TLS)."""

HandshakeEnded: TypeAlias = Callable[[BaseException | None], None]
"""Called once, with None when the handshake is complete, or with the error of a failed one."""


class TlsTransport(BaseTransport, asyncio.Protocol):
    """TLS as the protocol of the transport below, and as the transport of the application's protocol above.

    It has no write buffer of its own. Encrypted data is written to the transport below, whose limits it sets. When the
    application pauses reading, the transport below is paused as well.

    By default it behaves like asyncio's TLS. `close()` sends close_notify and waits for the peer's, up to the shutdown
    timeout. The peer's close_notify closes the connection after `eof_received()`. `can_write_eof()` is False. A FIN
    without close_notify counts as the end of the data. Data that arrives after `close()`, or that the protocol has not
    read by then, causes RST.

    With `half_close`, each direction ends separately (RFC 8446 6.1). `write_eof()` sends close_notify and FIN, and
    reading continues. `eof_received()` may return True to continue writing. `close()` does not wait for the peer. A FIN
    without close_notify resets the connection, because an attacker on the path may have sent it to truncate the data.
    Half-close needs TLS 1.3. With TLS 1.2 `can_write_eof()` is False, because a peer that receives close_notify drops
    its unsent data (RFC 5246 7.2.1).

    `half_close` is not the default, because peers with asyncio's or uvloop's TLS close the connection after
    close_notify. A program that half-closes whenever `can_write_eof()` is True, as websockets does, would lose the
    answer.

    The protocol's `connection_made()` is called when the handshake is complete. After connection_made(), the protocol
    always gets its `connection_lost()`, also if the handshake of an upgrade fails.
    """

    __slots__ = (
        "_at_end",
        "_below",
        "_below_paused",
        "_closing",
        "_eof_written",
        "_error",
        "_fin_received",
        "_half_close",
        "_handshake_ended",
        "_handshake_timeout",
        "_held",
        "_machine",
        "_made",
        "_open",
        "_paused",
        "_shutdown_timeout",
        "_timer",
    )

    _sendfile_compatible = SENDFILE_FALLBACK

    def __init__(
        self,
        protocol: asyncio.BaseProtocol,
        machine: TlsMachine | None,
        handshake_ended: HandshakeEnded | None = None,
        *,
        upgrade: bool = False,
        half_close: bool = False,
        handshake_timeout: float | None = None,
        shutdown_timeout: float | None = None,
    ) -> None:
        """Create TLS below `protocol`.

        Args:
            protocol: the application's protocol.
            machine: the TLS of this side; None if a subclass sets it later.
            handshake_ended: called with the outcome of the handshake.
            upgrade: whether `protocol` has had its connection_made().
            half_close: whether each direction ends separately.
            handshake_timeout: seconds; None: HANDSHAKE_TIMEOUT.
            shutdown_timeout: seconds; None: SHUTDOWN_TIMEOUT.

        Raises ValueError for a timeout that is not positive.
        """
        super().__init__(protocol, asyncio.get_running_loop())
        self._machine = machine
        self._handshake_ended = handshake_ended
        self._half_close = half_close
        self._handshake_timeout = _positive("ssl_handshake_timeout", handshake_timeout, HANDSHAKE_TIMEOUT)
        self._shutdown_timeout = _positive("ssl_shutdown_timeout", shutdown_timeout, SHUTDOWN_TIMEOUT)
        self._below: Any = None
        """The transport below; None until connection_made()."""
        self._timer: asyncio.TimerHandle | None = None
        """Timer of the handshake, and later of the wait for the peer's close_notify."""
        self._open = False
        """Whether the handshake is complete."""
        self._made = upgrade
        """Whether the protocol has had its connection_made() and not its connection_lost()."""
        self._held: bytes | memoryview = b""
        """Plaintext that waits while the protocol has paused reading."""
        self._paused = False
        self._below_paused = False
        """Whether the transport below has called pause_writing()."""
        self._fin_received = False
        self._at_end = False
        """Whether the protocol has had its eof_received()."""
        self._eof_written = False
        self._closing = False
        self._error: BaseException | None = None
        """The reason for resetting the connection."""

    def __repr__(self) -> str:
        state = "closing" if self._closing else "open" if self._open else "in its handshake"
        return f"<{type(self).__name__} {state} over {self._below!r}>"

    # --- what the transport below calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._below = transport
        if self._made:  # the transport below may have paused the protocol, and will resume it
            self._below_paused = self._protocol_paused = getattr(transport, "_protocol_paused", False)
        self.set_write_buffer_limits()
        self._limit(self._handshake_timeout, self._handshake_timed_out)
        self._continue_handshake()

    def data_received(self, data: bytes) -> None:
        machine = self._machine
        if machine is None or machine.peer_closed or self._error is not None:
            return  # data after close_notify is ignored (RFC 8446 6.1)
        machine.feed(data)
        if not self._open:
            self._continue_handshake()
            if not self._open:
                return
        if self._closing:
            self._shut_down(machine)
            return
        try:
            plaintext = machine.read()
        except ssl.SSLError as exc:
            self._fatal_error(exc, "Fatal error: decrypting received data failed.")
            return
        self._flush(machine)
        if self._protocol_paused:
            self._control_writing()  # the backlog may be empty now
        if plaintext:
            self._held = plaintext if not self._held else bytes(self._held) + plaintext
        self._deliver()

    def eof_received(self) -> bool:
        self._fin_received = True
        machine = self._machine
        if self._error is not None:
            pass
        elif not self._open or machine is None:
            self._force_close(ConnectionResetError("The connection ended in the TLS handshake"))
        elif not self._half_close:
            if self._closing:
                self._close_below()
            else:
                self._deliver()
        elif not machine.peer_closed and not self._closing:
            self._force_close(ConnectionReset("The connection ended without the close_notify of TLS"))
        return True  # this class closes the transport below when both directions of TLS have ended

    def pause_writing(self) -> None:
        self._below_paused = True
        self._control_writing()

    def resume_writing(self) -> None:
        self._below_paused = False
        self._control_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        error = self._error or exc
        self._closing = True
        self._stop_timer()
        if self._handshake_ended is not None:
            self._end_handshake(error or ConnectionAbortedError("Connection closed during the TLS handshake"))
        elif not self._made and error is not None and error.__cause__ is not None:
            # A server's protocol gets no connection_lost() before the end of the handshake, so an exception within utcp
            # would not be reported at all.
            self._report(error, "Fatal error: an exception ended the TLS handshake.")
        self._held = b""
        protocol, self._protocol = self._protocol, None
        if self._made:
            self._made = False
            protocol.connection_lost(error)

    # --- what the protocol above calls

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return information of TLS, or otherwise of the transport below; also after the connection's end.

        TLS provides "sslcontext", and after the handshake "ssl_object", "peercert", "cipher" and "compression".
        """
        machine = self._machine
        if machine is not None:
            match name:
                case "sslcontext":
                    return machine.context
                case "ssl_object" if self._open:
                    return machine.object
                case "peercert" if self._open:
                    return machine.object.getpeercert()
                case "cipher" if self._open:
                    return machine.object.cipher()
                case "compression" if self._open:
                    return machine.object.compression()
        return default if self._below is None else self._below.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        if isinstance(protocol, SSLProtocol):  # asyncio's loop.start_tls(), for TLS within TLS
            take_read_ahead(AsyncioTls(protocol), self)
        super().set_protocol(protocol)

    def is_closing(self) -> bool:
        closing: bool = self._closing or (self._below is not None and self._below.is_closing())
        return closing

    def is_reading(self) -> bool:
        return not self._paused

    def pause_reading(self) -> None:
        self._paused = True
        self._below.pause_reading()

    def resume_reading(self) -> None:
        if not self._paused:
            return
        self._paused = False
        if self._held or self._ended:
            # Before new data from below, which is delivered in the next turn at the earliest.
            soon(self._loop, self._deliver)
        self._below.resume_reading()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data: expecting a bytes-like instance, got {type(data).__name__}")
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data:
            return
        machine = self._machine
        if self._closing or machine is None:
            if self._dropped_writes >= LOGGED_DROPS:
                logger.warning("SSL connection is closed")
            self._dropped_writes += 1
            return
        try:
            machine.write(data)
        except ssl.SSLError as exc:
            self._fatal_error(exc, "Fatal error: encrypting written data failed.")
            return
        self._flush(machine)
        if machine.backlog_size:
            self._control_writing()

    def can_write_eof(self) -> bool:
        """Return True with `half_close` and TLS 1.3, once the handshake is complete."""
        machine = self._machine
        return self._half_close and self._open and machine is not None and machine.object.version() == "TLSv1.3"

    def write_eof(self) -> None:
        """Half-close: send close_notify and FIN after the written data. Reading continues.

        Raises NotImplementedError if `can_write_eof()` is False.
        """
        if self._eof_written or (self._half_close and self.is_closing()):
            return
        machine = self._machine
        if machine is None or not self.can_write_eof():
            raise NotImplementedError("this TLS connection cannot half-close")
        machine.close()
        self._flush(machine)
        self._eof_written = True
        self._below.write_eof()

    def get_write_buffer_size(self) -> int:
        size: int = self._below.get_write_buffer_size()
        return size if self._machine is None else size + self._machine.backlog_size

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the limits for pause_writing() and resume_writing(), octets. Both None: 512 KiB and 128 KiB."""
        if high is None and low is None:
            high = WRITE_LIMIT
        self._below.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        limits: tuple[int, int] = self._below.get_write_buffer_limits()
        return limits

    def close(self) -> None:
        """Send close_notify and close the connection. The class describes what it waits for."""
        if self._closing:
            return
        self._closing = True
        machine = self._machine
        if machine is None or not self._open or self._held:
            self.abort()
            return
        if not self._half_close:
            self._limit(self._shutdown_timeout, self._shutdown_timed_out)
            if self._paused:
                self._below.resume_reading()  # to read the peer's close_notify
        self._shut_down(machine)

    def _force_close(self, exc: BaseException | None) -> None:
        self._closing = True
        if exc is not None and self._error is None:
            self._error = exc
        if self._below is not None:
            self._below.abort()

    # --- for the transport below and another TLS above

    @property
    def server_side(self) -> bool:
        return self._machine is not None and self._machine.server_side

    def feed(self, data: bytes) -> None:
        """Accept the first octets of the peer's TLS, which were read before TLS began. Call it before
        connection_made()."""
        if self._machine is not None:
            self._machine.feed(data)

    # --- the handshake

    def _continue_handshake(self) -> None:
        machine = self._machine
        if machine is None:
            return
        try:
            self._open = machine.handshake()
        except ssl.SSLError as exc:
            self._handshake_failed(exc.with_traceback(None))  # the traceback refers to this object
            return
        self._flush(machine)
        if not self._open:
            return
        self._stop_timer()
        if not self._made:
            self._made = True
            self._protocol.connection_made(self)
        self._end_handshake(None)

    def _handshake_failed(self, error: ssl.SSLError) -> None:
        self._fatal_error(error, "TLS handshake failed")  # without an alert, as in asyncio

    def _handshake_timed_out(self) -> None:
        seconds = self._handshake_timeout
        self._force_close(
            ConnectionAbortedError(f"SSL handshake is taking longer than {seconds} seconds: aborting the connection")
        )

    def _end_handshake(self, error: BaseException | None) -> None:
        ended, self._handshake_ended = self._handshake_ended, None
        if ended is not None:
            ended(error)

    # --- reading

    @property
    def _ended(self) -> bool:
        """Whether the peer has ended its direction."""
        return self._fin_received or (self._machine is not None and self._machine.peer_closed)

    def _deliver(self) -> None:
        """Pass the plaintext and then the peer's end to the protocol, unless it has paused reading."""
        try:
            while self._held and not self._paused and not self.is_closing():
                self._hand_over(self._held)
            if self._ended and not (self._at_end or self._held or self._paused or self.is_closing()):
                keep_open = self._pass_eof()
                if not (keep_open and self.can_write_eof()):
                    self.close()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: a call of the protocol above TLS failed.")

    def _hand_over(self, data: bytes | memoryview) -> None:
        if not self._fills_buffers:
            self._held = b""
            self._protocol.data_received(bytes(data))
            return
        buffer = writable_view(self._protocol.get_buffer(len(data)))
        octets = min(len(buffer), len(data))
        buffer[:octets] = data[:octets]
        # A bytearray with a view cannot be resized, and buffer_updated() may resize it.
        buffer.release()
        self._held = memoryview(data)[octets:]
        self._protocol.buffer_updated(octets)

    def _pass_eof(self) -> bool:
        """Call the protocol's eof_received(), and return whether it wants to keep the connection open."""
        self._at_end = True
        keep_open = bool(self._protocol.eof_received())
        if keep_open and not self.can_write_eof():
            logger.warning("returning true from eof_received() has no effect when using ssl")
        return keep_open

    # --- writing

    def _flush(self, machine: TlsMachine) -> None:
        data = machine.take()
        if data and not self._eof_written:  # OpenSSL may still answer messages that it reads
            self._below.write(data)

    def _control_writing(self) -> None:
        """Call the protocol's pause_writing() or resume_writing() if its state has changed."""
        pause = self._below_paused or (self._machine is not None and self._machine.backlog_size > 0)
        if pause == self._protocol_paused or not self._made:
            return
        self._protocol_paused = pause
        name = "pause_writing" if pause else "resume_writing"
        try:
            getattr(self._protocol, name)()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._report(exc, f"protocol.{name}() failed")

    # --- the end

    def _shut_down(self, machine: TlsMachine) -> None:
        """Send close_notify. Close the transport below unless the peer's close_notify is awaited.

        After a FIN without close_notify none is sent, because such a peer has often closed its socket and would answer
        with RST.
        """
        if self._fin_received and not machine.peer_closed:
            machine.write_backlog()
            self._flush(machine)
            self._close_below()
            return
        try:
            complete = machine.close()
        except ssl.SSLError as exc:  # data that the protocol can no longer get
            self._force_close(exc)
            return
        self._flush(machine)
        if self._half_close:
            self._below.close()
        elif complete:
            self._close_below()

    def _close_below(self) -> None:
        """Close the transport below, because both directions of TLS have ended. As in asyncio's TLS, the protocol gets
        eof_received() even after close()."""
        self._stop_timer()
        try:
            if not self._at_end:
                self._pass_eof()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._callback_failed(exc, "eof_received")
            return
        self._below.close()

    def _shutdown_timed_out(self) -> None:
        self._force_close(TimeoutError("SSL shutdown timed out"))

    def _limit(self, seconds: float, expired: Callable[[], object]) -> None:
        """Start the timer, which calls `expired` after `seconds`. It replaces a running one."""
        self._stop_timer()
        self._timer = later(self._loop, seconds, expired)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _positive(name: str, seconds: float | None, default: float) -> float:
    if seconds is None:
        return default
    if seconds <= 0:
        raise ValueError(f"{name} should be a positive number, got {seconds}")
    return seconds
