"""Clocks, random numbers and sockets of the standard library, in simulations and beside them."""

import asyncio
import importlib
import logging
import os
import random
import secrets
import select
import socket
import sys
import threading
import time
import uuid
from pathlib import Path
from time import monotonic
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from utcp.testing import Network

START = 1_767_225_600


class TestClocks:
    async def test_they_follow_virtual_time(self, simnet: Network) -> None:
        await asyncio.sleep(1.5)
        assert time.time() == START + 1.5
        assert time.time_ns() == (START * 10 + 15) * 10**8
        assert time.monotonic() == time.perf_counter() == monotonic() == 1.5
        assert time.monotonic_ns() == time.perf_counter_ns() == 1_500_000_000
        assert time.strftime("%Y-%m-%d", time.gmtime()) == "2026-01-01"
        assert time.localtime() == time.localtime(START + 1)
        assert time.gmtime(0).tm_year == 1970

    async def test_each_host_has_its_own(self, simnet: Network) -> None:
        async def wait() -> tuple[float, float]:
            await asyncio.sleep(10)
            return time.time() - START, time.monotonic()

        fast = simnet.host("fast", clock_rate=2.0)
        assert await fast.run(wait()) == (10, 10)
        assert time.monotonic() == 5

    async def test_of_log_records(self, simnet: Network, caplog: pytest.LogCaptureFixture) -> None:
        await asyncio.sleep(3)
        logging.getLogger("program").warning("now")
        assert caplog.records[-1].created == START + 3

    async def test_sleep_is_refused(self, simnet: Network) -> None:
        with pytest.raises(RuntimeError, match=r"asyncio\.sleep"):
            time.sleep(1)  # noqa: ASYNC251  # on purpose

    async def test_other_threads_have_the_real_ones(self, simnet: Network) -> None:
        times: list[float] = []
        thread = threading.Thread(target=lambda: times.append(time.time()))
        thread.start()
        thread.join()
        assert times[0] > START + 1000


class TestRandomNumbers:
    @staticmethod
    def numbers(seed: int) -> list[object]:
        async def draw() -> list[object]:
            return [
                random.random(),
                random.Random().random(),
                os.urandom(4),
                secrets.token_hex(4),
                uuid.uuid4(),
                random.SystemRandom().random(),
            ]

        return Network(seed=seed).run(draw())

    def test_they_come_from_the_seed(self) -> None:
        first = self.numbers(1)
        assert first == self.numbers(1)
        assert not set(first) & set(self.numbers(2))

    def test_they_do_not_depend_on_imports(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """aiohttp has a generator of its own, which is seeded as well."""
        name = "aiohttp._websocket.writer"
        monkeypatch.delitem(sys.modules, name, raising=False)
        without = self.numbers(1)

        class WebSocketWriter:
            def __init__(self, generator: random.Random = random.Random(5)) -> None:  # noqa: B008  # as in aiohttp
                """Take the generator that all writers have."""

        monkeypatch.setitem(sys.modules, name, SimpleNamespace(WebSocketWriter=WebSocketWriter))
        assert self.numbers(1) == without

    def test_a_seeded_generator_is_as_ever(self) -> None:
        async def draw() -> float:
            return random.Random(7).random()

        assert Network(seed=1).run(draw()) == random.Random(7).random()


def test_everything_is_restored() -> None:
    def state() -> list[object]:
        return [
            time.time,
            monotonic,
            os.urandom,
            socket.socket,
            socket.getaddrinfo,
            select.poll,
            random.Random.seed,
            random.getstate(),
        ]

    async def fail() -> None:
        raise ValueError

    before = state()
    with pytest.raises(ValueError):
        Network().run(fail())
    assert state() == before


class TestExecutor:
    async def test_a_function_runs_at_once(self, simnet: Network) -> None:
        assert await asyncio.to_thread(sum, (1, 2)) == 3
        assert simnet.loop.time() == 0

    async def test_its_exception_is_that_of_the_future(self, simnet: Network) -> None:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)

    async def test_its_sleep_takes_virtual_time(self, simnet: Network) -> None:
        await asyncio.gather(asyncio.to_thread(time.sleep, 2), asyncio.to_thread(time.sleep, 3))
        assert simnet.loop.time() == 3


class TestNames:
    async def test_of_hosts(self, simnet: Network) -> None:
        far = simnet.host("far")

        async def name() -> str:
            return socket.gethostname()

        assert await far.run(name()) == "far"
        assert socket.getaddrinfo("far", 80, type=socket.SOCK_STREAM)[0][4] == (far.address, 80)
        assert socket.gethostbyname("far") == far.address
        assert socket.getfqdn() == "main"
        assert socket.getfqdn("far") == "far"
        for resolve in (socket.getaddrinfo, lambda name, _: socket.gethostbyname(name)):
            with pytest.raises(socket.gaierror, match="its hosts: main"):
                resolve("nowhere", 80)
        assert await asyncio.get_running_loop().getnameinfo(("10.0.0.1", 80)) == ("10.0.0.1", "80")

    async def test_of_services(self, simnet: Network) -> None:
        found = await asyncio.get_running_loop().getaddrinfo(None, "http", flags=socket.AI_PASSIVE)
        assert found[0][4] == ("0.0.0.0", 80)


class TestRestoring:
    def test_modules_that_were_imported_during_the_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "imported_late.py").write_text("from socket import socket\nfrom time import time\n")
        monkeypatch.syspath_prepend(tmp_path)

        async def use() -> Any:
            late = importlib.import_module("imported_late")
            assert late.time() == START
            return late

        late = Network().run(use())
        try:
            assert late.socket is socket.socket
            assert late.time is time.time
        finally:
            del sys.modules["imported_late"]

    def test_modules_in_the_place_of_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The number of modules alone does not show that others are imported."""

        async def now() -> float:
            return float(sys.modules["of_a_test"].now())

        for _ in range(2):
            module = ModuleType("of_a_test")
            module.now = time.time  # type: ignore[attr-defined]
            monkeypatch.setitem(sys.modules, "of_a_test", module)
            assert Network().run(now()) == START

    def test_what_a_test_has_put_there_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def now() -> float:
            return time.time()

        assert Network().run(now()) == START  # finds the places
        monkeypatch.setattr(time, "time", lambda: 7.0)
        assert Network().run(now()) == 7
        assert time.time() == 7

    def test_simulations_of_several_threads(self) -> None:
        """The first to end does not restore the originals for the others."""

        async def work() -> tuple[float, float]:
            for _ in range(200):
                await asyncio.sleep(1)
            return time.time(), random.random()

        expected = Network().run(work())
        found: list[tuple[float, float]] = []
        threads = [threading.Thread(target=lambda: found.append(Network().run(work()))) for _ in range(4)]
        state = random.getstate()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [expected] * 4
        assert random.getstate() == state
