"""Links on loopback, and sockets that fail on command."""

import errno
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Iterable
from typing import Any, TypeAlias

import pytest

from utcp.link import sockopt
from utcp.link.path import SocketAddress
from utcp.link.udp import Received, UdpLink

LOOPBACK: dict[int, SocketAddress] = {socket.AF_INET: ("127.0.0.1", 0), socket.AF_INET6: ("::1", 0, 0, 0)}
WILDCARD: dict[int, SocketAddress] = {socket.AF_INET: ("0.0.0.0", 0), socket.AF_INET6: ("::", 0, 0, 0)}


def _ipv6_works() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def _offload_works() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return sockopt.can_segment(sock) and sockopt.receive_trains(sock)


def _local_address_works() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return sockopt.report_local_address(sock)


needs_ipv6 = pytest.mark.skipif(not _ipv6_works(), reason="no IPv6 loopback here")
needs_offload = pytest.mark.skipif(not _offload_works(), reason="this kernel has no UDP_SEGMENT or no UDP_GRO")
needs_local_address = pytest.mark.skipif(not _local_address_works(), reason="this system has no IP_PKTINFO")
needs_linux = pytest.mark.skipif(not sockopt.IS_LINUX, reason="a property of Linux")
both_families = pytest.mark.parametrize(
    "family",
    [pytest.param(socket.AF_INET, id="ipv4"), pytest.param(socket.AF_INET6, id="ipv6", marks=needs_ipv6)],
)


def port(link: UdpLink) -> int:
    return link.address[1]


def arrives(link: UdpLink, limit: int = 64) -> list[Received]:
    """One `receive()`, after something has arrived."""
    readable, _, _ = select.select([link], [], [], 5)
    assert readable, "nothing arrived within 5 s"
    return link.receive(limit)


def datagrams(received: Iterable[Received]) -> list[bytes]:
    """Each datagram by itself, trains cut up."""
    return [
        item.data[start : start + step]
        for item in received
        for step in [item.segment_size or max(1, len(item.data))]
        for start in range(0, max(1, len(item.data)), step)
    ]


def all_arrive(link: UdpLink, count: int) -> list[bytes]:
    """The next `count` datagrams."""
    found: list[bytes] = []
    while len(found) < count:
        found += datagrams(arrives(link))
    assert len(found) == count
    return found


QueueEntry: TypeAlias = tuple[bytes, list[tuple[int, int, bytes]], int, Any]
"""What `recvmsg()` returns of an error queue."""


class ScriptedSocket(socket.socket):
    """A UDP socket whose sends and receives fail as told: one errno per call, 0 for a call that goes through.

    With `refuses_trains` set, it is that errno's failure that each send with UDP_SEGMENT meets.
    """

    port_unreachable: QueueEntry = (
        bytes(40),
        [(socket.IPPROTO_IP, sockopt.IP_RECVERR, struct.pack("=IBBBBII", errno.ECONNREFUSED, 2, 3, 3, 0, 0, 0))],
        0,
        ("192.0.2.1", 9),
    )
    """An ICMP error about a datagram to somebody else."""

    def __init__(self, family: int = socket.AF_INET) -> None:
        super().__init__(family, socket.SOCK_DGRAM)
        self.bind(LOOPBACK[family])
        self.send_script: deque[int] = deque()
        self.receive_script: deque[int] = deque()
        self.refuses_trains = 0
        self.sends = 0
        self.icmp: deque[QueueEntry] = deque()
        """What the error queue holds before what the kernel has put there."""
        self.icmp_per_failure = 0
        """Entries that each failing send brings."""

    def sendto(self, *arguments: Any) -> int:
        self._play_send()
        return super().sendto(*arguments)

    def sendmsg(self, *arguments: Any) -> int:
        if self.refuses_trains and any(kind == sockopt.UDP_SEGMENT for _, kind, _ in arguments[1]):
            raise OSError(self.refuses_trains, os.strerror(self.refuses_trains))
        self._play_send()
        return super().sendmsg(*arguments)

    def recvmsg(self, *arguments: Any) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
        if len(arguments) > 2:  # MSG_ERRQUEUE
            return self.icmp.popleft() if self.icmp else super().recvmsg(*arguments)
        _play(self.receive_script)
        return super().recvmsg(*arguments)

    def recv(self, *arguments: Any) -> bytes:
        return self.icmp.popleft()[0] if self.icmp else super().recv(*arguments)

    def recvfrom(self, *arguments: Any) -> tuple[bytes, Any]:
        _play(self.receive_script)
        return super().recvfrom(*arguments)

    def _play_send(self) -> None:
        if self.send_script and self.send_script[0]:
            self.icmp.extend([self.port_unreachable] * self.icmp_per_failure)
        _play(self.send_script)
        self.sends += 1


class ReplaceableLink(UdpLink):
    """A link of which a test can replace methods in the compiled variant, too, because this class is not compiled."""


def _play(script: deque[int]) -> None:
    code = script.popleft() if script else 0
    if code == errno.EAGAIN:
        raise BlockingIOError(code, os.strerror(code))
    if code:
        raise OSError(code, os.strerror(code))
