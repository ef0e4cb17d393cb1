"""A UDP socket of a simulated kernel: the calls of the socket API that never block."""

from __future__ import annotations

import errno
import selectors
import socket
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from utcp.link.base import PathError
from utcp.link.path import SocketAddress, UdpPath
from utcp.testing.kernel import BROADCAST, NO_SHARING, WILDCARD, Kernel, error
from utcp.testing.link import UdpPort, is_loopback
from utcp.testing.owner import Owner

_MAX_PAYLOAD: Final = 65507
"""Largest payload of a UDP datagram over IPv4, octets."""

_RECEIVE_BUFFER: Final = 212_992
"""Octets that wait in a socket (net.core.rmem_default of Linux). A datagram beyond them is dropped."""

_Datagram = tuple[bytes, tuple[str, int]]


class UdpSocket:
    """One UDP socket. All calls return at once, and raise BlockingIOError where a blocking socket would wait."""

    kind: Final = socket.SOCK_DGRAM

    def __init__(self, kernel: Kernel, process: Owner) -> None:
        self.process: Final = process
        self._kernel = kernel
        self._port: UdpPort | None = None
        self._peer: tuple[str, int] | None = None
        self._arrived: deque[_Datagram] = deque()
        self._waiting = 0  # octets in _arrived
        self._error: OSError | None = None  # not reported yet
        self._options: dict[tuple[int, int], Any] = {}
        self.closed = False
        self.descriptor: Final = kernel.loop.descriptors.new_socket(self._poll)
        kernel.add(self)

    # ------------------------------------------------------------------ addresses

    def bind(self, address: tuple[str, int]) -> None:
        if self._port is not None:
            raise error(errno.EINVAL)
        ip, port = address
        self._kernel.check_local(ip)
        host = self._kernel.host
        try:
            port = host.free_udp_port(ip, port)
        except OSError:
            wants_to_share = self._options.get((socket.SOL_SOCKET, socket.SO_REUSEPORT))
            raise error(errno.EADDRINUSE, NO_SHARING if wants_to_share else "") from None
        self._port = _Port(self, ip, port, host.unbind)
        host.add_udp(self._port)

    def connect(self, address: tuple[str, int]) -> None:
        """Set the only peer."""
        ip, port = address
        self._check_route(ip)
        self._bound()
        self._peer = ip, port

    def getsockname(self) -> SocketAddress:
        if self._port is None:
            return (WILDCARD, 0)
        return (self._port.ip if self._peer is None else self._local(self._peer[0])), self._port.port

    def getpeername(self) -> SocketAddress:
        if self._peer is None:
            raise error(errno.ENOTCONN)
        return self._peer

    # ------------------------------------------------------------------ datagrams

    def send(self, data: bytes) -> int:
        if self._peer is None:
            raise error(errno.EDESTADDRREQ)
        return self._send(data, self._peer)

    def sendto(self, data: bytes, address: tuple[str, int]) -> int:
        if not address[1]:
            raise error(errno.EINVAL)
        return self._send(data, address)

    def _send(self, data: bytes, address: tuple[str, int]) -> int:
        self._raise_error()
        if len(data) > _MAX_PAYLOAD:
            raise error(errno.EMSGSIZE)
        self._check_route(address[0])
        port = self._bound()
        self._kernel.host.carry((self._local(address[0]), port.port), address, data, 0, "udp")
        return len(data)

    def recvfrom(self, size: int) -> _Datagram:
        self._raise_error()
        if not self._arrived:
            raise BlockingIOError(errno.EAGAIN, "no datagram has arrived")
        data, source = self._arrived.popleft()
        self._waiting -= len(data)
        return data[:size], source

    def recv(self, size: int) -> bytes:
        return self.recvfrom(size)[0]

    def _check_route(self, ip: str) -> None:
        if self._kernel.gone:
            raise error(errno.ENETDOWN, "the simulated host is down")
        if ip == BROADCAST:
            if not self._options.get((socket.SOL_SOCKET, socket.SO_BROADCAST)):
                raise error(errno.EACCES)
            raise error(errno.ENETUNREACH, "the simulated network has no broadcast: send to each host by itself")
        if self._kernel.host.host_at(ip) is None:
            raise error(errno.EHOSTUNREACH, f"the simulated network has no host at {ip}")

    def _bound(self) -> UdpPort:
        if self._port is None:
            self.bind((WILDCARD, 0))
        assert self._port is not None  # noqa: S101  # bind() has set it
        return self._port

    def _local(self, peer: str) -> str:
        """Return the source address of datagrams to `peer`."""
        ip = WILDCARD if self._port is None else self._port.ip
        if ip != WILDCARD:
            return ip
        return peer if is_loopback(peer) else self._kernel.host.address

    def _raise_error(self) -> None:
        pending, self._error = self._error, None
        if pending is not None:
            raise pending

    # ------------------------------------------------------------------ options

    def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
        value = self._options.get((level, option), 0)
        if level == socket.SOL_SOCKET:
            if option == socket.SO_ERROR:
                pending, self._error = self._error, None
                value = 0 if pending is None else pending.errno or 0
            elif option == socket.SO_TYPE:
                value = int(self.kind)
        elif level == socket.IPPROTO_TCP:
            raise error(errno.ENOPROTOOPT)
        if isinstance(value, int):
            return value.to_bytes(4, sys.byteorder)[:size] if size else value
        return bytes(value)[:size] if size else int.from_bytes(bytes(value)[:4], sys.byteorder)

    def setsockopt(self, level: int, option: int, value: Any, size: int | None = None) -> None:
        """Store the option. None has an effect, because the simulated network has neither broadcast nor multicast."""
        if level == socket.IPPROTO_TCP or size is not None:
            raise error(errno.ENOPROTOOPT)
        if level == socket.IPPROTO_IP and option == socket.IP_ADD_MEMBERSHIP:
            raise error(errno.EOPNOTSUPP, "the simulated network has no multicast: send to each host by itself")
        self._options[level, option] = value

    # ------------------------------------------------------------------ closing

    def shutdown(self, _: int) -> None:
        if self._peer is None:
            raise error(errno.ENOTCONN)

    def close(self) -> None:
        """Close the socket. Idempotent."""
        if not self.closed:
            self.closed = True
            self._kernel.remove(self)
            self._kernel.loop.descriptors.forget(self.descriptor)
            if self._port is not None:
                self._port.close()

    # ------------------------------------------------------------------ for the port

    def arrive(self, source: tuple[str, int], data: bytes) -> None:
        if self._peer not in (None, source) or self._waiting + len(data) > _RECEIVE_BUFFER:
            return
        self._arrived.append((data, source))
        self._waiting += len(data)
        self._kernel.loop.descriptors.touch(self.descriptor)

    def receive_icmp(self, peer: SocketAddress, code: int) -> None:
        """Store an ICMP error, which only a connected socket reports."""
        if self._peer == peer:
            self._error = error(code)
            self._kernel.loop.descriptors.touch(self.descriptor)

    def _poll(self) -> int:
        readable = self._arrived or self._error is not None
        return selectors.EVENT_WRITE | (selectors.EVENT_READ if readable else 0)


class _Port:
    """The UDP port of a socket."""

    def __init__(self, owner: UdpSocket, ip: str, port: int, unbind: Callable[[UdpPort], None]) -> None:
        self.ip: Final = ip
        self.port: Final = port
        self._owner = owner
        self._unbind = unbind

    def arrive(self, source: tuple[str, int], local: str, data: bytes, ecn: int) -> None:
        self._owner.arrive(source, data)

    def receive_icmp(self, reported: PathError) -> None:
        remote = reported.remote
        if isinstance(remote, UdpPath) and reported.errno == errno.ECONNREFUSED:
            self._owner.receive_icmp(remote.peer, reported.errno)

    def close(self) -> None:
        """Free the port, because the socket is closed or its host has crashed."""
        self._unbind(self)
