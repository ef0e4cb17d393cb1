"""What `get_extra_info("socket")` and `Server.sockets` show: TCP sockets as far as libraries look at them."""

import errno
import math
import os
import socket
import struct
from typing import Any, Final

from utcp.aio.driver import Driver
from utcp.aio.tcp_info import tcp_info
from utcp.tcp.connection import Connection
from utcp.udp.path import SocketAddress

_LINGER: Final = struct.Struct("ii")  # struct linger: on, seconds
_INT: Final = struct.Struct("i")


class _Option:
    """Options of IPPROTO_TCP that the `socket` module does not name everywhere; the numbers are Linux's (tcp(7))."""

    MAXSEG: Final = 2
    KEEPIDLE: Final = 4
    KEEPINTVL: Final = 5
    KEEPCNT: Final = 6
    INFO: Final = 11
    CONGESTION: Final = 13
    USER_TIMEOUT: Final = 18


_CONGESTION_NAME_SIZE: Final = 16
"""TCP_CA_NAME_MAX of Linux."""

# Linux's bounds of the keepalive options (tcp(7)): seconds, seconds, probes.
_MAX_KEEPALIVE_TIME: Final = 32767
_MAX_KEEPALIVE_COUNT: Final = 127


class SocketFacade:
    """The part of `socket.socket` that ListeningSocket and ConnectionSocket share. It has no descriptor."""

    __slots__ = ("_sockname",)

    def __init__(self, sockname: SocketAddress) -> None:
        self._sockname = sockname

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
        """-1: there is no descriptor for one connection, and nothing to poll."""
        return -1

    def getsockname(self) -> SocketAddress:
        """Local host and utcp port."""
        return self._sockname

    def getpeername(self) -> SocketAddress:
        raise _error(errno.ENOTCONN)

    def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
        """As `socket.getsockopt`. Raises OSError: ENOPROTOOPT for an option that utcp does not have."""
        value = self._get(level, option)
        return _INT.pack(value)[:size] if size else value

    def setsockopt(self, level: int, option: int, value: Any, size: int | None = None) -> None:
        """As `socket.setsockopt`. Raises OSError: ENOPROTOOPT for an option that utcp does not have, EINVAL for a value
        that cannot be."""
        if size is not None:
            value = bytes(size)
        self._set(level, option, value)

    def _get(self, level: int, option: int) -> int:
        if level == socket.SOL_SOCKET:
            if option == socket.SO_ERROR:
                return 0
            if option == socket.SO_TYPE:
                return int(socket.SOCK_STREAM)
        raise _error(errno.ENOPROTOOPT)

    def _set(self, level: int, option: int, value: Any) -> None:
        raise _error(errno.ENOPROTOOPT)


class ListeningSocket(SocketFacade):
    """An address that a Server listens on."""

    __slots__ = ()


class ConnectionSocket(SocketFacade):
    """A connection: its options are those of the TCP below."""

    __slots__ = ("_connection", "_driver", "_peername")

    def __init__(
        self, sockname: SocketAddress, peername: SocketAddress, connection: Connection | None, driver: Driver
    ) -> None:
        super().__init__(sockname)
        self._peername = peername
        self._connection = connection
        self._driver = driver

    def __repr__(self) -> str:
        return f"<{type(self).__name__} family={self.family!s} laddr={self._sockname} raddr={self._peername}>"

    def getpeername(self) -> SocketAddress:
        """The peer's host and utcp port."""
        return self._peername

    def detach(self) -> None:
        """The connection is lost: from now on its options raise EBADF, as those of a closed socket do."""
        self._connection = None

    def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
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
                return int(connection.nodelay)
            case (socket.SOL_SOCKET, socket.SO_KEEPALIVE):
                return int(connection.keepalive)
            case (socket.IPPROTO_TCP, _Option.MAXSEG):
                return connection.mss
            case (socket.IPPROTO_TCP, _Option.KEEPIDLE):
                return math.ceil(connection.keepalive_idle)
            case (socket.IPPROTO_TCP, _Option.KEEPINTVL):
                return math.ceil(connection.keepalive_interval)
            case (socket.IPPROTO_TCP, _Option.KEEPCNT):
                return connection.keepalive_count
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
                connection.nodelay = bool(_integer(value))
            case (socket.SOL_SOCKET, socket.SO_LINGER):
                on, seconds = _unpack(_LINGER, value)
                connection.linger = float(seconds) if on else None
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
        # One lost probe proves nothing (RFC 9293 3.8.4, MUST-29): Linux would take a count of 1, utcp does not.
        low, high = (2, _MAX_KEEPALIVE_COUNT) if option == _Option.KEEPCNT else (1, _MAX_KEEPALIVE_TIME)
        if not low <= value <= high:
            raise _error(errno.EINVAL)
        if option == _Option.KEEPIDLE:
            connection.keepalive_idle = float(value)
        elif option == _Option.KEEPINTVL:
            connection.keepalive_interval = float(value)
        else:
            connection.keepalive_count = value
        if connection.keepalive:
            connection.set_keepalive(True, now)  # from now on by the new values

    def _open(self) -> Connection:
        if self._connection is None:
            raise _error(errno.EBADF)
        return self._connection


def _integer(value: Any) -> int:
    return value if isinstance(value, int) else int(_unpack(_INT, value)[0])


def _unpack(form: struct.Struct, value: Any) -> tuple[Any, ...]:
    if isinstance(value, int) or len(value) < form.size:
        raise _error(errno.EINVAL)
    return form.unpack_from(value)


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))
