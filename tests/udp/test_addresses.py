"""Remotes and our own addresses: what a link names them, and that replies leave from the address written to."""

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.udp.conftest import Keep
from tests.udp.sockets import (
    LOOPBACK,
    WILDCARD,
    arrives,
    both_families,
    needs_ipv6,
    needs_linux,
    needs_local_address,
    port,
)
from utcp.tcp.transmit import Transmit
from utcp.udp import path, sockopt
from utcp.udp.link import UdpLink
from utcp.udp.path import Route, Routes, UdpPath


@both_families
def test_a_socket_bound_to_one_address_names_a_remote_by_its_socket_address(family: int, keep: Keep) -> None:
    a = keep(UdpLink.bind(family, LOOPBACK[family]))
    b = keep(UdpLink.bind(family, LOOPBACK[family]))
    remote = a.remote(b.address)
    assert remote == b.address
    assert a.peername(remote) == b.address
    assert a.sockname(remote) == a.address
    a.send([Transmit(remote, [b"x"], 1)])
    (received,) = arrives(b)
    assert received.remote == b.remote(a.address) == a.address


@needs_local_address
@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.rfc9293("MUST-45")
def test_a_reply_leaves_from_the_address_written_to(offload: bool, keep: Keep) -> None:
    server = keep(UdpLink.bind(socket.AF_INET, WILDCARD[socket.AF_INET], offload=offload))
    client = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    written_to = ("127.0.0.2", port(server))
    client.send([Transmit(written_to, [b"x"], 1)])
    (received,) = arrives(server)
    assert received.remote == UdpPath(client.address, "127.0.0.2")
    assert server.peername(received.remote) == client.address
    assert server.sockname(received.remote) == written_to
    server.send([Transmit(received.remote, [b"y" * 25], 25, 10)])
    replies = arrives(client)
    assert b"".join(reply.data for reply in replies) == b"y" * 25
    assert {reply.remote for reply in replies} == {written_to}


@needs_local_address
def test_two_of_our_addresses_are_two_paths(keep: Keep) -> None:
    server = keep(UdpLink.bind(socket.AF_INET, WILDCARD[socket.AF_INET]))
    client = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    client.send([Transmit((host, port(server)), [b"x"], 1) for host in ("127.0.0.1", "127.0.0.2")])
    first, second = arrives(server)
    assert first.remote != second.remote


@needs_local_address
@both_families
@pytest.mark.rfc9293("MUST-44", "MUST-45")
def test_between_two_wildcard_sockets_both_sides_name_the_path_alike(family: int, keep: Keep) -> None:
    a = keep(UdpLink.bind(family, WILDCARD[family]))
    b = keep(UdpLink.bind(family, WILDCARD[family]))
    host = LOOPBACK[family][0]
    remote = a.remote((host, port(b)))
    assert isinstance(remote, UdpPath)
    assert remote.local == host
    a.send([Transmit(remote, [b"x" * 30], 30, 20)])
    received = arrives(b)[0]
    assert received.remote == b.remote((host, port(a)))
    b.send([Transmit(received.remote, [b"y"], 1)])
    assert arrives(a)[0].remote == remote
    assert a.sockname(remote)[:2] == (host, port(a))


@needs_local_address
def test_the_wildcard_address_as_a_destination_is_loopback(keep: Keep) -> None:
    """As for kernel TCP. The reply comes from 127.0.0.1, and must belong to the same remote."""
    a = keep(UdpLink.bind(socket.AF_INET, WILDCARD[socket.AF_INET]))
    assert a.remote(("0.0.0.0", 9)) == UdpPath(("127.0.0.1", 9), "127.0.0.1")


@needs_ipv6
def test_ipv6_addresses_are_named_as_the_kernel_writes_them(keep: Keep) -> None:
    a = keep(UdpLink.bind(socket.AF_INET6, LOOPBACK[socket.AF_INET6]))
    for written in (("0:0::1", 9), ("::1", 9, 0, 0), ("::1", 9, 5, 1)):
        assert a.remote(written) == ("::1", 9, 0, 0)  # ::1 needs no scope id, and datagrams come without one


def _link_local() -> tuple[str, int] | None:
    table = Path("/proc/net/if_inet6")
    for line in table.read_text().splitlines() if table.exists() else ():
        digits, index, _, _, flags, _ = line.split()
        address = ipaddress.IPv6Address(bytes.fromhex(digits))
        if address.is_link_local and not int(flags, 16) & 0x40:  # tentative addresses cannot be bound
            return str(address), int(index, 16)
    return None


@needs_local_address
@pytest.mark.skipif(_link_local() is None, reason="this host has no link-local IPv6 address")
@pytest.mark.parametrize("wildcard", [True, False])
def test_link_local_peers_keep_their_scope_id(wildcard: bool, keep: Keep) -> None:
    """To ourselves: the kernel delivers that over loopback."""
    host, scope_id = _link_local() or ("", 0)
    a = keep(UdpLink.bind(socket.AF_INET6, WILDCARD[socket.AF_INET6] if wildcard else (host, 0, 0, scope_id)))
    b = keep(UdpLink.bind(socket.AF_INET6, (host, 0, 0, scope_id)))
    remote = a.remote((host, port(b), 0, scope_id))
    assert a.peername(remote) == (host, port(b), 0, scope_id)
    assert a.sockname(remote) == (host, port(a), 0, scope_id)
    assert a.remote((f"{host}%{scope_id}", port(b))) == remote
    a.send([Transmit(remote, [b"x"], 1)])
    (received,) = arrives(b)
    assert received.remote == (host, port(a), 0, scope_id)
    assert b.send([Transmit(received.remote, [b"y"], 1)]) == []
    assert arrives(a)[0].remote == remote


@needs_ipv6
def test_an_ipv6_link_leaves_the_port_to_ipv4(keep: Keep) -> None:
    six = keep(UdpLink.bind(socket.AF_INET6, WILDCARD[socket.AF_INET6]))
    four = keep(UdpLink.bind(socket.AF_INET, ("0.0.0.0", port(six))))
    assert port(four) == port(six)


@needs_local_address
@pytest.mark.rfc9293("MUST-57")
def test_what_was_sent_to_a_broadcast_address_is_dropped(keep: Keep) -> None:
    server = keep(UdpLink.bind(socket.AF_INET, WILDCARD[socket.AF_INET]))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.sendto(b"to all", ("127.255.255.255", port(server)))
        sock.sendto(b"to one", ("127.0.0.1", port(server)))
    found = arrives(server)
    if len(found) + server.counters.not_unicast < 2:
        found += arrives(server)
    assert [item.data for item in found] == [b"to one"]
    assert server.counters.not_unicast == 1


@pytest.mark.parametrize(
    ("level", "value", "local"),
    [
        (socket.IPPROTO_IP, bytes.fromhex("00000000 7f000002 7f000002"), "127.0.0.2"),
        (socket.IPPROTO_IP, bytes.fromhex("00000000 c0000202 c00002ff"), None),
        (socket.IPPROTO_IP, bytes.fromhex("00000000 c0000202 e0000001"), None),
        (socket.IPPROTO_IPV6, bytes(15) + b"\x01" + bytes(4), "::1"),
        (socket.IPPROTO_IPV6, bytes.fromhex("ff02") + bytes(13) + b"\x01" + bytes(4), None),
    ],
)
@pytest.mark.rfc9293("MUST-57")
def test_the_local_address_of_a_datagram(level: int, value: bytes, local: str | None) -> None:
    assert sockopt.read_local_address(level, value) == local


def test_names_are_not_looked_up(keep: Keep) -> None:
    a = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    with pytest.raises(socket.gaierror):
        a.remote(("localhost", 9))


@pytest.mark.rfc9293("MUST-46")
def test_an_address_that_cannot_be_reached(keep: Keep) -> None:
    a = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    with pytest.raises(PermissionError):
        a.remote(("255.255.255.255", 9))
    assert a.mtu(("255.255.255.255", 9)) == 1472


@pytest.mark.parametrize(
    ("family", "group"),
    [(socket.AF_INET, "224.0.0.1"), pytest.param(socket.AF_INET6, "ff02::1", marks=needs_ipv6)],
    ids=["ipv4", "ipv6"],
)
@pytest.mark.rfc9293("MUST-46")
def test_no_way_to_a_group(family: int, group: str, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the kernel has a route, as for UDP it may."""
    a = keep(UdpLink.bind(family, LOOPBACK[family]))
    monkeypatch.setattr(Routes, "_ask", lambda *_: Route(group, 0, LOOPBACK[family][0], 1472))
    with pytest.raises(OSError, match="unreachable"):
        a.remote((group, 9))


@needs_linux
@both_families
def test_mtu_of_loopback(family: int, keep: Keep) -> None:
    a = keep(UdpLink.bind(family, LOOPBACK[family]))
    device = int(Path("/sys/class/net/lo/mtu").read_text())
    expected = min(device, 65535) - 28 if family == socket.AF_INET else min(device - 48, 65527)
    assert a.mtu(a.remote((LOOPBACK[family][0], 9))) == expected


@needs_linux
@both_families
@pytest.mark.rfc("8899", "3-2")
def test_path_mtu_discovery_is_on_whatever_the_system_default(family: int, keep: Keep) -> None:
    level, option = (
        (socket.IPPROTO_IP, sockopt.IP_MTU_DISCOVER)
        if family == socket.AF_INET
        else (socket.IPPROTO_IPV6, sockopt.IPV6_MTU_DISCOVER)
    )
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(level, option, 0)
    sock.bind(LOOPBACK[family])
    keep(UdpLink(sock))
    assert sock.getsockopt(level, option) == sockopt.PMTUDISC_WANT


@pytest.fixture
def routes() -> Iterator[Routes]:
    made = Routes(socket.AF_INET)
    yield made
    made.close()


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time the kernel is asked about a route; the entry is the payload it answered."""
    asked: list[int] = []

    def path_payload(sock: Any) -> int:
        asked.append(1000 + len(asked))
        return asked[-1]

    monkeypatch.setattr(path, "path_payload", path_payload)
    return asked


def test_a_route_is_asked_for_once_per_host_and_lifetime(questions: list[int], routes: Routes) -> None:
    assert routes.find(("127.0.0.1", 9), "", 100.0).mtu == 1000
    assert routes.find(("127.0.0.1", 10), "", 100.0 + path.ROUTE_LIFETIME - 1).mtu == 1000
    assert routes.find(("127.0.0.1", 9), "", 100.0 + path.ROUTE_LIFETIME).mtu == 1001
    assert routes.find(("127.0.0.2", 9), "", 101.0).mtu == 1002
    assert routes.find(("127.0.0.1", 9), "127.0.0.2", 101.0) == ("127.0.0.1", 0, "127.0.0.2", 1003)
    assert len(questions) == 4


def test_a_forgotten_route_is_asked_for_again(questions: list[int], routes: Routes) -> None:
    routes.find(("127.0.0.1", 9), "", 100.0)
    routes.forget(("127.0.0.1", 9), "")
    assert routes.find(("127.0.0.1", 9), "", 100.0).mtu == 1001
    routes.forget(("127.0.0.9", 9), "")


def test_the_routes_known_are_bounded(questions: list[int], routes: Routes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path, "MAX_ROUTES", 3)
    for number in range(1, 11):
        routes.find((f"127.0.0.{number}", 9), "", 100.0)
        assert len(routes._known) <= 3
    assert len(questions) == 10


def test_a_link_asks_once_for_a_peer_and_its_mtu(questions: list[int], keep: Keep) -> None:
    a = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    remote = a.remote(("127.0.0.1", 9))
    assert a.mtu(remote) == a.mtu(("127.0.0.1", 10)) == 1000
    assert len(questions) == 1


def test_hosts_never_heard_of_cost_no_socket_each(
    questions: list[int], routes: Routes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of SYNs, each from another host."""
    made = 0

    class Counted(socket.socket):
        def __init__(self, *arguments: Any) -> None:
            nonlocal made
            made += 1
            super().__init__(*arguments)

    monkeypatch.setattr(socket, "socket", Counted)
    for number in range(1, 101):
        assert routes.find((f"127.0.1.{number}", 9), "127.0.0.1", 100.0).host == f"127.0.1.{number}"
    assert len(questions) == 100
    assert made == 1
    routes.find(("127.0.1.1", 9), "127.0.0.2", 100.0)
    assert made == 2
    with pytest.raises(OSError, match=r"ermission|nvalid"):  # a broadcast address
        routes.find(("255.255.255.255", 9), "127.0.0.2", 100.0)
    assert routes.find(("127.0.1.2", 9), "127.0.0.2", 100.0).local == "127.0.0.2"
    assert made == 3


def test_sockets_to_ask_with_are_bounded(questions: list[int], routes: Routes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path, "MAX_PROBES", 3)
    for number in range(1, 11):
        assert routes.find(("127.0.0.1", 9), f"127.0.0.{number}", 100.0).local == f"127.0.0.{number}"
        assert len(routes._probes) <= 3
    routes.close()
    assert not routes._probes
    assert routes.find(("127.0.0.99", 9), "127.0.0.1", 100.0).host == "127.0.0.99"
    assert not routes._probes
