"""A router between two networks whose far link is narrow: ICMP tells the stack, and the kernel's cache does not
matter."""

import errno
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop import namespace
from tests.link.conftest import Keep
from tests.link.sockets import arrives, datagrams
from utcp.link import sockopt
from utcp.link.udp import PathError, Received, SendError, UdpLink, UdpPath
from utcp.tcp.transmit import Transmit

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


def cached_mtu(family: int, host: str) -> int:
    """What the kernel believes of the way to `host`, in octets of an IP packet."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((host, 9))
        return sockopt.cached_path_mtu(sock)


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


@pytest.mark.defect(94)
@pytest.mark.parametrize("wildcard", [True, False])
def test_a_router_says_too_big(family: int, wildcard: bool, keep: Keep) -> None:
    """The stack is told. The kernel is told as well, and what it makes of it is of no account: the message may be
    forged, and each datagram that fits the interface leaves as it is, not in fragments."""
    near, _, _, far, _ = NETWORK[family]
    any_host = "0.0.0.0" if family == socket.AF_INET else "::"
    a = keep(UdpLink.bind(family, (any_host if wildcard else near, 0)))
    remote = a.remote((far, 9))
    wide, narrow = 1500 - HEADERS[family], NARROW - HEADERS[family]
    segment = bytes(range(250)) * 6
    for _ in range(2):
        assert a.mtu(remote) == wide
        assert a.send([Transmit(remote, [segment[:wide]], wide)]) == []
        assert arrives(a) == []
        assert a.path_errors() == [PathError(remote, errno.EMSGSIZE, narrow, segment[:128])]
        assert cached_mtu(family, far) == NARROW
        a._routes.forget()
    assert isinstance(remote, UdpPath) == wildcard

    # What fits goes through, and is told to have found no port.
    assert a.send([Transmit(remote, [segment[:narrow]], narrow)]) == []
    assert arrives(a) == []
    assert [(error.errno, error.remote) for error in a.path_errors()] == [(errno.ECONNREFUSED, remote)]


@pytest.mark.defect(94)
@pytest.mark.rfc("8899", "4.5-1")
def test_trains_leave_whole_whatever_path_mtu_the_kernel_has_cached(family: int, keep: Keep) -> None:
    near, _, _, far, _ = NETWORK[family]
    a = keep(UdpLink.bind(family, (near, 0)))
    b = keep(UdpLink.bind(family, (near, 0)))
    remote = a.remote((far, 9))
    wide, narrow = 1500 - HEADERS[family], NARROW - HEADERS[family]
    b.send([Transmit(remote, [bytes(wide)], wide)])
    arrives(b)
    assert [error.errno for error in b.path_errors()] == [errno.EMSGSIZE]
    assert cached_mtu(family, far) == NARROW

    for size, code in ((wide, errno.EMSGSIZE), (narrow, errno.ECONNREFUSED)):
        assert a.send([Transmit(remote, [bytes(3 * size)], 3 * size, size)]) == []
        arrives(a)
        assert {error.errno for error in a.path_errors()} == {code}  # one message about all three, or three
    assert a.mtu(remote) == wide
    assert a.counters.segmentation_refused == 0


@pytest.mark.defect(94)
def test_the_mtu_that_an_administrator_has_set_counts(family: int, keep: Keep) -> None:
    """That of a route, and that of an interface, which may become smaller while connections are open."""
    near, router_near, _, far, _ = NETWORK[family]
    a = keep(UdpLink.bind(family, (near, 0)))
    remote = a.remote((far, 9))
    wide, lower = 1500 - HEADERS[family], 1400 - HEADERS[family]
    assert a.mtu(remote) == wide
    namespace.ip(f"route replace default via {router_near} mtu 1400")
    a._routes.forget()
    assert a.mtu(remote) == lower
    namespace.ip(f"route replace default via {router_near}", "link set near0 mtu 1400")
    train = Transmit(remote, [bytes(3 * wide)], 3 * wide, wide)
    assert a.send([train]) == [SendError(remote, errno.EMSGSIZE, ((0, 0),))]
    assert a.mtu(remote) == lower
    namespace.ip("link set near0 mtu 1500")


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
