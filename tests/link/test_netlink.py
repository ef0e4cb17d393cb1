"""The MTU of a route as configured, from the kernel's answers."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop import namespace
from tests.link.sockets import needs_ipv6, needs_linux
from utcp.link import netlink, sockopt

pytestmark = [needs_linux, pytest.mark.defect(94)]


@pytest.fixture
def network() -> Iterator[None]:
    reason = namespace.missing()
    if reason is not None:
        pytest.skip(reason)
    with namespace.own_network():
        namespace.ip(
            "link add a0 type veth peer name a1",
            "link add b0 mtu 1400 type veth peer name b1",
            "address add 10.8.1.1/24 dev a0",
            "address add 10.8.2.1/24 dev b0",
            "address add fd08:1::1/64 dev a0 nodad",
            *(f"link set {name} up" for name in ("a0", "a1", "b0", "b1")),
        )
        # The kernel adds its own IPv6 routes some time after the commands.
        while not all(route in Path("/proc/thread-self/net/ipv6_route").read_text() for route in ROUTES):
            time.sleep(0.01)
        yield


ROUTES = [
    "00000000000000000000000000000001 80",  # ::1
    "fd080001000000000000000000000001 80",
    "fe800000000000000000000000000000 40",
]


def mtu(host: str, local: str, scope_id: int = 0) -> int | None:
    return netlink.configured_mtu(socket.AF_INET6 if ":" in host else socket.AF_INET, host, local, scope_id)


def test_an_interface(network: None) -> None:
    assert mtu("10.8.1.9", "10.8.1.1") == 1500
    assert mtu("10.8.2.9", "10.8.2.1") == 1400


def test_our_own_address_is_on_loopback(network: None) -> None:
    loopback = int(Path("/sys/class/net/lo/mtu").read_text())
    for host in ("127.0.0.1", "10.8.2.1", "::1", "fd08:1::1"):
        assert mtu(host, host) == loopback


def test_a_route_with_an_mtu_of_its_own(network: None) -> None:
    namespace.ip("route add 10.9.0.0/24 via 10.8.1.9 mtu 1280", "route add fd09::/64 via fd08:1::9 mtu 1300")
    assert mtu("10.9.0.1", "10.8.1.1") == 1280
    assert mtu("fd09::1", "fd08:1::1") == 1300


def test_of_several_next_hops_the_smallest(network: None) -> None:
    namespace.ip("route add 10.9.0.0/24 nexthop via 10.8.1.9 dev a0 nexthop via 10.8.2.9 dev b0")
    assert mtu("10.9.0.1", "10.8.1.1") == 1400


def test_what_a_router_has_advertised_for_ipv6(network: None) -> None:
    namespace.sysctl("ipv6/conf/a0/mtu", 1450)
    assert mtu("fd08:1::9", "fd08:1::1") == 1450
    assert mtu("10.8.1.9", "10.8.1.1") == 1500


def test_a_link_local_address_needs_its_interface(network: None) -> None:
    index = socket.if_nametoindex("a0")
    assert mtu("fe80::9", "fd08:1::1", index) == 1500


def test_no_route(network: None) -> None:
    assert mtu("192.0.2.1", "10.8.1.1") is None


def test_netlink_is_asked_for_nothing_but_the_route(network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a question about an interface, the kernel waits for RTNL, which others may hold for seconds."""
    kinds: list[int] = []
    ask = netlink._ask

    def noted(sock: socket.socket, question: int, answer: int, body: bytes) -> bytes | None:
        kinds.append(question)
        return ask(sock, question, answer, body)

    monkeypatch.setattr(netlink, "_ask", noted)
    assert mtu("10.8.1.9", "10.8.1.1") == mtu("fd08:1::9", "fd08:1::1") == 1500
    assert kinds == [26, 26]  # RTM_GETROUTE


@needs_ipv6
def test_a_kernel_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(netlink, "_route_mtu", refuse)
    assert mtu("127.0.0.1", "127.0.0.1") is None


@pytest.mark.parametrize(
    ("cached", "interface", "configured", "expected"),
    [
        (65536, None, None, 65507),  # loopback: nothing more is asked
        (1500, 1500, None, 1472),
        (552, 1500, 1500, 1472),  # as after a forged ICMP message
        (1400, 1500, 1400, 1372),  # the route's own
        (552, 1500, None, 1472),
        (1300, None, None, 1272),
    ],
)
def test_the_cached_path_mtu_counts_only_where_nothing_better_is_known(
    cached: int, interface: int | None, configured: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockopt, "cached_path_mtu", lambda _: cached)
    monkeypatch.setattr(sockopt, "_interface_mtu", lambda _: interface)
    monkeypatch.setattr(
        sockopt, "_configured_mtu", lambda _: configured if interface != cached else pytest.fail("netlink is asked")
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert sockopt.path_payload(sock) == expected
