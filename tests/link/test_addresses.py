"""Remotes and our own addresses: what a link names them, and that replies leave from the address written to."""

import errno
import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.link.conftest import Keep
from tests.link.sockets import (
    LOOPBACK,
    WILDCARD,
    arrives,
    both_families,
    needs_ipv6,
    needs_linux,
    needs_local_address,
    port,
)
from utcp.link import path, sockopt
from utcp.link.path import Route, Routes, UdpPath
from utcp.link.udp import UdpLink
from utcp.tcp.transmit import Transmit


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


@pytest.mark.parametrize(
    ("bound", "receives"),
    [
        ("127.0.0.1", {"127.0.0.1", "::ffff:127.0.0.1"}),
        ("0.0.0.0", {"127.0.0.1", "127.0.0.2", "::ffff:127.0.0.1"}),
        pytest.param("::1", {"::1"}, marks=needs_ipv6),
        pytest.param("::", {"::1"}, marks=needs_ipv6),
        pytest.param("dual", {"::1", "127.0.0.1", "127.0.0.2", "::ffff:127.0.0.1"}, marks=needs_ipv6),
        pytest.param("::ffff:127.0.0.2", {"127.0.0.2"}, marks=needs_ipv6),
    ],
)
@pytest.mark.defect(61)
def test_at_which_addresses_a_link_receives(bound: str, receives: set[str], keep: Keep) -> None:
    """By address and port; the wildcard stands for this host's own addresses, of the families that the socket has."""
    sock = socket.socket(socket.AF_INET if "." in bound and ":" not in bound else socket.AF_INET6, socket.SOCK_DGRAM)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, "f" not in bound and bound != "dual")
    sock.bind(("::" if bound == "dual" else bound, 0))
    link = keep(UdpLink(sock))
    hosts = ("127.0.0.1", "127.0.0.2", "192.0.2.1", "::1", "::ffff:127.0.0.1", "2001:db8::1", "::ffff:192.0.2.1")
    found = {}
    for host in hosts:
        for number in (port(link), port(link) ^ 1):
            address = (host, number, 0, 0) if ":" in host else (host, number)
            found[host, number] = link.receives_at(address)
    assert {host for (host, number), here in found.items() if here and number == port(link)} == receives
    assert not any(here for (_, number), here in found.items() if number != port(link))


@pytest.mark.defect(61)
def test_a_link_local_address_is_another_one_on_another_interface(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    link = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    monkeypatch.setattr(link, "_address", ("fe80::1", 9000, 0, 2))
    assert link.receives_at(("fe80::1", 9000, 0, 2))
    assert not link.receives_at(("fe80::1", 9000, 0, 3))


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
    monkeypatch.setattr(Routes, "_look_up", lambda *_: Route(group, 0, LOOPBACK[family][0], 1472))
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
    assert sock.getsockopt(level, option) == sockopt.PMTUDISC_PROBE


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
    routes.find(("127.0.0.2", 9), "127.0.0.1", 100.0)
    routes.forget()
    assert routes.find(("127.0.0.1", 9), "", 100.0).mtu == 1002
    assert routes.find(("127.0.0.2", 9), "127.0.0.1", 100.0).mtu == 1003


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
def test_a_question_that_cannot_be_asked_leaves_what_is_known(
    code: int, questions: list[int], routes: Routes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process without descriptors goes on opening connections to hosts that it knows."""
    route = routes.find(("127.0.0.1", 9), "", 100.0)

    def fail(*_: object) -> None:
        raise OSError(code, "no socket")

    monkeypatch.setattr(Routes, "_look_up", fail)
    assert routes.find(("127.0.0.1", 9), "", 102.0, 1.0) is route
    with pytest.raises(OSError, match="no socket"):
        routes.find(("127.0.0.2", 9), "", 102.0, 1.0)
    with pytest.raises(OSError, match="no socket"):
        routes.find(("127.0.0.1", 9), "", 100.0 + path.ROUTE_LIFETIME, 1.0)


def test_a_route_that_is_gone_is_not_believed(
    questions: list[int], routes: Routes, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes.find(("127.0.0.1", 9), "", 100.0)

    def fail(*_: object) -> None:
        raise OSError(errno.ENETUNREACH, "no route")

    monkeypatch.setattr(Routes, "_look_up", fail)
    for max_age in (1.0, path.ROUTE_LIFETIME):
        with pytest.raises(OSError, match="no route"):
            routes.find(("127.0.0.1", 9), "", 102.0, max_age)


def test_a_route_that_is_still_the_same_is_the_same_object(
    questions: list[int], routes: Routes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of connections share the remote that is made of it."""
    monkeypatch.setattr(path, "path_payload", lambda _: 1000)
    route = routes.find(("127.0.0.1", 9), "", 100.0)
    assert routes.find(("127.0.0.1", 9), "", 101.0, 0.5) is route
    monkeypatch.setattr(path, "path_payload", lambda _: 1001)
    assert routes.find(("127.0.0.1", 9), "", 101.2, 0.5) is route
    assert routes.find(("127.0.0.1", 9), "", 101.5, 0.5).mtu == 1001


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
