"""Searches over many seeds: the decorator, and how a failure is made smaller."""

import asyncio
import os
import socket
import subprocess
import sys

import pytest

import utcp
from tests.ports import free_port
from tests.testing.apps import PORT, ask
from tests.testing.hosts import pair
from tests.testing.test_determinism import OTHER_PYTHONS, ROOT, SOURCE, find
from utcp.testing import Network, OutOfBounds, simulate
from utcp.testing.faults import RunSeed
from utcp.testing.shrink import Failure, kind_of, shrink


async def ask_over_a_bad_path(net: Network) -> None:
    _, client = pair(net, latency=0.05, jitter=0.01, loss=0.1, duplicate=0.1)
    assert await client.run(ask("server", bytes(20_000))) == bytes(20_000)


def test_every_seed_has_a_network_of_its_own() -> None:
    seen = []

    @simulate(seeds=5)
    async def check(net: Network, text: str) -> None:
        assert text == "x"
        seen.append(net.replay)
        await ask_over_a_bad_path(net)

    check(text="x")
    assert seen == [f"{seed} shuffled" for seed in range(5)]


def test_chosen_seeds_in_the_usual_order() -> None:
    seen = []

    @simulate(seeds=[7, "8 keep nothing"], shuffle=False)
    async def check(net: Network) -> None:
        seen.append(net.replay)

    check()
    assert seen == ["7", "8 keep nothing"]


@simulate(seeds=50)
async def is_quick(net: Network) -> None:
    await ask_over_a_bad_path(net)
    assert net.loop.now < 3


def test_a_failure_is_shrunk_and_its_lines_repeat_it() -> None:
    with pytest.raises(AssertionError) as caught:
        is_quick()
    report, ladder = caught.value.__notes__
    lines = report.splitlines()
    assert lines[0].endswith(" shuffled fails")
    assert lines[1].startswith("replay: is_quick.simulation.run(['")
    assert lines[2].startswith("shrunk by ")
    faults = lines[5:]
    assert len(faults) < 15
    assert ladder.startswith("client:")
    smallest = lines[3].removeprefix("replay: is_quick.simulation.run(['").removesuffix("'])")
    with pytest.raises(AssertionError) as again:
        is_quick.simulation.run([smallest])  # type: ignore[attr-defined]
    assert again.value.__notes__[0].splitlines()[3:] == faults


def test_only_what_is_needed_is_kept() -> None:
    async def fails_by_three(net: Network) -> None:
        happened = [number for number in range(200) if net.chance(f"event {number}", 0.5)]
        if len(happened) < 5:
            raise KeyError  # another failure
        if {3, 40, 150} <= set(happened):
            raise LookupError

    def attempt(seed: RunSeed) -> Failure | None:
        net = Network(str(seed))
        try:
            net.run(fails_by_three(net))
        except Exception as error:
            return Failure(seed, net, error)
        return None

    failures = (attempt(RunSeed(number)) for number in range(1000))
    first = next(failure for failure in failures if failure is not None)
    shrunk = shrink(first, attempt)
    assert isinstance(shrunk.smallest.error, LookupError)
    names = {fault.where for fault in shrunk.smallest.faults}
    assert {"event 3", "event 40", "event 150"} < names
    assert len(names) == 5  # with fewer, it fails in another way
    assert shrunk.runs < 100
    assert shrink(first, attempt, max_runs=3).runs == 3
    assert shrink(first, attempt, max_seconds=-1).smallest is first


def test_kinds_of_failures() -> None:
    def error(first: bool) -> Exception:
        try:
            if first:
                int("x")
            int("y")
        except ValueError as error:
            return error
        raise AssertionError

    assert kind_of(error(True)) == kind_of(error(True)) != kind_of(error(False))
    groups = [ExceptionGroup(text, [error(True)]) for text in "ab"]
    assert kind_of(groups[0]) == kind_of(groups[1]) != kind_of(error(True))


async def poll_for_an_answer(net: Network) -> None:
    """Busy waiting, as beginners write it: it ends unless the server has restarted."""
    _, client = pair(net, latency=0.05, loss=0.05)
    reader, writer = await client.run(utcp.open_connection("server", PORT))
    if net.chance("the answer is forgotten", 0.4):
        reader = asyncio.StreamReader()
    else:
        writer.write(b"?")
    while not reader._buffer:  # type: ignore[attr-defined]  # noqa: ASYNC110  # on purpose
        await asyncio.sleep(0)
    writer.close()


def test_a_livelock_under_a_seed_is_found_and_shrunk() -> None:
    """Time passes for a program that polls, so that runs end that can end. The bound of a run ends the others."""
    passed = []

    @simulate(seeds=30, max_time=2)
    async def check(net: Network) -> None:
        await poll_for_an_answer(net)
        passed.append(net.loop.now)

    with pytest.raises(OutOfBounds, match=r"(?s)more than 2 s of virtual time.*poll_for_an_answer") as caught:
        check()
    assert passed
    assert min(passed) >= 0.2
    assert "  the answer is forgotten at" in caught.value.__notes__[-2]
    assert caught.value.__notes__[-2].count("\n  ") == 1  # the only fault that is left


def test_only_async_functions() -> None:
    with pytest.raises(TypeError, match="async"):
        simulate(seeds=3)(lambda net: None)  # type: ignore[arg-type, return-value]


# ---------------------------------------------------------------------- an unmodified program with aiohttp


async def a_server_that_restarts(net: Network) -> None:
    from tests.testing import downloads

    server, client = net.host("server"), net.host("client")
    net.link(server, client, latency=0.02, jitter=0.005, bandwidth=1e7, loss=0.01)
    server.start(lambda: downloads.serve("0.0.0.0", 80))
    fetching = client.run(downloads.fetch("server", 80))
    while not fetching.done():
        await asyncio.sleep(0.1)
        if net.chance("the server restarts", 0.2):
            server.restart()
    assert await fetching == downloads.SIZE


def test_the_program_passes_over_kernel_tcp() -> None:
    pytest.importorskip("aiohttp", reason="aiohttp comes with the extra 'integrations'")
    from tests.testing import downloads

    assert asyncio.run(downloads.both(free_port(socket.SOCK_STREAM))) == downloads.SIZE


def found_reset() -> str:
    """The failure of the program, the shrunk run's text, and the digests of both."""
    import aiohttp

    def attempt(seed: RunSeed) -> Failure | None:
        net = Network(str(seed), max_time=100)
        try:
            net.run(a_server_that_restarts(net))
        except aiohttp.ClientPayloadError as error:
            return Failure(seed, net, error)
        return None

    for number in range(100):
        first = attempt(RunSeed(number, shuffled=True))
        if first is not None:
            smallest = shrink(first, attempt).smallest
            faults = ", ".join(map(str, smallest.faults))
            return f"{number} {smallest.error!r} {faults} {first.network.digest()} {smallest.network.digest()}"
    raise AssertionError("no seed failed")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the server that has crashed
def test_a_reset_cuts_a_response() -> None:
    """One fault is left, and the octets of all packets are the same on each Python."""
    aiohttp = pytest.importorskip("aiohttp", reason="aiohttp comes with the extra 'integrations'")
    found = found_reset()
    if aiohttp.__version__ == "3.14.5":  # another version may send other octets
        assert found.endswith(" c9ff2655b41d6c271f9b00f731ef024d cf2033672c5696428e2e3ed25db28fc2")
    assert "ClientPayloadError" in found
    assert "Connection reset by peer" in found
    assert found.count("the server restarts at") == 1
    assert " was " not in found
    pythons = [python for name in OTHER_PYTHONS if (python := find(name)) is not None]
    for python in [sys.executable, *pythons]:
        process = subprocess.run(  # noqa: S603  # Python itself
            [python, "-W", "ignore", "-c", "from tests.testing.test_search import found_reset; print(found_reset())"],
            env={**os.environ, "PYTHONPATH": f"{SOURCE}{os.pathsep}{ROOT}"},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        if "ModuleNotFoundError" not in process.stderr:  # an interpreter without aiohttp or pytest
            assert process.stdout.splitlines()[-1] == found, process.stderr
