"""Several threads in one process, each with an event loop of its own. They share no endpoint, and no state of a
connection.
"""

import asyncio
import dataclasses
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import pytest
import uvloop

import utcp
from tests.aio.peers import FAST
from utcp.tcp.stack import Stack
from utcp.trace import registry

T = TypeVar("T")

THREADS = 4
CONNECTIONS = 40
DATA = bytes(range(256)) * 200

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture(autouse=True)
def _threads_take_turns_often() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture(params=LOOPS)
def factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    return LOOPS[request.param]


def in_threads(
    factory: Callable[[], asyncio.AbstractEventLoop], mains: list[Callable[[], Coroutine[Any, Any, T]]]
) -> list[T]:
    """Run each coroutine in a thread and a loop of its own, all at once, and return their results."""
    together = threading.Barrier(len(mains), timeout=60)

    def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        together.wait()
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main())

    with ThreadPoolExecutor(len(mains)) as pool:
        return [each.result() for each in [pool.submit(run, main) for main in mains]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read())
    writer.close()
    await writer.wait_closed()


async def converse(client: utcp.Endpoint, address: tuple[str, int], data: bytes) -> None:
    """Send data, half-close, read the answer, and close."""
    reader, writer = await client.open_connection(*address)
    writer.write(data)
    writer.write_eof()
    assert await reader.read() == data
    writer.close()
    await writer.wait_closed()


async def converse_often(address: tuple[str, int], mark: int) -> int:
    """Have CONNECTIONS conversations, ten at a time, each with other data. Return their number."""
    async with utcp.Endpoint((address[0], 0), config=FAST) as client:
        for first in range(0, CONNECTIONS, 10):
            marks = [bytes([mark, number]) + DATA for number in range(first, first + 10)]
            await asyncio.gather(*(converse(client, address, each) for each in marks))
        return client.stack.counters.active_opens


def test_threads_side_by_side(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Servers and clients of one thread do not see those of another."""

    async def alone(mark: int) -> int:
        async with utcp.Endpoint(("127.0.0.1", 0), config=FAST) as server:
            await server.start_server(echo, server.address[1])
            await converse_often(("127.0.0.1", server.address[1]), mark)
            return server.stack.counters.passive_opens

    found = in_threads(factory, [partial(alone, mark) for mark in range(THREADS)])
    assert found == [CONNECTIONS] * THREADS


def test_connections_between_threads(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """One thread serves, and the others are its clients."""
    address: Future[tuple[str, int]] = Future()
    ended = threading.Semaphore(0)

    async def serve() -> int:
        async with utcp.Endpoint(("127.0.0.1", 0), config=FAST) as server:
            await server.start_server(echo, server.address[1])
            address.set_result(("127.0.0.1", server.address[1]))
            for _ in range(THREADS):
                await asyncio.to_thread(ended.acquire, timeout=60)
            return server.stack.counters.passive_opens

    async def ask(mark: int) -> int:
        try:
            return await converse_often(address.result(timeout=60), mark)
        finally:
            ended.release()

    mains: list[Callable[[], Coroutine[Any, Any, int]]] = [serve, *(partial(ask, mark) for mark in range(THREADS))]
    served, *asked = in_threads(factory, mains)
    assert served == CONNECTIONS * THREADS
    assert asked == [CONNECTIONS] * THREADS


def test_connections_of_a_threads_loop_end_with_it(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Those that the module's functions opened in the thread: no endpoint of the thread is open afterwards."""
    before = registry.endpoints()

    async def alone() -> None:
        server = await utcp.start_server(echo, "127.0.0.1", 0, config=FAST)
        reader, writer = await utcp.open_connection(*server.sockets[0].getsockname()[:2], config=FAST)
        writer.write(b"abc")
        writer.write_eof()
        assert await reader.read() == b"abc"
        writer.close()
        await writer.wait_closed()
        server.close()

    in_threads(factory, [alone] * THREADS)
    assert registry.endpoints() == before


class _Ended:
    """An endpoint whose counts are all 1."""

    started = True
    closed = False
    stack = Stack(FAST, secret=bytes(16))
    for counts in (stack.counters, stack.endings):
        for field in dataclasses.fields(counts):
            setattr(counts, field.name, 1)


def test_the_counts_of_endpoints_that_threads_close_at_once_are_complete() -> None:
    each = 1000
    before = registry.past_totals()
    together = threading.Barrier(THREADS, timeout=60)

    def close() -> None:
        together.wait()
        for endpoint in [_Ended() for _ in range(each)]:
            registry.opened(endpoint)
            registry.closed(endpoint)

    sys.setswitchinterval(1e-6)
    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(close) for _ in range(THREADS)]:
            done.result()
    grown = {name: count - before.get(name, 0) for name, count in registry.past_totals().items()}
    assert set(grown.values()) == {THREADS * each}
