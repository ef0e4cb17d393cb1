"""Every test here runs in a network namespace of its own, under asyncio's loop and under uvloop."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from tests.interop import namespace


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def _own_network() -> Iterator[None]:
    reason = namespace.missing()
    if reason is not None:
        pytest.skip(reason)
    with namespace.own_network():
        yield
