"""Every asynchronous test here runs under asyncio's own loop and under uvloop."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, TypeAlias

import pytest
import uvloop

import utcp
from tests.aio.peers import FAST, until
from tests.integrations.open_transports import open_transports

Routed: TypeAlias = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def nothing_left() -> AsyncIterator[None]:
    """After the test no task is left and no connection is open; TIME_WAIT may hold a socket."""
    before = asyncio.all_tasks()
    yield
    await until(lambda: not open_transports())
    await until(lambda: not asyncio.all_tasks() - before - {asyncio.current_task()})
    gc.collect()  # so that what complains of not having been closed does it in this test


@pytest.fixture(params=[asyncio.SelectorEventLoop, uvloop.Loop], ids=["asyncio", "uvloop"])
def routed(request: pytest.FixtureRequest) -> Routed:
    """For libraries without a hook: runs a scenario in a loop that carries all to and on 127.0.0.1 over utcp.

    Afterwards no task is left and no connection is open.
    """
    factory = utcp.loop_factory(request.param, route=[("127.0.0.1", None)], config=FAST)

    async def bounded(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async with asyncio.timeout(60):  # pytest's own does not reach into uvloop
            await scenario()
            await until(lambda: not open_transports())
            await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
        gc.collect()

    def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(bounded(scenario))

    return run
