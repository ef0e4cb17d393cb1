"""Every asynchronous test here runs under asyncio's own loop and under uvloop."""

import asyncio
import pkgutil
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


@pytest.fixture
def replaceable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a test replace methods and attributes of the links, drivers and stacks that it opens, in the compiled
    variant too. Their classes are subclasses that are not compiled, so that compiled code looks each method up."""
    for name in ("aio.registry.Driver", "aio.registry.Stack", "aio.endpoint.UdpLink", "link.platform.UdpLink"):
        compiled = pkgutil.resolve_name(f"utcp.{name}")
        monkeypatch.setattr(f"utcp.{name}", type(compiled.__name__, (compiled,), {}))
