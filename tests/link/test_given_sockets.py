"""Sockets that had an owner before: whatever options they come with, a link hears, sends, and is not misled."""

import errno
import socket
import struct
from collections import deque
from typing import Any

import pytest

from tests.link.conftest import Keep
from tests.link.sockets import (
    LOOPBACK,
    WILDCARD,
    QueueEntry,
    ScriptedSocket,
    all_arrive,
    arrives,
    both_families,
    datagrams,
    needs_ipv6,
    needs_linux,
    needs_offload,
    port,
)
from utcp.link import sockopt
from utcp.link.base import Received
from utcp.link.path import UdpPath
from utcp.link.udp import BUFFER_SIZE, UdpLink
from utcp.tcp.transmit import Transmit

pytestmark = [needs_linux, pytest.mark.defect(82)]

IP, IPV6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
# From Linux' asm-generic/socket.h, linux/in.h, linux/in6.h, linux/net_tstamp.h.
EVERY_TIMESTAMP = 0x1 | 0x2 | 0x8 | 0x10
OPTIONS: dict[str, tuple[int, int, int]] = {
    "SO_TIMESTAMP": (socket.SOL_SOCKET, 29, 1),
    "SO_TIMESTAMPNS": (socket.SOL_SOCKET, 35, 1),
    "SO_TIMESTAMPING": (socket.SOL_SOCKET, 37, EVERY_TIMESTAMP),
    "SO_RXQ_OVFL": (socket.SOL_SOCKET, 40, 1),
    "IP_RECVOPTS": (IP, 6, 1),
    "IP_RETOPTS": (IP, 7, 1),
    "IP_PKTINFO": (IP, 8, 1),
    "IP_RECVERR": (IP, 11, 1),
    "IP_RECVTTL": (IP, 12, 1),
    "IP_RECVTOS": (IP, 13, 1),
    "IP_RECVORIGDSTADDR": (IP, 20, 1),
    "IP_RECVFRAGSIZE": (IP, 25, 1),
}
OPTIONS6: dict[str, tuple[int, int, int]] = {
    "IPV6_RECVERR": (IPV6, 25, 1),
    "IPV6_RECVPKTINFO": (IPV6, 49, 1),
    "IPV6_RECVHOPLIMIT": (IPV6, 51, 1),
    "IPV6_RECVRTHDR": (IPV6, 56, 1),
    "IPV6_RECVHOPOPTS": (IPV6, 53, 1),
    "IPV6_RECVDSTOPTS": (IPV6, 58, 1),
    "IPV6_RECVTCLASS": (IPV6, 66, 1),
    "IPV6_RECVORIGDSTADDR": (IPV6, 74, 1),
    "IPV6_RECVFRAGSIZE": (IPV6, 77, 1),
}


def given(family: int, address: Any, *options: tuple[int, int, int]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    for level, option, value in options:
        sock.setsockopt(level, option, value)
    sock.bind(address)
    return sock


def exchange(link: UdpLink, peer: UdpLink, host: str) -> None:
    """A datagram and a train, both ways; each end names the other as it would for a connection that it opens."""
    there = link.remote((host, port(peer)))
    for data in (b"one", b"x" * 2500):
        peer.send([Transmit(peer.remote((host, port(link))), [data], len(data), 1000, ecn=2)])
        found: list[Received] = []
        while sum(len(item.data) for item in found) < len(data):
            found += arrives(link)
        assert b"".join(datagrams(found)) == data
        assert {(item.remote, item.ecn) for item in found} == {(there, 2)}
        link.send([Transmit(there, [data], len(data), 1000)])
        assert b"".join(all_arrive(peer, -(-len(data) // 1000))) == data
    assert link.counters.truncated == 0


@pytest.mark.parametrize("wildcard", [True, False])
@pytest.mark.parametrize("name", OPTIONS)
def test_an_ipv4_socket_with_an_option(name: str, wildcard: bool, keep: Keep) -> None:
    address = WILDCARD[socket.AF_INET] if wildcard else LOOPBACK[socket.AF_INET]
    link = keep(UdpLink(given(socket.AF_INET, address, OPTIONS[name])))
    exchange(link, keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET])), "127.0.0.1")


@pytest.mark.parametrize("wildcard", [True, False])
def test_an_ipv4_socket_with_every_option(wildcard: bool, keep: Keep) -> None:
    address = WILDCARD[socket.AF_INET] if wildcard else LOOPBACK[socket.AF_INET]
    link = keep(UdpLink(given(socket.AF_INET, address, *OPTIONS.values())))
    exchange(link, keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET])), "127.0.0.1")


@needs_ipv6
@pytest.mark.parametrize("wildcard", [True, False])
def test_an_ipv6_socket_with_every_option(wildcard: bool, keep: Keep) -> None:
    address = WILDCARD[socket.AF_INET6] if wildcard else LOOPBACK[socket.AF_INET6]
    link = keep(UdpLink(given(socket.AF_INET6, address, *OPTIONS.values(), *OPTIONS6.values())))
    exchange(link, keep(UdpLink.bind(socket.AF_INET6, LOOPBACK[socket.AF_INET6])), "::1")


@needs_ipv6
@pytest.mark.parametrize("host", ["::", "::ffff:127.0.0.1"])
def test_a_socket_for_both_families_with_every_option(host: str, keep: Keep) -> None:
    """An IPv4 datagram brings the messages of both families."""
    both = (IPV6, socket.IPV6_V6ONLY, 0)
    link = keep(UdpLink(given(socket.AF_INET6, (host, 0), both, *OPTIONS.values(), *OPTIONS6.values())))
    peer = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    peer.send([Transmit(peer.remote(("127.0.0.1", port(link))), [b"x" * 2500], 2500, 1000, ecn=2)])
    there = link.remote(("::ffff:127.0.0.1", port(peer), 0, 0))
    found = arrives(link)
    assert b"".join(datagrams(found)) == b"x" * 2500
    assert {(item.remote, item.ecn) for item in found} == {(there, 2)}
    link.send([Transmit(there, [b"reply"], 5)])
    assert all_arrive(peer, 1) == [b"reply"]


@needs_ipv6
@pytest.mark.rfc9293("MUST-57")
def test_an_ipv4_broadcast_to_a_socket_for_both_families_is_dropped(keep: Keep) -> None:
    link = keep(UdpLink(given(socket.AF_INET6, ("::", 0), (IPV6, socket.IPV6_V6ONLY, 0))))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.sendto(b"to all", ("127.255.255.255", port(link)))
        sock.sendto(b"to one", ("127.0.0.1", port(link)))
    found = arrives(link)
    if len(found) + link.counters.not_unicast < 2:
        found += arrives(link)
    assert [item.data for item in found] == [b"to one"]


@both_families
def test_the_error_queue_of_a_socket_with_every_option(family: int, keep: Keep) -> None:
    options = [*OPTIONS.values(), *(OPTIONS6.values() if family == socket.AF_INET6 else ())]
    link = keep(UdpLink(given(family, WILDCARD[family], *options)))
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind(LOOPBACK[family])
        remote = link.remote(sock.getsockname())
    link.send([Transmit(remote, [bytes(40)], 40)])
    found = []
    for _ in range(3):
        link.receive()
        found += link.path_errors()
    assert [(error.remote, error.errno) for error in found] == [(remote, errno.ECONNREFUSED)]


class TruncatingSocket(ScriptedSocket):
    """What it receives is given these flags, one for each datagram."""

    def __init__(self) -> None:
        super().__init__()
        self.flags: deque[int] = deque()

    def recvmsg(self, *arguments: Any) -> QueueEntry:
        data, control, flags, address = super().recvmsg(*arguments)
        if len(arguments) > 2:
            return data, control, flags, address
        cut = self.flags.popleft() if self.flags else 0
        if cut == sockopt.MSG_CTRUNC:
            control = [(sockopt.SOL_UDP, sockopt.UDP_GRO, b"\0\1")]  # the kernel cuts a message where the room ends
        return data, control, flags | cut, address


@pytest.mark.parametrize("flag", [sockopt.MSG_CTRUNC, sockopt.MSG_TRUNC])
def test_what_did_not_fit_is_dropped_and_counted(flag: int, keep: Keep) -> None:
    """A train whose size is missing must not pass for one segment: there is no checksum that would notice."""
    sock = TruncatingSocket()
    link = keep(UdpLink(sock))
    peer = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    sock.flags.extend([0, flag, 0])
    peer.send([Transmit(link.address, [bytes((number,))], 1) for number in range(3)])
    assert all_arrive(link, 2) == [b"\0", b"\2"]
    assert link.counters.truncated == 1
    assert link.counters.datagrams_received == 2


def test_an_entry_of_the_error_queue_that_did_not_fit_is_skipped(keep: Keep) -> None:
    sock = ScriptedSocket()
    link = keep(UdpLink(sock))
    cut = (bytes(40), [(IP, sockopt.IP_RECVERR, bytes(5))], sockopt.MSG_CTRUNC, ("192.0.2.1", 9))
    sock.icmp.extend([cut, ScriptedSocket.port_unreachable])
    link.has_path_errors = True
    assert [error.errno for error in link.path_errors()] == [errno.ECONNREFUSED]


def test_messages_of_other_levels_and_kinds_are_none_of_ours(keep: Keep) -> None:
    """Numbers that mean one thing at one level mean another at the next."""
    sock = TruncatingSocket()
    link = keep(UdpLink(sock))
    peer = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    numbers = (sockopt.IP_TOS, sockopt.IP_PKTINFO, sockopt.IPV6_TCLASS, sockopt.IPV6_PKTINFO, sockopt.UDP_GRO)
    foreign = [
        (level, kind, struct.pack("=iii", 3, 3, 3))
        for level in (socket.SOL_SOCKET, IP, IPV6, sockopt.SOL_UDP, 132)
        for kind in (*numbers, 29, 35, 200)
        if (level, kind) not in {(IP, sockopt.IP_TOS), (IPV6, sockopt.IPV6_TCLASS), (sockopt.SOL_UDP, sockopt.UDP_GRO)}
    ]

    def recvmsg(*arguments: Any) -> QueueEntry:
        data, control, flags, address = TruncatingSocket.recvmsg(sock, *arguments)
        return data, control + foreign, flags, address

    sock.recvmsg = recvmsg  # type: ignore[method-assign]  # as if the kernel sent them
    peer.send([Transmit(link.address, [b"text"], 4)])
    (received,) = arrives(link)
    assert (received.data, received.remote, received.segment_size, received.ecn) == (b"text", peer.address, None, 0)


@needs_offload
def test_trains_are_told_apart_where_they_were_asked_for_before(keep: Keep) -> None:
    """A link that takes no trains turns off what would join datagrams."""
    sock = given(socket.AF_INET, LOOPBACK[socket.AF_INET], (sockopt.SOL_UDP, sockopt.UDP_GRO, 1))
    link = keep(UdpLink(sock, offload=False))
    peer = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    peer.send([Transmit(link.address, [b"x" * 30], 30, 10)])
    assert all_arrive(link, 3) == [b"x" * 10] * 3


def test_a_corked_socket_sends(keep: Keep) -> None:
    sock = given(socket.AF_INET, LOOPBACK[socket.AF_INET], (sockopt.SOL_UDP, sockopt.UDP_CORK, 1))
    link = keep(UdpLink(sock))
    peer = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    link.send([Transmit(peer.address, [b"one"], 3), Transmit(peer.address, [b"two"], 3)])
    assert all_arrive(peer, 2) == [b"one", b"two"]


@both_families
@pytest.mark.rfc("3168", "5-1")
def test_the_traffic_class_of_the_socket_stays_and_its_ecn_bits_do_not(family: int, keep: Keep) -> None:
    """DSCP 46; a queue that looks at it must not let marked segments and others overtake each other."""
    option = (
        (IPV6, sockopt.IPV6_TCLASS, 46 << 2 | 1) if family == socket.AF_INET6 else (IP, sockopt.IP_TOS, 46 << 2 | 1)
    )
    link = keep(UdpLink(given(family, LOOPBACK[family], option)))
    told = (IPV6, sockopt.IPV6_RECVTCLASS, 1) if family == socket.AF_INET6 else (IP, sockopt.IP_RECVTOS, 1)
    with given(family, LOOPBACK[family], told) as sock:
        sock.settimeout(5)
        for ecn in (0, 2, 3):
            assert link.send([Transmit(link.remote(sock.getsockname()), [b"x"], 1, ecn=ecn)]) == []
            ((_, _, value),) = sock.recvmsg(100, 100)[1]
            assert value[0] == 46 << 2 | ecn


def test_a_socket_bound_to_one_address_names_remotes_without_ours(keep: Keep) -> None:
    link = keep(UdpLink(given(socket.AF_INET, LOOPBACK[socket.AF_INET], OPTIONS["IP_PKTINFO"])))
    peer = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    peer.send([Transmit(link.address, [b"x"], 1)])
    (received,) = arrives(link)
    assert received.remote == peer.address
    assert not isinstance(received.remote, UdpPath)


@pytest.mark.parametrize(
    ("forced", "plain"), [(sockopt.SO_RCVBUFFORCE, socket.SO_RCVBUF), (sockopt.SO_SNDBUFFORCE, socket.SO_SNDBUF)]
)
def test_a_buffer_larger_than_ours_stays(forced: int, plain: int, keep: Keep) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, forced, 4 * BUFFER_SIZE)
    except PermissionError:
        sock.close()
        pytest.skip("needs CAP_NET_ADMIN")
    sock.bind(LOOPBACK[socket.AF_INET])
    keep(UdpLink(sock))
    assert sock.getsockopt(socket.SOL_SOCKET, plain) == 8 * BUFFER_SIZE
