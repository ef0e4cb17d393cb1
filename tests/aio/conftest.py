"""Every asynchronous test here runs under asyncio's own loop and under uvloop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from tests.aio.peers import Peers


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def peers() -> AsyncIterator[Peers]:
    """A client endpoint and a server endpoint on 127.0.0.1."""
    async with Peers() as started:
        yield started
