"""A TCP socket of a simulated kernel: the calls of the socket API that never block."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import sys
from typing import Any, Final

from utcp.aio.address import with_port
from utcp.aio.driver import Driver
from utcp.aio.open_endpoint import OpenEndpoint
from utcp.aio.socket_facade import ConnectionSocket, ListeningSocket, SocketFacade
from utcp.errors import InvalidState
from utcp.link.path import SocketAddress
from utcp.tcp.connection import Connection
from utcp.tcp.event import CONNECTED, ENDED, WRITABLE
from utcp.tcp.listener import Listener
from utcp.testing.kernel import BROADCAST, KERNEL, LOOPBACK, NO_SHARING, SOMAXCONN, WILDCARD, Kernel, error
from utcp.testing.owner import Owner

_LINGER_OFF: Final = bytes(8)

_MAX_INT: Final = 2**31 - 1

_DEFAULTS: Final[dict[tuple[int, int], int]] = {
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 0,
    (socket.SOL_SOCKET, socket.SO_LINGER): 0,
    (socket.SOL_SOCKET, socket.SO_SNDBUF): 16 << 10,
    (socket.SOL_SOCKET, socket.SO_RCVBUF): KERNEL.initial_recv_buffer,
    (socket.IPPROTO_TCP, socket.TCP_NODELAY): 0,
    (socket.IPPROTO_TCP, 2): 536,  # TCP_MAXSEG
    (socket.IPPROTO_TCP, 3): 0,  # TCP_CORK
    (socket.IPPROTO_TCP, 4): int(KERNEL.keepalive_idle),  # TCP_KEEPIDLE
    (socket.IPPROTO_TCP, 5): int(KERNEL.keepalive_interval),  # TCP_KEEPINTVL
    (socket.IPPROTO_TCP, 6): KERNEL.keepalive_count,  # TCP_KEEPCNT
    (socket.IPPROTO_TCP, 12): 1,  # TCP_QUICKACK
    (socket.IPPROTO_TCP, 18): 0,  # TCP_USER_TIMEOUT
}
"""Values of the options that a socket without a connection has, by level and Linux's number (tcp(7)). A connection gets
those that were set before it."""


class _Unconnected(ListeningSocket):
    """The options of a socket without a connection, for the connections that it will have."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        super().__init__((WILDCARD, 0))
        self.values: dict[tuple[int, int], Any] = {}
        """The options that were set, in order."""

    def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
        value = self.values.get((level, option))
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)[:size] if size else int.from_bytes(value[:4], sys.byteorder)
        if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER) and size:
            return _LINGER_OFF[:size]
        return super().getsockopt(level, option, size)

    def _get(self, level: int, option: int) -> int:
        value = self.values.get((level, option), _DEFAULTS.get((level, option)))
        return super()._get(level, option) if value is None else int(value)

    def _set(self, level: int, option: int, value: Any) -> None:
        if (level, option) in _DEFAULTS:
            self.values[level, option] = value
        else:
            super()._set(level, option, value)


class TcpSocket:
    """One TCP socket. All calls return at once, and raise BlockingIOError where a blocking socket would wait.

    It is the user of its connection or its listeners. It is also among the transports of its stack, so that the crash
    of its host and the end of the loop end it.

    Args:
        kernel: the kernel of the socket's host.
        process: the process that has the socket.
    """

    callback_context = None
    kind: Final = socket.SOCK_STREAM

    def __init__(self, kernel: Kernel, process: Owner) -> None:
        self.process: Final = process
        self.bound: tuple[str, int] | None = None
        """The address that the socket is bound to."""
        self.reuses_address = False
        """Whether SO_REUSEADDR is set."""
        self._wants_to_share = False  # SO_REUSEPORT is set
        self._kernel = kernel
        self._unconnected = _Unconnected()
        self._facade: ConnectionSocket | None = None
        self._connection: Connection | None = None
        self._endpoint: OpenEndpoint | None = None
        self._driver: Driver | None = None
        self._listeners: dict[Listener, OpenEndpoint] = {}
        self._backlog = 0
        self._connecting = False
        self._failed_to_connect = False
        self._error: OSError | None = None  # not reported yet
        self._full = False  # the send buffer has no room
        self._reads_no_more = False
        self.closed = False
        self.descriptor: Final = kernel.loop.descriptors.new_socket(self._poll)
        kernel.add_tcp(self)

    @property
    def listens(self) -> bool:
        return bool(self._listeners)

    # ------------------------------------------------------------------ addresses

    def bind(self, address: tuple[str, int]) -> None:
        if self.bound is not None:
            raise error(errno.EINVAL)
        ip, port = address
        self._kernel.check_local(ip)
        try:
            self.bound = ip, self._kernel.port_for(ip, port, reuses_address=self.reuses_address)
        except OSError:
            raise error(errno.EADDRINUSE, NO_SHARING if self._wants_to_share else "") from None

    def getsockname(self) -> SocketAddress:
        return self.bound or (WILDCARD, 0)

    def getpeername(self) -> SocketAddress:
        if self._connection is None or self._connecting or self._connection.ended:
            raise error(errno.ENOTCONN)
        return self.peer

    @property
    def peer(self) -> SocketAddress:
        """Return the address of the peer, also after the connection's end. Raises OSError without a connection."""
        if self._facade is None:
            raise error(errno.ENOTCONN)
        return self._facade.getpeername()

    # ------------------------------------------------------------------ passive opens

    def listen(self, backlog: int) -> None:
        if self._connection is not None:
            raise error(errno.EINVAL)
        if self._listeners:
            return
        if self.bound is None:
            self.bind((WILDCARD, 0))
        ip, port = self.bound or (WILDCARD, 0)
        if backlog > _MAX_INT:
            raise OverflowError("Python int too large to convert to C int")
        # Linux lets one connection more wait than the backlog.
        self._backlog = max(0, min(backlog, SOMAXCONN)) + 1
        endpoints = self._kernel.endpoints_at(ip)
        if any(port in endpoint.stack.listeners for endpoint in endpoints):
            raise error(errno.EADDRINUSE)
        for endpoint in endpoints:
            self.listen_at(endpoint)

    def listen_at(self, endpoint: OpenEndpoint) -> None:
        """Listen on a stack as well, because the socket is bound to its address or to the wildcard."""
        if self.bound is not None:
            self._listeners[endpoint.listen(self.bound[1], self._backlog, self)] = endpoint

    def accept(self) -> TcpSocket:
        if not self._listeners:
            raise error(errno.EINVAL)
        for listener, endpoint in self._listeners.items():
            connection = listener.accept()
            if connection is not None:
                accepted = TcpSocket(self._kernel, self.process)
                accepted._inherit(self)
                accepted._use(endpoint, connection)
                return accepted
        raise BlockingIOError(errno.EAGAIN, "no connection waits to be accepted")

    def _inherit(self, listener: TcpSocket) -> None:
        self.reuses_address = listener.reuses_address
        self._unconnected = listener._unconnected

    def _end_listening(self) -> None:
        for listener, endpoint in self._listeners.items():
            listener.close(endpoint.link.now())
            endpoint.flush_soon()
        self._listeners = {}

    # ------------------------------------------------------------------ active opens

    def connect(self, address: tuple[str, int]) -> None:
        """Begin to connect, and raise BlockingIOError (EINPROGRESS).

        When the socket is writable, the connection is established or has failed, which the option SO_ERROR shows.
        """
        if self._connecting:
            raise error(errno.EALREADY)
        if self._connection is not None or self._listeners:
            raise error(errno.EISCONN)
        ip, port = address
        if ip == WILDCARD:
            ip = LOOPBACK
        if ip == BROADCAST:
            raise error(errno.ENETUNREACH)
        if not port:
            raise error(errno.ECONNREFUSED)
        local, local_port = self.bound or (WILDCARD, None)
        endpoint = self._kernel.endpoint_towards(ip, local)
        link = endpoint.link
        connection = endpoint.stack.connect(link.remote((ip, 0)), port, link.now(), local_port=local_port, context=self)
        self._connecting = True
        self._failed_to_connect = False
        self._use(endpoint, connection)
        self._flush()
        raise BlockingIOError(errno.EINPROGRESS, os.strerror(errno.EINPROGRESS))

    def _use(self, endpoint: OpenEndpoint, connection: Connection) -> None:
        link, driver = endpoint.link, endpoint.driver
        sockname = with_port(link.sockname(connection.remote), connection.local_port)
        peername = with_port(link.peername(connection.remote), connection.remote_port)
        self._endpoint, self._driver, self._connection = endpoint, driver, connection
        self._facade = ConnectionSocket(sockname, peername, connection, driver)
        self.bound = sockname[0], sockname[1]
        connection.context = self
        driver.transports[self] = None
        for (level, option), value in self._unconnected.values.items():
            self._facade.setsockopt(level, option, value)

    # ------------------------------------------------------------------ the stream

    def recv(self, size: int) -> bytes:
        if self._failed_to_connect:
            self._raise_error()
            return b""
        connection = self._connected()
        if connection.readable:
            data = connection.read(size)
            self._flush()
            return data
        self._raise_error()
        if connection.at_eof or connection.ended or self._reads_no_more:
            return b""
        raise BlockingIOError(errno.EAGAIN, "no data has arrived")

    def send(self, data: bytes) -> int:
        if self._connection is None:
            self._raise_error()
            raise error(errno.EPIPE)
        connection = self._connected()
        self._raise_error()
        try:
            sent = connection.send(data)
        except InvalidState:
            raise error(errno.EPIPE) from None
        self._full = sent < len(data)
        self._flush()
        if data and not sent:
            raise BlockingIOError(errno.EAGAIN, "the send buffer is full")
        return sent

    def shutdown(self, how: int) -> None:
        if how not in (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR):
            raise error(errno.EINVAL)
        if self._listeners:
            self._end_listening()
            return
        connection = self._connected()
        if connection.ended:
            raise error(errno.ENOTCONN)
        if how != socket.SHUT_WR:
            self._reads_no_more = True
        if how != socket.SHUT_RD:
            connection.shutdown(self._now())
            self._flush()
        self._touch()

    def _connected(self) -> Connection:
        if self._connection is None or self._connecting:
            self._raise_error()
            raise error(errno.ENOTCONN)
        return self._connection

    def _raise_error(self) -> None:
        pending, self._error = self._error, None
        if pending is not None:
            raise pending

    # ------------------------------------------------------------------ options

    def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
        if level != socket.SOL_SOCKET or option not in (socket.SO_ERROR, socket.SO_ACCEPTCONN):
            return self._options().getsockopt(level, option, size)
        if size < 0:
            raise OSError("getsockopt buflen out of range")
        value = int(self.listens)
        if option == socket.SO_ERROR:
            pending, self._error = self._error, None
            value = 0 if pending is None else pending.errno or 0
        return value.to_bytes(4, sys.byteorder)[:size] if size else value

    def setsockopt(self, level: int, option: int, value: Any, size: int | None = None) -> None:
        self._options().setsockopt(level, option, value, size)
        if (level, option) == (socket.SOL_SOCKET, socket.SO_REUSEADDR):
            self.reuses_address = bool(value)
        if (level, option) == (socket.SOL_SOCKET, socket.SO_REUSEPORT):
            self._wants_to_share = bool(value)

    def _options(self) -> SocketFacade:
        return self._unconnected if self._facade is None else self._facade

    # ------------------------------------------------------------------ closing

    def close(self) -> None:
        """Close the socket, as close() and the end of its process do: send FIN behind the data, or RST if received data
        is unread or the linger time is 0. The kernel delivers the data afterwards. Idempotent."""
        if self.closed:
            return
        self._forget()
        self._end_listening()
        connection = self._connection
        if connection is not None:
            connection.context = None
            connection.close(self._now())
            self._flush()

    def _forget(self) -> None:
        self.closed = True
        self._kernel.remove(self)
        self._kernel.loop.descriptors.forget(self.descriptor)
        if self._driver is not None:
            self._driver.transports.pop(self, None)

    # ------------------------------------------------------------------ for the stack and its endpoint

    def ready(self, item: Connection | Listener) -> None:
        """Handle the new events of the connection or a listener."""
        if isinstance(item, Connection):
            events = item.take_events()
            if events & WRITABLE:
                self._full = False
            if events & ENDED:
                self._error = _error_of(item)
                if self._connecting:
                    self._fail_to_connect(item)
            if events & CONNECTED:
                self._connecting = False
        self._touch()

    def _fail_to_connect(self, connection: Connection) -> None:
        """Return to the state before connect(), except that Linux has shut the socket down: recv() returns nothing."""
        connection.context = None
        if self._driver is not None:
            self._driver.transports.pop(self, None)
        self._connecting = False
        self._failed_to_connect = True
        self._connection = self._endpoint = self._driver = self._facade = None

    def is_closing(self) -> bool:
        return self.closed

    def close_by_owner(self) -> None:
        self.close()

    def close_without_notify(self) -> None:
        """Do nothing, because the kernel knows nothing of TLS."""

    def fail(self, _: OSError) -> None:
        self.close()

    def vanish(self) -> None:
        """End without sending anything, because the host has lost its power."""
        self._forget()

    def _poll(self) -> int:
        if self._listeners:
            return selectors.EVENT_READ if any(listener.queue for listener in self._listeners) else 0
        if self._connecting:
            return 0
        connection = self._connection
        if connection is None or connection.ended or self._error is not None:
            return selectors.EVENT_READ | selectors.EVENT_WRITE
        readable = connection.readable or connection.at_eof or self._reads_no_more
        return (selectors.EVENT_READ if readable else 0) | (0 if self._full else selectors.EVENT_WRITE)

    def _touch(self) -> None:
        self._kernel.loop.descriptors.touch(self.descriptor)

    def _now(self) -> float:
        return 0.0 if self._driver is None else self._driver.link.now()

    def _flush(self) -> None:
        """Send at once, as a system call does."""
        if self._driver is not None:
            self._driver.flush()


def _error_of(connection: Connection) -> OSError | None:
    """Return the error of a connection that has ended, or None. After the peer's FIN, and before that of the program,
    Linux reports RST as EPIPE."""
    if connection.error is None:
        return None
    code = connection.error.errno or errno.ECONNABORTED
    if code == errno.ECONNRESET and connection.receive_side.fin_reached and not connection.send_side.fin_queued:
        code = errno.EPIPE
    return error(code)
