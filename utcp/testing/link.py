"""The links of simulated hosts: a UDP socket for utcp, and the IP layer below a host's own TCP."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from typing import ClassVar, Protocol

from utcp.link.base import MAX_PATH_ERRORS, Link, LinkCounters, PathError, Received, SendError
from utcp.link.path import SocketAddress, UdpPath
from utcp.tcp.transmit import Remote, Transmit
from utcp.testing.loop import VirtualLoop
from utcp.testing.path import HEADERS
from utcp.testing.rules import Carrier


class LinkHost(Protocol):
    """The host of a link."""

    @property
    def address(self) -> str: ...
    @property
    def clock_rate(self) -> float: ...

    def host_at(self, address: str) -> object:
        """Return the host or NAT that has the address, seen from this host, or None."""

    def carry(self, sender: tuple[str, int], address: SocketAddress, data: bytes, ecn: int, carrier: Carrier) -> None:
        """Send a packet from `sender`, an address of this host."""

    def path_mtu(self, address: str) -> int: ...


class UdpPort(Protocol):
    """What is bound to a UDP port of a host."""

    @property
    def ip(self) -> str: ...
    @property
    def port(self) -> int: ...
    def arrive(self, source: tuple[str, int], local: str, data: bytes, ecn: int) -> None: ...
    def receive_icmp(self, error: PathError) -> None: ...
    def close(self) -> None: ...


class SimulatedLink(Link):
    """A UDP socket of a simulated host, bound to one of its addresses or to the wildcard.

    A remote is the pair (peer address, local address), so that a wildcard link answers from the address that the peer
    used.
    """

    carrier: ClassVar[Carrier] = "utcp"

    def __init__(
        self,
        host: LinkHost,
        loop: VirtualLoop,
        address: SocketAddress,
        receive_buffer: int,
        unbind: Callable[[UdpPort], None],
    ) -> None:
        self.host = host
        self._unbind = unbind
        self.counters = LinkCounters()
        self._address = address
        self._loop = loop
        self._descriptor = self._loop.new_descriptor()
        self._arrived: deque[Received] = deque()
        self._waiting = 0  # octets in _arrived
        self._path_errors: list[PathError] = []
        self._receive_buffer = receive_buffer
        self.is_watched = True
        """Whether the loop is told when something arrives."""
        self.closed = False

    @property
    def address(self) -> SocketAddress:
        return self._address

    @property
    def ip(self) -> str:
        """Return the bound IP address; "0.0.0.0" is the wildcard."""
        return self._address[0]

    @property
    def port(self) -> int:
        return self._address[1]

    def fileno(self) -> int:
        return self._descriptor

    def now(self) -> float:
        return self._loop.now * self.host.clock_rate

    def receive(self, limit: int = 512) -> list[Received]:
        self._check_open()
        self.counters.receive_calls += 1
        taken: list[Received] = []
        while self._arrived and len(taken) < limit:
            received = self._arrived.popleft()
            self._waiting -= len(received.data)
            taken.append(received)
        self.drained = not self._arrived
        if self._arrived and self.is_watched:
            self._loop.readable(self._descriptor)
        return taken

    def send(self, transmits: list[Transmit]) -> list[SendError]:
        self._check_open()
        failed = []
        for transmit in transmits:
            self.counters.send_calls += 1
            peer, local = self._path(transmit.remote)
            if not self._reaches(peer[0]):
                self.counters.send_errors += 1
                failed.append(SendError(transmit.remote, errno.EHOSTUNREACH, transmit.flows()))
                continue
            for datagram in transmit.datagrams():
                self.counters.datagrams_sent += 1
                self.counters.bytes_sent += len(datagram)
                self.host.carry((local, self.port), peer, datagram, transmit.ecn, self.carrier)
        return failed

    def path_errors(self) -> list[PathError]:
        errors, self._path_errors = self._path_errors, []
        self.counters.path_errors += len(errors)
        return errors

    def flush_pending(self) -> list[SendError]:
        return []

    def watch_input(self, wanted: bool) -> bool:
        self.is_watched = wanted
        if wanted and self._arrived:
            self._loop.readable(self._descriptor)
        return True

    def remote(self, address: SocketAddress) -> Remote:
        host = self.host.host_at(address[0])
        if host is None:
            text = f"{os.strerror(errno.EHOSTUNREACH)}: the simulated network has no host at {address[0]}"
            raise OSError(errno.EHOSTUNREACH, text)
        if is_loopback(self.ip) and host is not self.host:
            text = f"{os.strerror(errno.EINVAL)}: a socket bound to {self.ip} reaches no other host"
            raise OSError(errno.EINVAL, text)
        local = self.ip
        if local == "0.0.0.0":
            local = address[0] if is_loopback(address[0]) else self.host.address
        return UdpPath((address[0], address[1]), local)

    def peername(self, remote: Remote) -> SocketAddress:
        return self._path(remote).peer

    def sockname(self, remote: Remote) -> SocketAddress:
        return self._path(remote).local, self.port

    def receives_at(self, address: SocketAddress) -> bool:
        host, port = address[:2]
        return port == self.port and self.ip in ("0.0.0.0", host) and self.host.host_at(host) is self.host

    def mtu(self, remote: Remote) -> int:
        peer = self._path(remote).peer
        return self.host.path_mtu(peer[0]) - HEADERS[self.carrier]

    @property
    def receive_capacity(self) -> int:
        return self._receive_buffer

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._arrived.clear()
            self._path_errors.clear()
            self._unbind(self)

    def arrive(self, source: tuple[str, int], local: str, data: bytes, ecn: int) -> None:
        """Queue a datagram from `source` to the local address `local`. A full receive buffer drops it."""
        if self.closed:
            return
        if self._waiting + len(data) > self._receive_buffer:
            return
        self.counters.datagrams_received += 1
        self.counters.bytes_received += len(data)
        self._waiting += len(data)
        if not self._arrived and self.is_watched:
            self._loop.readable(self._descriptor)
        self._arrived.append(Received(data, UdpPath(source, local), None, ecn))

    def receive_icmp(self, error: PathError) -> None:
        """Queue an ICMP error. It is dropped when too many are queued."""
        if not self.closed and len(self._path_errors) < MAX_PATH_ERRORS:
            self._path_errors.append(error)
            self._loop.readable(self._descriptor)

    def _reaches(self, address: str) -> bool:
        return self.host.host_at(address) is not None

    def _check_open(self) -> None:
        if self.closed:
            raise OSError(errno.EBADF, "the simulated link is closed")

    @staticmethod
    def _path(remote: Remote) -> UdpPath:
        if not isinstance(remote, UdpPath):
            raise TypeError(f"{remote!r} is not a remote of a simulated link")
        return remote


class SegmentLink(SimulatedLink):
    """The IP layer below a host's own TCP, at one address of the host. Its ports are 0, because IP has none."""

    carrier = "tcp"

    def remote(self, address: SocketAddress) -> Remote:
        return super().remote((address[0], 0))


def is_loopback(address: str) -> bool:
    """Return whether an IPv4 address names the host itself, on every host."""
    return address.startswith("127.")
