"""The benches of memory, scale and workers, run as a user runs them, with few connections."""

import asyncio
import resource
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench import many_ports, memory, scale
from bench.frame import Figures, Outcome, Trial
from bench.stacks import STACKS
from tests.bench.test_benches import check, result_of


@pytest.mark.long
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_scale_leaves_nothing(loop: str, tmp_path: Path) -> None:
    outcomes = result_of(tmp_path / "scale.json", "scale", "--quick", "--rounds", "1", "--loop", loop)["outcomes"]
    assert [outcome["case"] for outcome in outcomes] == ["100 connections", "300 connections"]
    for outcome in outcomes:
        check(outcome, 1)
        connections = outcome["parameters"]["connections"]
        (ours,), (kernels,) = (outcome["rounds"][stack] for stack in STACKS)
        assert ours["left"] == kernels["left"] == 0
        assert ours["objects_left"] < 3
        assert ours["cost_us"] == pytest.approx(ours["open_us"] + ours["echo_us"] + ours["close_us"])
        assert ours["descriptors"] < 10
        assert kernels["descriptors"] > 2 * connections
        assert ours["expire_us"] > 0
        assert kernels["expire_us"] is None
    idle = [outcome["rounds"]["utcp"][0]["wakeups_per_second"] for outcome in outcomes]
    assert all(wakeups == 0 for wakeups in idle)


async def test_a_server_listens_on_as_many_ports_as_the_connections_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_ports, "PER_PORT", 5)
    app = scale.Server()
    async with many_ports.open_ends(Trial("utcp", "asyncio", 1, {}, 0), app, 12) as ends:
        streams = [await ends.connect() for _ in range(12)]
        await app.until_open(12)
        assert Counter(writer.get_extra_info("peername")[1] for _, writer in streams) == {1000: 5, 1001: 5, 1002: 2}
        for _, writer in streams:
            writer.close()
        await app.until_open(0)
        await asyncio.gather(*(writer.wait_closed() for _, writer in streams))
        assert ends.time_wait == ends.left() - 1 == 12  # and a timer for their end
        ends.end_time_wait()
        assert ends.left() == 0


def test_what_needs_more_descriptors_than_there_are_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 20_000))
    cases = scale.BENCH.cases({"connections": 100_000, "idle": 5.0, "sample": 5000})
    assert [case.parameters["connections"] for case in cases] == [100, 1000, 10_000, 100_000]
    assert [dict(case.peers) for case in cases] == [{}, {}, {"kernel_tcp": {"connections": 9900}}, {}]
    reason = "200,000 sockets exceed the hard limit of 20,000 descriptors"
    assert [dict(case.without) for case in cases] == [{}, {}, {}, {"kernel_tcp": reason}]


def test_growth_is_that_from_1000_to_the_most() -> None:
    cases = scale.BENCH.cases({"connections": 100_000, "idle": 5.0, "sample": 5000})
    rounds: list[Figures] = [{"cost_us": cost, "left": 0.0, "memory_kb": 10.0} for cost in (80.0, 100.0, 110.0, 130.0)]
    outcomes = [Outcome(case, "asyncio", 1, {"utcp": [each]}, {}) for case, each in zip(cases, rounds, strict=True)]
    assert [goal.of(outcomes) for goal in scale.BENCH.goals] == [1.3, 1.0, 0.0, None]
    assert [goal.of(outcomes[:3]) for goal in scale.BENCH.goals] == [
        None,
        None,
        None,
        None,
    ]  # 100,000 are not among them


@pytest.mark.long
def test_memory(tmp_path: Path) -> None:
    outcomes = result_of(tmp_path / "memory.json", "memory", "--quick", "--rounds", "1")["outcomes"]
    established, time_wait = outcomes
    check(established, 1)
    for stack, descriptors in (("utcp", 0), ("kernel_tcp", 2)):
        (each,) = established["rounds"][stack]
        assert each["descriptors"] == descriptors
        assert each["python_bytes"] > 3000  # asyncio's streams alone
        assert each["objects"] > 20
    (ours,) = time_wait["rounds"]["utcp"]
    assert 50 < ours["time_wait_bytes"] < 1000


def test_slab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = (
        "slabinfo - version: 2.1\n# name <active_objs> <num_objs> <objsize>\nTCP 10 13 2496 13 8\nUDP 3 4 1000 1 1\n"
    )
    monkeypatch.setattr(Path, "read_text", lambda _: table)
    assert memory.slab(["TCP", "UDP"]) == 10 * 2496 + 3 * 1000

    def forbidden(_: Path) -> str:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", forbidden)
    assert memory.slab(["TCP"]) is None


@pytest.mark.long
def test_workers(tmp_path: Path) -> None:
    """One loop is enough: the loop changes nothing about the processes, and each run starts 14 of them."""
    arguments = ("--quick", "--seconds", "0.1", "--rounds", "1", "--loop", "uvloop")
    result: dict[str, Any] = result_of(tmp_path / "w.json", "workers", *arguments)
    (outcome,) = result["outcomes"]
    check(outcome, 1)
    for stack in STACKS:
        (each,) = outcome["rounds"][stack]
        assert each["scaling"] == pytest.approx(each["two_per_second"] / each["one_per_second"])
        assert 0 < each["scaling_by_cpu"] < 4
        assert each["one_worker_us"] > 0
