"""Why a call or a connection failed: one class per cause, each also the OSError subclass that asyncio users catch.

All carry `errno` and a text. A cause that ends a connection reaches everyone who waits for it: `connection_lost(exc)`,
pending reads, `drain()`, `wait_closed()`.
"""

import errno
import os


class _Cause(OSError):
    """Pickles by its text: the errno goes with the class."""

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.strerror,)


class ConnectionRefused(_Cause, ConnectionRefusedError):
    """The peer answered our SYN with RST (RFC 9293 3.10.7.3), or its host answered with an ICMP port unreachable."""

    def __init__(self, text: str = os.strerror(errno.ECONNREFUSED)) -> None:
        super().__init__(errno.ECONNREFUSED, text)


class ConnectionReset(_Cause, ConnectionResetError):
    """The peer sent RST on a synchronized connection (RFC 9293 3.10.7.4, second check), or its UDP port is closed, as
    after the death of its process: ICMP port unreachable messages answered three segments in a row."""

    def __init__(self, text: str = os.strerror(errno.ECONNRESET)) -> None:
        super().__init__(errno.ECONNRESET, text)


class ConnectionAborted(_Cause, ConnectionAbortedError):
    """This side reset the connection: because of unread data at close, data after close, a listener that went away,
    want of memory after the close, or an exception in the middle of its processing (`__cause__`)."""

    def __init__(self, text: str = os.strerror(errno.ECONNABORTED)) -> None:
        super().__init__(errno.ECONNABORTED, text)


class ConnectionTimedOut(_Cause, TimeoutError):
    """The peer stopped answering; the subclasses say during what."""

    def __init__(self, text: str = os.strerror(errno.ETIMEDOUT)) -> None:
        super().__init__(errno.ETIMEDOUT, text)


class SynTimedOut(ConnectionTimedOut):
    """No answer to any of our SYNs within R2 (RFC 9293 3.8.3)."""


class RetransmissionTimedOut(ConnectionTimedOut):
    """Data stayed unacknowledged through every retransmission: R2 (RFC 9293 3.8.3)."""


class FinTimedOut(ConnectionTimedOut):
    """After the close, our FIN or data before it stayed unacknowledged through every retransmission, or for longer than
    `Config.orphan_timeout` allows; RST was sent.

    That happens too if the peer has closed, acknowledged all data and ended its process before we closed, where no ICMP
    message says so. With ICMP, such a close ends without an error."""


class UserTimedOut(ConnectionTimedOut):
    """Data stayed unacknowledged for `Config.user_timeout` (RFC 9293 3.10.8)."""


class KeepaliveTimedOut(ConnectionTimedOut):
    """The peer answered none of the keepalive probes (RFC 9293 3.8.4)."""


class LingerTimedOut(ConnectionTimedOut):
    """The FIN was not acknowledged within the linger time; RST was sent."""


class PathUnreachable(OSError):
    """The host could not send towards the peer, or an ICMP message says that the peer is out of reach (`errno` says
    why: ENETUNREACH, EHOSTUNREACH, EACCES, ...)."""

    def __init__(self, code: int) -> None:
        super().__init__(code, os.strerror(code))

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.errno,)


class AddressInUse(OSError):
    """The local port is taken: by a listener, a connection to the same remote, or TIME_WAIT for it.

    `seconds` is how long TIME_WAIT still holds it; None when something else does.
    """

    def __init__(self, text: str, seconds: float | None = None) -> None:
        super().__init__(errno.EADDRINUSE, text)
        self.seconds = seconds

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.strerror, self.seconds)


class AddressNotAvailable(OSError):
    """No ephemeral port is left towards this remote (RFC 6056).

    `seconds` is when TIME_WAIT frees the next; None when every port is held by a live connection.
    """

    def __init__(self, text: str, seconds: float | None = None) -> None:
        super().__init__(errno.EADDRNOTAVAIL, text)
        self.seconds = seconds

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.strerror, self.seconds)


class LimitReached(OSError):
    """A limit of the endpoint forbids another connection; `limit` is the field of Config: "max_memory" or
    "max_connections"."""

    def __init__(self, limit: str) -> None:
        super().__init__(errno.ENOBUFS, f"no further connection: Config.{limit} is reached")
        self.limit = limit

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.limit,)


class InvalidState(OSError):
    """The call makes no sense in the connection's state, as sending after a shutdown (RFC 9293 3.10: "closing")."""

    def __init__(self, text: str, code: int = errno.EPIPE) -> None:
        super().__init__(code, text)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.strerror, self.errno)
