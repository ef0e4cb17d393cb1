"""The errors of calls and connections: one class for each cause, each also a subclass of the OSError of asyncio.

All have an `errno` and a text. The error that ends a connection is passed to `connection_lost()`, and pending reads,
`drain()` and `wait_closed()` raise it.
"""

import errno
import os
from typing import Any, ClassVar


class _Error(OSError):
    """Base of all errors. `code` is the errno of a class that has only one."""

    code: ClassVar[int]

    def __init__(self, text: str = "") -> None:
        super().__init__(self.code, text or os.strerror(self.code))

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (type(self), self.args, vars(self))


def _unpickled(kind: type[_Error], args: tuple[Any, ...], attributes: dict[str, Any]) -> _Error:
    """Return a pickled error. It is created without its own `__init__()`, whose arguments the pickle does not have."""
    error = kind.__new__(kind)
    OSError.__init__(error, *args)
    vars(error).update(attributes)
    return error


class _PortTaken(_Error):
    """Base of the errors of ports. `seconds` is the time until a TIME_WAIT ends, if one is the cause."""

    def __init__(self, text: str, seconds: float | None = None) -> None:
        super().__init__(text)
        self.seconds = seconds


class ConnectionRefused(_Error, ConnectionRefusedError):
    """The peer answered our SYN with RST (RFC 9293 3.10.7.3), or its host with an ICMP port unreachable message."""

    code = errno.ECONNREFUSED


class ConnectionReset(_Error, ConnectionResetError):
    """The peer sent RST on a synchronized connection (RFC 9293 3.10.7.4, second check), or three segments in a row were
    answered by ICMP port unreachable messages: its UDP port is closed, for example because its process has ended."""

    code = errno.ECONNRESET


class ConnectionAborted(_Error, ConnectionAbortedError):
    """This side reset the connection, because of unread data at close, data after close, a closed listener, lack of
    memory after the close, or an exception of utcp while it processed the connection (`__cause__`)."""

    code = errno.ECONNABORTED


class ConnectionTimedOut(_Error, TimeoutError):
    """The peer no longer answers. There is one subclass for each case."""

    code = errno.ETIMEDOUT


class SynTimedOut(ConnectionTimedOut):
    """The peer answered none of our SYNs within R2 (RFC 9293 3.8.3)."""


class RetransmissionTimedOut(ConnectionTimedOut):
    """Data was not acknowledged after all retransmissions (R2 of RFC 9293 3.8.3)."""


class FinTimedOut(ConnectionTimedOut):
    """After the close, our FIN or the data before it was still unacknowledged at the end of all retransmissions, or of
    `Config.orphan_timeout`. RST was sent.

    This error also follows if the peer acknowledged all data, closed the connection and ended its process before our
    close. But if an ICMP message reports the end of the process, the close succeeds."""


class UserTimedOut(ConnectionTimedOut):
    """Data was not acknowledged within `Config.user_timeout` (RFC 9293 3.10.8)."""


class KeepaliveTimedOut(ConnectionTimedOut):
    """The peer answered none of the keepalive probes (RFC 9293 3.8.4)."""


class LingerTimedOut(ConnectionTimedOut):
    """After the close, our FIN was not acknowledged within the linger time. RST was sent."""


class PathUnreachable(_Error):
    """The host could not send to the peer, or an ICMP message reported the peer as unreachable. `errno` is the reason:
    ENETUNREACH, EHOSTUNREACH, EACCES, ..."""

    def __init__(self, code: int) -> None:
        OSError.__init__(self, code, os.strerror(code))


class AddressInUse(_PortTaken):
    """The local port is taken by a listener, by a connection to the same remote, or by its TIME_WAIT record.

    `seconds` is the rest of the TIME_WAIT; None if the port is taken by something else.
    """

    code = errno.EADDRINUSE


class AddressNotAvailable(_PortTaken):
    """No ephemeral port is free for this remote (RFC 6056).

    `seconds` is the time until the next TIME_WAIT ends; None if every port belongs to a live connection.
    """

    code = errno.EADDRNOTAVAIL


class LimitReached(_Error):
    """A limit of the endpoint allows no further connection. `limit` is the field of Config: "max_memory" or
    "max_connections"."""

    code = errno.ENOBUFS

    def __init__(self, limit: str) -> None:
        super().__init__(f"no further connection: Config.{limit} is reached")
        self.limit = limit


class InvalidState(_Error):
    """The call is not allowed in the connection's state, such as sending after a shutdown (RFC 9293 3.10)."""

    code = errno.EPIPE
