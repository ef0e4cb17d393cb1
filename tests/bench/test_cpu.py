"""bench.cpu: one short flow of each kind. How good the figures are is not tested here, only that they agree."""

import asyncio
import os
import socket
from contextlib import closing
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from bench import cpu, kernel_path, page, processes, real_path
from bench.frame import Figures, Outcome, Trial
from bench.impairment import DatagramRelay, Lateness, Port
from bench.path_cells import Cell
from bench.real_path import PAYLOAD, RECEIVER, SENDER, Flow, Usage
from bench.stacks import Counts
from utcp.testing.path import Conditions
from utcp.testing.path import Path as NetworkPath

QUICK = {"seconds": 0.2}


def cases() -> dict[str, Any]:
    return {case.name: case for case in cpu.BENCH.cases(QUICK)}


def trial(stack: str, name: str, loop: str = "asyncio", **changes: float) -> Trial:
    return Trial(stack, loop, 2, {**cases()[name].parameters, **changes}, 0)


def measure_all(trials: list[Trial]) -> list[Figures]:
    """In one fresh interpreter, because its start takes longer than a flow."""
    return [cpu.measure(each) for each in trials]


def measure_and_fail(over_loopback: Trial) -> tuple[Figures, list[str]]:
    """In one fresh interpreter: the figures, and how a server that does not start fails, and one that fails later."""
    failures = []
    flow = Flow("kernel_tcp", "asyncio", "no such controller", Cell(10e6, 0.02).conditions, 0.1, 0.1)
    for each, handle in ((flow, None), (replace(flow, stack="utcp", controller="cubic"), fail)):
        with mock.patch.object(real_path._Sink, "handle", handle), pytest.raises(OSError) as raised:
            real_path.run(each, namespaces=False)
        failures.append(str(raised.value))
    return cpu.measure(over_loopback), failures


async def fail(_: object, __: object, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    raise OSError("out of memory")


def check(figures: Figures, mbit: float) -> None:
    assert figures.keys() == {figure.name for figure in cpu.BENCH.figures}
    rate, segments = figures["mbit"], figures["receiver_segments"]
    assert rate is not None
    assert 0 < rate < 1.5 * mbit  # what had waited for the receiver comes besides
    assert segments is not None
    assert 0 < segments < 3  # an ACK for each, or for two, and for what arrived before
    for end in (SENDER, RECEIVER):
        used = figures[f"{end}_us"]
        assert used is not None
        assert used > 0


def test_flows_between_namespaces() -> None:
    reason = kernel_path.unavailable(cpu.CONTROLLERS)
    if reason is not None:
        pytest.skip(reason)
    trials = [trial("utcp", "10 Mbit/s"), trial("kernel_tcp", "10 Mbit/s")]
    trials.append(trial("utcp", "receiver blocked, bbr", "uvloop"))
    ours, kernels, blocked = processes.run(measure_all, trials)
    check(ours, 10)
    check(kernels, 10)
    check(blocked, 50)
    assert ours["receiver_turns"]
    assert kernels["receiver_turns"]
    assert blocked["receiver_turns"] is None  # of uvloop
    assert ours["receiver_system_calls"]
    assert kernels["receiver_system_calls"] is None


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="the relay needs Linux")
def test_flows_over_loopback() -> None:
    """A failure of the receiver is the cause of the sender's, which a reset tells of it."""
    figures, failures = processes.run(measure_and_fail, trial("utcp", "10 Mbit/s", namespaces=0))
    check(figures, 10)
    assert failures[0].startswith("the receiver failed: ")
    assert "No such file or directory" in failures[0]
    assert failures[1].startswith("the receiver failed: ")
    assert failures[1].endswith("OSError: out of memory")


def test_packets_have_the_same_size() -> None:
    """IP 20, TCP 20, timestamps 12; and UDP 8 for utcp."""
    assert {stack: 1500 - payload for stack, payload in PAYLOAD.items()} == {"utcp": 60, "kernel_tcp": 52}


def test_without_namespaces_utcp_is_measured_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "unavailable", lambda _: "needs root")
    for case in cases().values():
        assert case.without == {"kernel_tcp": "needs root; utcp is on loopback"}
        assert case.parameters["namespaces"] == 0


def test_no_packet_in_the_time_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    used = Usage(0.3, 0.1, 1, None, Counts(5, 0, 10), 0)
    result = real_path.Result(used, used, Lateness(0.0, 0.0, 0.0))
    monkeypatch.setattr(real_path, "run", lambda *_, **__: result)
    figures = cpu.measure(trial("utcp", "10 Mbit/s"))
    assert figures["mbit"] == 0
    assert figures["receiver_us"] is None


def test_the_goals_are_those_of_two_processes() -> None:
    """A bench that always has two processes is judged by them."""
    rounds: dict[str, list[Figures]] = {
        "utcp": [{"mbit": 45.0, "receiver_us": 50.0}],
        "kernel_tcp": [{"mbit": 50.0, "receiver_us": 50.0}],
    }
    outcomes = [Outcome(case, "asyncio", 2, rounds, {}) for case in cases().values()]
    table = page.goals([(cpu.BENCH, outcomes)], "compiled")
    assert table[0] == ["", "asyncio, two processes"]
    assert table[1] == ["receiver's CPU per packet, 50 Mbit/s", "1.00x *goal* (1.30x, 1.00x)"]
    assert table[-1] == ["goodput, receiver blocked, bbr", "0.90x *must* (0.80x, 0.95x)"]


def test_the_relay_joins_two_sockets() -> None:
    """Datagrams pass in both directions, and take the time that their size and the IP and UDP headers take."""
    near, far, peer, other = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4))
    with closing(near), closing(far), closing(peer), closing(other):
        for sock in (near, far, peer, other):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(10)
        for one, two in ((near, peer), (far, other)):
            one.connect(two.getsockname())
            two.connect(one.getsockname())
        path = NetworkPath(Conditions(bandwidth=1600), 0)  # 40 octets in 0.2 s
        relay = DatagramRelay(
            Port("127.0.0.1", near.fileno(), path), Port("127.0.0.1", far.fileno(), NetworkPath(Conditions(), 0))
        )
        for number in range(5):
            peer.send(bytes(11) + bytes([number]))
        other.send(b"answer")
        never, writer = os.pipe()
        with os.fdopen(never), os.fdopen(writer, "wb"):
            assert not relay.run(never, 0.5)
        assert [other.recv(100)[-1] for _ in range(2)] == [0, 1]
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(100)
        assert peer.recv(100) == b"answer"
