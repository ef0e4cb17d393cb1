"""ECN marks and ICMP in the simulated network, at its links."""

import asyncio
import errno
from typing import Literal

import pytest

import utcp
from tests.testing.apps import ask, serve
from utcp.link.base import MAX_PATH_ERRORS, QUOTED, PathError
from utcp.link.path import UdpPath
from utcp.tcp.transmit import Transmit
from utcp.testing import DROP, Host, Network, SimulatedLink
from utcp.testing.host import REFUSAL_TIME

PORT = 9000


def send(link: SimulatedLink, to: Host, data: bytes, ecn: int = 0) -> UdpPath:
    remote = link.remote((to.address, PORT))
    assert isinstance(remote, UdpPath)
    assert link.send([Transmit(remote, [data], len(data), ecn=ecn)]) == []
    return remote


@pytest.fixture
def a(simnet: Network) -> Host:
    return simnet.host("a")


@pytest.fixture
def b(simnet: Network) -> Host:
    return simnet.host("b")


def rest(simnet: Network, seconds: float) -> None:
    """Let virtual time pass; `Network.run()` can be called only once."""
    loop = simnet.loop
    loop.call_later(seconds, loop.stop)
    loop.run_forever()


def test_marks_arrive(simnet: Network, a: Host, b: Host) -> None:
    simnet.link(a, b, bandwidth=8000.0, ecn_threshold=1)
    near, far = a.bind(("0.0.0.0", 0)), b.bind(("0.0.0.0", PORT))
    for ecn in (2, 2, 2, 0):
        send(near, b, bytes(972), ecn)
    rest(simnet, 10)
    assert [item.ecn for item in far.receive()] == [2, 2, 3, 0]
    assert [(line.packet.ecn, line.ecn) for line in simnet.trace] == [(2, 2), (2, 2), (2, 3), (0, 0)]
    assert simnet.path(a, b).counts["marked"] == 1


def test_what_is_held_keeps_its_marks(simnet: Network, a: Host, b: Host) -> None:
    near, far = a.bind(("0.0.0.0", 0)), b.bind(("0.0.0.0", PORT))
    simnet.hold(a, b)
    send(near, b, b"x", 3)
    simnet.release(a, b)
    rest(simnet, 1)
    assert [item.ecn for item in far.receive()] == [3]


def test_the_digest_tells_marks_apart() -> None:
    def digest(ecn: int) -> str:
        simnet = Network(seed=1)
        try:
            a, b = simnet.host("a"), simnet.host("b")
            send(a.bind(("0.0.0.0", 0)), b, b"x", ecn)
            return simnet.digest()
        finally:
            simnet.close()

    assert len({digest(ecn) for ecn in range(4)}) == 4


def test_a_port_that_nobody_has_bound_answers(simnet: Network, a: Host, b: Host) -> None:
    simnet.link_oneway(a, b, latency=0.25)
    simnet.link_oneway(b, a, latency=0.5)
    near = a.bind(("0.0.0.0", 0))
    readable: list[float] = []
    simnet.loop.add_reader(near.fileno(), lambda: readable.append(simnet.loop.time()))
    remote = send(near, b, bytes(1000))
    rest(simnet, 2)
    assert readable == [pytest.approx(0.75 + REFUSAL_TIME, abs=1e-9)]
    assert near.receive() == []
    assert near.path_errors() == [PathError(remote, errno.ECONNREFUSED, None, bytes(QUOTED))]
    assert near.path_errors() == []
    assert near.counters.path_errors == 1


@pytest.mark.parametrize("why", ["silent", "crashed", "partition", "dropped", "bound"])
def test_when_nothing_answers(simnet: Network, a: Host, b: Host, why: str) -> None:
    near = a.bind(("0.0.0.0", 0))
    if why == "silent":
        b.port_unreachable = False
    elif why == "crashed":
        b.crash()
    elif why == "partition":
        simnet.partition_oneway(b, a)
    elif why == "bound":
        b.bind(("0.0.0.0", PORT))
    with simnet.rule(lambda _: DROP if why == "dropped" else 0.0):
        send(near, b, b"x")
    rest(simnet, 2)
    assert near.path_errors() == []


def test_hosts_answer_unless_told_otherwise(simnet: Network, a: Host) -> None:
    assert a.port_unreachable
    assert simnet.main.port_unreachable
    assert not simnet.host("c", port_unreachable=False).port_unreachable


def test_a_port_that_is_bound_at_the_same_moment_takes_the_datagram(simnet: Network, a: Host, b: Host) -> None:
    send(a.bind(("0.0.0.0", 0)), b, b"x", 3)
    bound: list[SimulatedLink] = []
    simnet.loop.call_soon(simnet.loop.call_soon, lambda: bound.append(b.bind(("0.0.0.0", PORT))))
    rest(simnet, 1)
    assert [(item.data, item.ecn) for item in bound[0].receive()] == [(b"x", 3)]


def test_loopback_answers(simnet: Network, b: Host) -> None:
    link = b.bind(("127.0.0.1", 1))
    remote = link.remote(("127.0.0.1", PORT))
    link.send([Transmit(remote, [b"x"], 1)])
    rest(simnet, 1)
    assert [error.remote for error in link.path_errors()] == [remote]


def test_errors_that_nobody_asks_for_are_bounded(simnet: Network, a: Host, b: Host) -> None:
    near = a.bind(("0.0.0.0", 0))
    for _ in range(MAX_PATH_ERRORS + 5):
        send(near, b, b"x")
    rest(simnet, 1)
    assert len(near.path_errors()) == MAX_PATH_ERRORS


def test_a_closed_link_hears_nothing(simnet: Network, a: Host, b: Host) -> None:
    near = a.bind(("0.0.0.0", 0))
    send(near, b, b"x")
    near.close()
    rest(simnet, 1)
    assert near.path_errors() == []


@pytest.mark.defect(94)
def test_too_big_is_told_to_the_stack_alone(simnet: Network, a: Host, b: Host) -> None:
    simnet.link(a, b, mtu=1300, mtu_known=False, icmp_too_big=True, latency=0.1)
    near, far = a.bind(("0.0.0.0", 0)), b.bind(("0.0.0.0", PORT))
    remote = near.remote((b.address, PORT))
    assert near.mtu(remote) == 1472
    send(near, b, bytes(1472))
    rest(simnet, 1)
    assert far.receive() == []
    assert near.path_errors() == [PathError(remote, errno.EMSGSIZE, 1272, bytes(QUOTED))]
    assert near.mtu(remote) == 1472
    send(near, b, bytes(1272))
    rest(simnet, 1)
    assert [len(item.data) for item in far.receive()] == [1272]


def test_a_black_hole_says_nothing(simnet: Network, a: Host, b: Host) -> None:
    simnet.link(a, b, mtu=1300, mtu_known=False)
    near, far = a.bind(("0.0.0.0", 0)), b.bind(("0.0.0.0", PORT))
    remote = send(near, b, bytes(1472))
    rest(simnet, 1)
    assert (far.receive(), near.path_errors()) == ([], [])
    assert near.mtu(remote) == 1472


def test_a_path_that_is_known_needs_no_icmp(simnet: Network, a: Host, b: Host) -> None:
    simnet.link(a, b, mtu=1300)
    near, far = a.bind(("0.0.0.0", 0)), b.bind(("0.0.0.0", PORT))
    remote = near.remote((b.address, PORT))
    assert near.mtu(remote) == 1272
    send(near, b, bytes(1272))
    rest(simnet, 1)
    (received,) = far.receive()
    assert (received.data, received.remote) == (bytes(1272), far.remote(near.sockname(remote)))


def test_a_connect_where_nothing_runs_is_refused(simnet: Network, a: Host, b: Host) -> None:
    simnet.link(a, b, latency=0.1)

    async def scenario() -> float:
        with pytest.raises(ConnectionRefusedError):
            await a.run(ask("b", b"?"))
        return simnet.loop.time()

    assert simnet.run(scenario()) == pytest.approx(0.2, abs=1e-5)


@pytest.mark.parametrize("told", [True, False])
def test_a_path_that_is_narrower_than_it_seems(simnet: Network, a: Host, b: Host, told: bool) -> None:
    """With ICMP, and as a black hole (RFC 8899)."""
    simnet.link(a, b, mtu=1300, mtu_known=False, icmp_too_big=told, latency=0.01)
    question = bytes(range(256)) * 1000

    async def scenario() -> bytes:
        b.start(serve)
        await asyncio.sleep(1)
        return await a.run(ask("b", question))

    assert simnet.run(scenario()) == question
    assert simnet.path(a, b).counts["too_big"] > 0


@pytest.mark.parametrize("ecn", ["off", "request"])
def test_only_connections_that_use_ecn_are_marked(
    simnet: Network, a: Host, b: Host, ecn: Literal["off", "request"]
) -> None:
    simnet.link(a, b, bandwidth=1e6, ecn_threshold=0, latency=0.01)
    config = utcp.Config(ecn=ecn)

    async def scenario() -> bytes:
        b.start(lambda: serve(config))
        await asyncio.sleep(1)
        return await a.run(ask("b", bytes(100_000), config))

    assert simnet.run(scenario()) == bytes(100_000)
    assert (simnet.path(a, b).counts["marked"] > 0) == (ecn == "request")
