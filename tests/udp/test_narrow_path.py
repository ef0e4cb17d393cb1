"""A router between two networks whose far link is narrow: ICMP tells, the route is asked for again, all arrives."""

import errno
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop import namespace
from tests.udp.conftest import Keep
from tests.udp.sockets import arrives, datagrams
from utcp.tcp.transmit import Transmit
from utcp.udp.link import PathError, Received, UdpLink, UdpPath

NARROW = 1300

# A veth pair to the router, another from there to the far host.
NETWORK: dict[int, tuple[str, str, str, str, int]] = {
    socket.AF_INET: ("10.8.1.1", "10.8.1.254", "10.8.2.254", "10.8.2.1", 24),
    socket.AF_INET6: ("fd08:1::1", "fd08:1::fe", "fd08:2::fe", "fd08:2::1", 64),
}
HEADERS: dict[int, int] = {socket.AF_INET: 28, socket.AF_INET6: 48}


class Far:
    """The namespaces of the router and of the far host. Each is held by a process that sleeps."""

    def __init__(self) -> None:
        self._holders: list[subprocess.Popen[bytes]] = []

    def add(self) -> int:
        holder = subprocess.Popen(["unshare", "--net", "sleep", "600"])  # noqa: S607
        self._holders.append(holder)
        ours = namespace.OURS.readlink()
        deadline = time.monotonic() + 5
        while Path(f"/proc/{holder.pid}/ns/net").readlink() == ours:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        return holder.pid

    def close(self) -> None:
        for holder in self._holders:
            holder.kill()
            holder.wait()


def run_in(pid: int, *command: str) -> None:
    subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", *command], check=True)  # noqa: S603, S607


def await_answer(family: int, host: str) -> None:
    """Wait until `host` answers. Until then a link may not be up yet, or the router may not have found the host, and
    say that it is unreachable."""
    deadline = time.monotonic() + 30
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        while True:
            try:
                sock.connect((host, 9))
                sock.send(b"no port there")
                sock.recv(1)
            except ConnectionRefusedError:
                return
            except OSError:
                time.sleep(0.01)
            assert time.monotonic() < deadline, f"{host} does not answer"


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> Iterator[int]:
    """We are in a namespace with a route to the far host; the router's link to it has an MTU of NARROW."""
    reason = namespace.missing()
    if reason is None and not all(shutil.which(program) for program in ("nsenter", "unshare", "sysctl")):
        reason = "needs nsenter, unshare and sysctl"
    if reason is not None:
        pytest.skip(reason)
    chosen: int = request.param
    near, router_near, router_far, far, bits = NETWORK[chosen]
    version = "-4" if chosen == socket.AF_INET else "-6"
    nodad = ["nodad"] if chosen == socket.AF_INET6 else []
    others = Far()
    try:
        with namespace.own_network():
            router, host = others.add(), others.add()
            namespace.sysctl("ipv6/conf/default/dad_transmits", 0)
            for each in (router, host):
                # They answer as often as they are asked, and do not wait for others to claim their addresses.
                run_in(each, "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
                run_in(each, "sysctl", "-qw", "net.ipv6.conf.default.dad_transmits=0")
            namespace.ip(
                "link add near0 type veth peer name near1",
                f"link set near1 netns {router}",
                f"address add {near}/{bits} dev near0 {' '.join(nodad)}",
                "link set near0 up",
            )
            run_in(router, "ip", "link", "add", "far1", "type", "veth", "peer", "name", "far0")
            run_in(router, "ip", "link", "set", "far0", "netns", str(host))
            run_in(router, "ip", "address", "add", f"{router_near}/{bits}", "dev", "near1", *nodad)
            run_in(router, "ip", "address", "add", f"{router_far}/{bits}", "dev", "far1", *nodad)
            if chosen == socket.AF_INET6:  # a question that is lost while links come up is soon repeated
                namespace.sysctl("ipv6/neigh/near0/retrans_time_ms", 50)
                for name in ("near1", "far1"):
                    run_in(router, "sysctl", "-qw", f"net.ipv6.neigh.{name}.retrans_time_ms=50")
            run_in(router, "ip", "link", "set", "near1", "up")
            run_in(router, "ip", "link", "set", "far1", "mtu", str(NARROW), "up")
            run_in(router, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
            run_in(host, "ip", "address", "add", f"{far}/{bits}", "dev", "far0", *nodad)
            run_in(host, "ip", "link", "set", "lo", "up")
            run_in(host, "ip", "link", "set", "far0", "up")
            run_in(host, "ip", version, "route", "add", "default", "via", router_far)
            namespace.ip(f"{version} route add default via {router_near}".replace(f"{version} ", ""))
            await_answer(chosen, far)
            yield chosen
    finally:
        others.close()


@pytest.mark.parametrize("wildcard", [True, False])
def test_a_router_says_too_big(family: int, wildcard: bool, keep: Keep) -> None:
    near, _, _, far, _ = NETWORK[family]
    any_host = "0.0.0.0" if family == socket.AF_INET else "::"
    a = keep(UdpLink.bind(family, (any_host if wildcard else near, 0)))
    remote = a.remote((far, 9))
    wide, narrow = 1500 - HEADERS[family], NARROW - HEADERS[family]
    assert a.mtu(remote) == wide
    segment = bytes(range(250)) * 6
    assert a.send([Transmit(remote, [segment[:wide]], wide)]) == []
    assert arrives(a) == []
    assert a.path_errors() == [PathError(remote, errno.EMSGSIZE, narrow, segment[:128], False)]
    assert isinstance(remote, UdpPath) == wildcard
    assert a.mtu(remote) == narrow

    # What fits goes through, and is told to have found no port; so does what was cut for the wider path, in fragments.
    for size in (narrow, wide):
        assert a.send([Transmit(remote, [segment[:size]], size)]) == []
        assert arrives(a) == []
        assert [(error.errno, error.remote) for error in a.path_errors()] == [(errno.ECONNREFUSED, remote)]


def test_a_train_for_a_path_that_others_found_to_be_narrow_is_told(family: int, keep: Keep) -> None:
    """The kernel's knowledge is the host's, not the socket's."""
    near, _, _, far, _ = NETWORK[family]
    a = keep(UdpLink.bind(family, (near, 0)))
    b = keep(UdpLink.bind(family, (near, 0)))
    remote = a.remote((far, 9))
    wide, narrow = 1500 - HEADERS[family], NARROW - HEADERS[family]
    assert a.mtu(remote) == wide
    b.send([Transmit(remote, [bytes(wide)], wide)])
    arrives(b)
    assert [error.errno for error in b.path_errors()] == [errno.EMSGSIZE]

    assert a.mtu(remote) == wide  # asked a moment ago
    assert a.send([Transmit(remote, [bytes(3 * wide)], 3 * wide, wide)]) == []
    told = [error for error in a.path_errors() if error.local]  # the far host's answers may be among them
    assert told == [PathError(remote, errno.EMSGSIZE, narrow, b"", True)]
    assert a.mtu(remote) == narrow
    assert a.counters.segmentation_refused == 1
    assert a.counters.datagrams_sent == 3


def test_trains_through_receive_offload_keep_their_marks(family: int, keep: Keep) -> None:
    """Datagrams that differ in nothing but their ECN bits are not joined on arrival."""
    near = NETWORK[family][0]
    a = keep(UdpLink.bind(family, (near, 0)))
    b = keep(UdpLink.bind(family, (near, 0)))
    for ecn in (2, 2, 3, 3, 2):
        a.send([Transmit(b.address, [bytes(100)], 100, ecn=ecn)])
    found: list[Received] = []
    while len(datagrams(found)) < 5:
        found += arrives(b)
    assert [item.ecn for item in found for _ in datagrams([item])] == [2, 2, 3, 3, 2]
