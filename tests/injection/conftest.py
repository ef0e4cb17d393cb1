"""Every asynchronous test here runs under asyncio's own loop and under uvloop."""

import asyncio
import gc
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop


@pytest.fixture(autouse=True)
def _no_garbage_is_collected() -> Iterator[None]:
    """Who hears of collections (hypothesis does) would seem to be called by the line during which one happens."""
    gc.disable()
    yield
    gc.enable()


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
