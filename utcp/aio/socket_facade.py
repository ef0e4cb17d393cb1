"""The objects of `get_extra_info("socket")` and `Server.sockets`: the parts of a TCP socket that libraries use.

examples/README.md ("Sockets") lists all methods and options.
"""

import errno
import math
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeAlias

from utcp.aio.driver import Driver
from utcp.aio.tcp_info import tcp_info
from utcp.link.path import SocketAddress
from utcp.tcp.connection import Connection

_LINGER: Final = struct.Struct("ii")  # struct linger: on, seconds
_INT: Final = struct.Struct("i")


class _Option:
    """Options of IPPROTO_TCP that the `socket` module lacks on some systems; the numbers are Linux's (tcp(7))."""

    MAXSEG: Final = 2
    CORK: Final = 3
    KEEPIDLE: Final = 4
    KEEPINTVL: Final = 5
    KEEPCNT: Final = 6
    INFO: Final = 11
    QUICKACK: Final = 12
    CONGESTION: Final = 13
    USER_TIMEOUT: Final = 18
    NOTSENT_LOWAT: Final = 25


_CONGESTION_NAME_SIZE: Final = 16
"""TCP_CA_NAME_MAX of Linux."""

# Linux's bounds of the keepalive options (tcp(7)): seconds, seconds, probes.
_MAX_KEEPALIVE_TIME: Final = 32767
_MAX_KEEPALIVE_COUNT: Final = 127

# The bounds of `Config.send_buffer` and `Config.recv_buffer`, octets.
_MIN_BUFFER: Final = 2048
_MAX_BUFFER: Final = 1 << 30

# Linux's bounds of TCP_MAXSEG, octets.
_MIN_MAXSEG: Final = 88
_MAX_MAXSEG: Final = 32767

_MAX_UNPRIVILEGED_PRIORITY: Final = 6
"""Highest SO_PRIORITY without CAP_NET_ADMIN (socket(7))."""

_NO_ECN: Final = 0xFC
"""Bits of IP_TOS and IPV6_TCLASS that an application may set. The other two are ECN's, which TCP sets (RFC 3168)."""

_MAX_OPTION_SIZE: Final = 1024
"""Maximum size of an option in `socket.getsockopt`, octets."""


def _flag(value: int) -> int:
    return int(value != 0)


def _anything(value: int) -> int:
    return value


def _priority(value: int) -> int:
    if not 0 <= value <= _MAX_UNPRIVILEGED_PRIORITY:
        raise _error(errno.EPERM)
    return value


def _type_of_service(value: int) -> int:
    return value & _NO_ECN


def _traffic_class(value: int) -> int:
    if not -1 <= value <= 0xFF:
        raise _error(errno.EINVAL)
    return max(value, 0) & _NO_ECN


def _of_socket(name: str, linux: int) -> tuple[int, int]:
    return socket.SOL_SOCKET, getattr(socket, name, linux)


_SO_DOMAIN: Final = _of_socket("SO_DOMAIN", 39)
_SO_PROTOCOL: Final = _of_socket("SO_PROTOCOL", 38)
_IPV6_TCLASS: Final = (socket.IPPROTO_IPV6, getattr(socket, "IPV6_TCLASS", 67))

_OptionKey: TypeAlias = tuple[int, int]
"""Level and number."""

_WITHOUT_EFFECT: Final[dict[_OptionKey, Callable[[int], int]]] = {
    _of_socket("SO_REUSEADDR", 2): _flag,
    _of_socket("SO_REUSEPORT", 15): _flag,
    _of_socket("SO_BROADCAST", 6): _flag,
    _of_socket("SO_PRIORITY", 12): _priority,
    (socket.IPPROTO_IP, socket.IP_TOS): _type_of_service,
    _IPV6_TCLASS: _traffic_class,
    (socket.IPPROTO_TCP, _Option.NOTSENT_LOWAT): _anything,
}
"""Options that can be set and read, as in the kernel, but have no effect, because they are hints or do not apply to an
existing connection. The value is the function that converts the number as the kernel does."""


class SocketFacade:
    """The common part of ListeningSocket and ConnectionSocket. It has no descriptor.

    Its methods are those of asyncio's TransportSocket, which never blocks.
    """

    __slots__ = ("_hints", "_sockname")

    def __init__(self, sockname: SocketAddress) -> None:
        self._sockname = sockname
        self._hints: dict[_OptionKey, int] = {}
        """Values of the options without effect."""

    def __getstate__(self) -> NoReturn:
        raise TypeError(f"Cannot serialize {type(self).__name__} object")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} family={self.family!s} laddr={self._sockname}>"

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if len(self._sockname) == 4 else socket.AF_INET

    @property
    def type(self) -> socket.SocketKind:
        return socket.SOCK_STREAM

    @property
    def proto(self) -> int:
        return socket.IPPROTO_TCP

    def fileno(self) -> int:
        """Return -1, because a connection has no descriptor."""
        return -1

    def dup(self) -> NoReturn:
        """Raise OSError (EOPNOTSUPP): a socket without a descriptor has no duplicate."""
        raise _error(errno.EOPNOTSUPP)

    def get_inheritable(self) -> bool:
        """Return False, because a child process inherits no connection."""
        return False

    def setblocking(self, flag: bool) -> None:
        """Raise ValueError unless `flag` is false."""
        if flag:
            raise ValueError("setblocking(): transport sockets cannot be blocking")

    def settimeout(self, value: float | None) -> None:
        """Raise ValueError unless `value` is 0."""
        if value != 0:
            raise ValueError("settimeout(): only 0 timeout is allowed on transport sockets")

    def gettimeout(self) -> float | None:
        """Return 0, because the socket does not block."""
        return 0

    def shutdown(self, how: int) -> None:
        """Raise OSError (EOPNOTSUPP); ConnectionSocket overrides it."""
        raise _error(errno.EOPNOTSUPP)

    def getsockname(self) -> SocketAddress:
        """Return the local host and utcp port."""
        return self._sockname

    def getpeername(self) -> SocketAddress:
        raise _error(errno.ENOTCONN)

    def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
        """Return an option as `socket.getsockopt` does. Raises OSError (ENOPROTOOPT) for an unsupported option."""
        _check_size(size)
        value = self._get(level, option)
        return _INT.pack(value)[:size] if size else value

    def setsockopt(self, level: int, option: int, value: Any, size: int | None = None) -> None:
        """Set an option as `socket.setsockopt` does.

        Raises OSError: ENOPROTOOPT for an unsupported option, EINVAL for a value out of range, EFAULT for None with a
        `size`. Raises TypeError for a value that is neither a number nor bytes-like.
        """
        if size is not None:
            raise _error(errno.EFAULT)  # a null pointer, which no option accepts
        self._set(level, option, value)

    def _get(self, level: int, option: int) -> int:
        key = level, option
        if key == (socket.SOL_SOCKET, socket.SO_ERROR):
            return 0
        if key == (socket.SOL_SOCKET, socket.SO_TYPE):
            return int(socket.SOCK_STREAM)
        if key == (socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return int(isinstance(self, ListeningSocket))
        if key == _SO_DOMAIN:
            return int(self.family)
        if key == _SO_PROTOCOL:
            return int(self.proto)
        self._without_effect(key)
        return self._hints.get(key, 0)

    def _set(self, level: int, option: int, value: Any) -> None:
        key = level, option
        self._hints[key] = self._without_effect(key)(_integer(value))

    def _without_effect(self, key: _OptionKey) -> Callable[[int], int]:
        """Return the converter of an option without effect. Raises OSError (ENOPROTOOPT) for other options."""
        takes = _WITHOUT_EFFECT.get(key)
        if takes is None or (key == _IPV6_TCLASS and self.family != socket.AF_INET6):
            raise _error(errno.ENOPROTOOPT)
        return takes


class ListeningSocket(SocketFacade):
    """An address of a Server. Connections do not inherit its options; Config determines theirs."""

    __slots__ = ()


class ConnectionSocket(SocketFacade):
    """A connection. Its options are those of the TCP connection."""

    __slots__ = ("_connection", "_corked", "_driver", "_nodelay", "_peername")

    def __init__(
        self, sockname: SocketAddress, peername: SocketAddress, connection: Connection | None, driver: Driver
    ) -> None:
        super().__init__(sockname)
        self._peername = peername
        self._connection = connection
        self._driver = driver
        self._nodelay = connection is None or connection.nodelay
        """Value of TCP_NODELAY, which has no effect while TCP_CORK is set."""
        self._corked = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} family={self.family!s} laddr={self._sockname} raddr={self._peername}>"

    def getpeername(self) -> SocketAddress:
        """Return the peer's host and utcp port."""
        return self._peername

    def detach(self) -> None:
        """Drop the connection, which has ended. From now on all options raise EBADF, as for a closed socket."""
        self._connection = None

    def shutdown(self, how: int) -> None:
        """Shut down one direction of the connection, or both.

        SHUT_WR sends FIN after the data that the connection has accepted. The transport is not informed, so prefer its
        `write_eof()`. SHUT_RDWR closes the connection, as `Transport.close()` does.

        Raises OSError: EOPNOTSUPP for SHUT_RD, EINVAL for any other value.
        """
        connection, now = self._open(), self._driver.link.now()
        if how == socket.SHUT_WR:
            connection.shutdown(now)
        elif how == socket.SHUT_RDWR:
            connection.close(now)
        else:
            raise _error(errno.EOPNOTSUPP if how == socket.SHUT_RD else errno.EINVAL)
        self._driver.schedule_flush()

    def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
        _check_size(size)
        if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER):
            linger = self._open().linger
            packed = _LINGER.pack(linger is not None, math.ceil(linger or 0))
            return packed[:size] if size else int(linger is not None)
        if (level, option) == (socket.IPPROTO_TCP, _Option.INFO):
            packed = tcp_info(self._open().info(self._driver.link.now()))
            return packed[:size] if size else _INT.unpack_from(packed)[0]
        if (level, option) == (socket.IPPROTO_TCP, _Option.CONGESTION):
            name = self._open().config.congestion_control.encode().ljust(_CONGESTION_NAME_SIZE, b"\0")
            return name[:size] if size else _INT.unpack_from(name)[0]
        return super().getsockopt(level, option, size)

    def _get(self, level: int, option: int) -> int:
        connection = self._open()
        match (level, option):
            case (socket.IPPROTO_TCP, socket.TCP_NODELAY):
                return int(self._nodelay)
            case (socket.IPPROTO_TCP, _Option.CORK):
                return int(self._corked)
            case (socket.IPPROTO_TCP, _Option.QUICKACK):
                return int(connection.receive_side.quick_ack)
            case (socket.SOL_SOCKET, socket.SO_KEEPALIVE):
                return int(connection.keepalive.enabled)
            case (socket.IPPROTO_TCP, _Option.MAXSEG):
                return connection.mss
            case (socket.IPPROTO_TCP, _Option.KEEPIDLE):
                return math.ceil(connection.keepalive.idle)
            case (socket.IPPROTO_TCP, _Option.KEEPINTVL):
                return math.ceil(connection.keepalive.interval)
            case (socket.IPPROTO_TCP, _Option.KEEPCNT):
                return connection.keepalive.count
            case (socket.IPPROTO_TCP, _Option.USER_TIMEOUT):
                return math.ceil((connection.user_timeout or 0) * 1000)
            case (socket.SOL_SOCKET, socket.SO_SNDBUF):
                return connection.send_side.limit
            case (socket.SOL_SOCKET, socket.SO_RCVBUF):
                return connection.receive_side.limit
        return super()._get(level, option)

    def _set(self, level: int, option: int, value: Any) -> None:
        connection = self._open()
        now = self._driver.link.now()
        match (level, option):
            case (socket.IPPROTO_TCP, socket.TCP_NODELAY):
                self._nodelay = bool(_integer(value))
                connection.set_nodelay(self._nodelay and not self._corked)
            case (socket.IPPROTO_TCP, _Option.CORK):
                self._corked = bool(_integer(value))
                connection.set_nodelay(self._nodelay and not self._corked)
            case (socket.IPPROTO_TCP, _Option.QUICKACK):
                connection.receive_side.set_quick_ack(bool(_integer(value)))
                connection.touch()
            case (socket.IPPROTO_TCP, _Option.MAXSEG):
                # No effect, as in Linux: the connection keeps the MSS of its handshake.
                size = _integer(value)
                if size and not _MIN_MAXSEG <= size <= _MAX_MAXSEG:
                    raise _error(errno.EINVAL)
            case (socket.SOL_SOCKET, socket.SO_SNDBUF):
                connection.send_side.resize(_buffer_size(value))
            case (socket.SOL_SOCKET, socket.SO_RCVBUF):
                connection.receive_side.resize(_buffer_size(value))
                connection.touch()
            case (socket.SOL_SOCKET, socket.SO_LINGER):
                on, seconds = _unpack(_LINGER, value)
                connection.set_linger(float(seconds) if on else None)
            case (socket.IPPROTO_TCP, _Option.USER_TIMEOUT):
                milliseconds = _integer(value)
                if milliseconds < 0:
                    raise _error(errno.EINVAL)
                connection.set_user_timeout(milliseconds / 1000 or None)
            case (socket.SOL_SOCKET, socket.SO_KEEPALIVE):
                connection.set_keepalive(bool(_integer(value)), now)
            case (socket.IPPROTO_TCP, _Option.KEEPIDLE | _Option.KEEPINTVL | _Option.KEEPCNT):
                self._set_keepalive(connection, option, _integer(value), now)
            case _:
                super()._set(level, option, value)
        self._driver.schedule_flush()

    @staticmethod
    def _set_keepalive(connection: Connection, option: int, value: int, now: float) -> None:
        # A count of 1, which Linux accepts, is refused, because one lost probe proves nothing (RFC 9293 MUST-29).
        low, high = (2, _MAX_KEEPALIVE_COUNT) if option == _Option.KEEPCNT else (1, _MAX_KEEPALIVE_TIME)
        if not low <= value <= high:
            raise _error(errno.EINVAL)
        if option == _Option.KEEPIDLE:
            connection.configure_keepalive(now, idle=float(value))
        elif option == _Option.KEEPINTVL:
            connection.configure_keepalive(now, interval=float(value))
        else:
            connection.configure_keepalive(now, count=value)
        if connection.keepalive.enabled:
            connection.set_keepalive(True, now)  # restarts the timer with the new values

    def _open(self) -> Connection:
        if self._connection is None:
            raise _error(errno.EBADF)
        return self._connection


def _check_size(size: int) -> None:
    if not 0 <= size <= _MAX_OPTION_SIZE:
        raise OSError("getsockopt buflen out of range")


def _integer(value: Any) -> int:
    return value if isinstance(value, int) else int(_unpack(_INT, value)[0])


def _buffer_size(value: Any) -> int:
    """Return `value` in octets, limited to the bounds of `Config.send_buffer` and `Config.recv_buffer`."""
    size = _integer(value)
    if size < 0:
        raise _error(errno.EINVAL)
    return min(max(size, _MIN_BUFFER), _MAX_BUFFER)


def _unpack(form: struct.Struct, value: Any) -> tuple[Any, ...]:
    if isinstance(value, int) or memoryview(value).nbytes < form.size:
        raise _error(errno.EINVAL)
    return form.unpack_from(value)


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))
