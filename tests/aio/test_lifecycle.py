"""The issue's own figures: 64 MiB echoed, 2,000 connections opened, echoed and closed, and nothing left."""

import asyncio
import gc
import hashlib
import os

import pytest

from tests.aio.peers import Peers, until
from utcp import Config
from utcp.tcp.connection import Connection

MEBIBYTE = 1 << 20


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(256 * 1024):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def test_64_mebibytes_come_back_as_they_went(peers: Peers) -> None:
    await peers.server.start_server(echo)
    reader, writer = await peers.client.open_connection(peers.host, peers.port)
    block = os.urandom(MEBIBYTE)
    sent, received = hashlib.sha256(), hashlib.sha256()

    async def send() -> None:
        for number in range(64):
            data = number.to_bytes(4, "big") + block[4:]  # no two the same
            sent.update(data)
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    async def receive() -> int:
        size = 0
        while data := await reader.read(256 * 1024):
            received.update(data)
            size += len(data)
        return size

    _, size = await asyncio.gather(send(), receive())
    writer.close()
    await writer.wait_closed()
    assert size == 64 * MEBIBYTE
    assert received.digest() == sent.digest()


@pytest.mark.usefixtures("replaceable")
async def test_2000_connections_leave_nothing_but_time_wait_and_then_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def connections_in_memory() -> int:
        gc.collect()
        return sum(isinstance(item, Connection) for item in gc.get_objects())

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    count = 2000
    loop = asyncio.get_running_loop()
    tasks = asyncio.all_tasks(loop)
    before = descriptors(), connections_in_memory()
    # TIME_WAIT outlasts the closing of them all, however slow the machine.
    config = Config(close_timeout=30)
    async with Peers(config) as peers:
        server = await peers.server.start_server(echo)
        opening = asyncio.Semaphore(100)
        together = asyncio.Barrier(count)

        async def ask(number: int) -> None:
            question = number.to_bytes(4, "big") * 16
            async with opening:
                reader, writer = await peers.client.open_connection(peers.host, peers.port)
                writer.write(question)
                assert await reader.readexactly(64) == question
            await together.wait()
            writer.close()
            await writer.wait_closed()

        await asyncio.gather(*(ask(number) for number in range(count)))
        await until(lambda: not peers.client.stack.connections and not peers.server.stack.connections)
        # The side that closed first has them, and each under its own port.
        assert len({local for _, _, local in peers.client.stack.time_wait}) == count
        assert len(peers.server.stack.time_wait) == 0
        assert peers.client.stack.counters.time_waits == count
        assert not peers.client.driver.transports
        assert not peers.server.driver.transports
        server.close()
        await server.wait_closed()
        await until(lambda: asyncio.all_tasks(loop) == tasks)
        await until(lambda: connections_in_memory() == before[1])

        clock, driver = peers.client.link.now, peers.client.driver
        monkeypatch.setattr(peers.client.link, "now", lambda: clock() + 2 * config.msl)
        assert driver._timer is not None
        driver._timer.cancel()
        driver._on_timer()
        await until(lambda: not len(peers.client.stack.time_wait))
        await until(lambda: driver._timer is None)
    assert (descriptors(), connections_in_memory()) == before
