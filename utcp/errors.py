"""The errors of calls and connections: one class for each cause, each also a subclass of the OSError of asyncio.

All have an `errno` and a text. The error that ends a connection is passed to `connection_lost()`, and pending reads,
`drain()` and `wait_closed()` raise it.
"""

import errno
import os


class _Cause(OSError):
    """Base of the errors whose class determines the errno, so that only the text is pickled."""

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.strerror,)


class ConnectionRefused(_Cause, ConnectionRefusedError):
    """The peer answered our SYN with RST (RFC 9293 3.10.7.3), or its host with an ICMP port unreachable message."""

    def __init__(self, text: str = os.strerror(errno.ECONNREFUSED)) -> None:
        super().__init__(errno.ECONNREFUSED, text)


class ConnectionReset(_Cause, ConnectionResetError):
    """The peer sent RST on a synchronized connection (RFC 9293 3.10.7.4, second check), or three segments in a row were
    answered by ICMP port unreachable messages: its UDP port is closed, for example because its process has ended."""

    def __init__(self, text: str = os.strerror(errno.ECONNRESET)) -> None:
        super().__init__(errno.ECONNRESET, text)


class ConnectionAborted(_Cause, ConnectionAbortedError):
    """This side reset the connection, because of unread data at close, data after close, a closed listener, lack of
    memory after the close, or an exception of utcp while it processed the connection (`__cause__`)."""

    def __init__(self, text: str = os.strerror(errno.ECONNABORTED)) -> None:
        super().__init__(errno.ECONNABORTED, text)


class ConnectionTimedOut(_Cause, TimeoutError):
    """The peer no longer answers. There is one subclass for each case."""

    def __init__(self, text: str = os.strerror(errno.ETIMEDOUT)) -> None:
        super().__init__(errno.ETIMEDOUT, text)


class SynTimedOut(ConnectionTimedOut):
    """The peer answered none of our SYNs within R2 (RFC 9293 3.8.3)."""


class RetransmissionTimedOut(ConnectionTimedOut):
    """Data was not acknowledged after all retransmissions (R2 of RFC 9293 3.8.3)."""


class FinTimedOut(ConnectionTimedOut):
    """After the close, our FIN or the data before it was not acknowledged after all retransmissions, or not within
    `Config.orphan_timeout`. RST was sent.

    The close also fails with this error if the peer acknowledged all data, closed the connection and ended its process
    before our close, unless an ICMP message reports that. With ICMP, such a close ends without an error."""


class UserTimedOut(ConnectionTimedOut):
    """Data was not acknowledged within `Config.user_timeout` (RFC 9293 3.10.8)."""


class KeepaliveTimedOut(ConnectionTimedOut):
    """The peer answered none of the keepalive probes (RFC 9293 3.8.4)."""


class LingerTimedOut(ConnectionTimedOut):
    """The FIN was not acknowledged within the linger time; RST was sent."""


class PathUnreachable(OSError):
    """The host could not send to the peer, or an ICMP message reported the peer as unreachable. `errno` is the reason:
    ENETUNREACH, EHOSTUNREACH, EACCES, ..."""

    def __init__(self, code: int) -> None:
        super().__init__(code, os.strerror(code))

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.errno,)


class AddressInUse(OSError):
    """The local port is taken by a listener, a connection to the same remote, or a TIME_WAIT record for it.

    `seconds` is the rest of the TIME_WAIT; None if the port is taken by something else.
    """

    def __init__(self, text: str, seconds: float | None = None) -> None:
        super().__init__(errno.EADDRINUSE, text)
        self.seconds = seconds

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.strerror, self.seconds)


class AddressNotAvailable(OSError):
    """No ephemeral port is free for this remote (RFC 6056).

    `seconds` is the time until the next TIME_WAIT ends; None if every port belongs to a live connection.
    """

    def __init__(self, text: str, seconds: float | None = None) -> None:
        super().__init__(errno.EADDRNOTAVAIL, text)
        self.seconds = seconds

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.strerror, self.seconds)


class LimitReached(OSError):
    """A limit of the endpoint allows no further connection. `limit` is the field of Config: "max_memory" or
    "max_connections"."""

    def __init__(self, limit: str) -> None:
        super().__init__(errno.ENOBUFS, f"no further connection: Config.{limit} is reached")
        self.limit = limit

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.limit,)


class InvalidState(OSError):
    """The call is not allowed in the connection's state, such as sending after a shutdown (RFC 9293 3.10)."""

    def __init__(self, text: str, code: int = errno.EPIPE) -> None:
        super().__init__(code, text)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.strerror, self.errno)
