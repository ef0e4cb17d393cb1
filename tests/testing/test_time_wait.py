"""Waiting costs nothing: virtual time passes in steps that are counted, not in seconds."""

import asyncio

import utcp
from tests.testing.apps import PORT, ask, serve
from utcp import Config
from utcp.testing import Network

CONNECTIONS = 500
HOUR = 3600.0


def test_an_hour_of_time_waits_takes_a_few_steps(simnet: Network) -> None:
    config = Config(msl=HOUR / 2)
    server, client = simnet.host("server"), simnet.host("client")
    simnet.link(server, client, latency=0.01)

    async def scenario() -> int:
        server.run(serve(config))
        await asyncio.sleep(0.1)
        await client.run(all_at_once(config))
        [endpoint] = client.process.endpoints
        assert len(endpoint.stack.time_wait) == CONNECTIONS
        before = simnet.loop.steps
        await asyncio.sleep(HOUR - 1)
        assert len(endpoint.stack.time_wait) == CONNECTIONS
        await asyncio.sleep(2)
        assert len(endpoint.stack.time_wait) == 0
        return simnet.loop.steps - before

    assert simnet.run(scenario()) < 50
    assert simnet.loop.time() > HOUR


async def all_at_once(config: Config) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(ask("server", b"?", config))


def test_a_day_of_keepalives_takes_steps_only_when_they_are_sent(simnet: Network) -> None:
    """A connection that nobody uses, probed every hour."""
    config = Config(keepalive=True, keepalive_idle=HOUR)
    server, client = simnet.host("server"), simnet.host("client")
    simnet.link(server, client, latency=0.01)

    async def scenario() -> int:
        server.run(serve(config))
        await asyncio.sleep(0.1)
        asking = client.run(idle(config))
        await asyncio.sleep(1)
        before, sent = simnet.loop.steps, simnet.sent
        await asyncio.sleep(23 * HOUR)
        assert not asking.done()
        assert 23 <= simnet.sent - sent <= 100  # probes of both sides, and their answers
        return simnet.loop.steps - before

    assert simnet.run(scenario()) < 1000


async def idle(config: Config) -> bytes:
    reader, writer = await utcp.open_connection("server", PORT, config=config)
    try:
        return await reader.read()
    finally:
        writer.close()
