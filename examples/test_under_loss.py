"""Test an application under loss: an aiohttp server and client on simulated hosts, in virtual time.

Requires pip install 'aioutcp[integrations]' pytest

    pytest examples/test_under_loss.py

The network loses a fifth of all packets, or fails completely, and every run is the same: the same seed gives the same
losses and times. Minutes of timeouts pass in milliseconds. The fixture `simnet` is part of utcp.
"""

import asyncio
import hashlib

from utcp.integrations.aiohttp import UtcpConnector, UtcpSite
from utcp.testing import Network

import aiohttp
import pytest
from aiohttp import web

BODY = bytes(range(256)) * 2000


async def serve() -> None:
    """Run the application under test, which answers a POST with the hash of its body."""

    async def digest(request: web.Request) -> web.Response:
        return web.Response(text=hashlib.sha256(await request.read()).hexdigest())

    application = web.Application()
    application.add_routes([web.post("/digest", digest)])
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await UtcpSite(runner, "0.0.0.0", 8080).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def post(times: int = 1) -> list[str]:
    """Run its client."""
    answers = []
    async with aiohttp.ClientSession("http://server:8080", connector=UtcpConnector()) as session:
        for _ in range(times):
            async with session.post("/digest", data=BODY) as response:
                answers.append(await response.text())
    return answers


def test_every_request_is_answered_whatever_is_lost(simnet: Network) -> None:
    server, client = simnet.host("server"), simnet.host("client")
    simnet.link(server, client, latency=0.02, loss=0.2)

    async def scenario() -> list[str]:
        server.run(serve())
        return await client.run(post(times=5))

    assert simnet.run(scenario()) == [hashlib.sha256(BODY).hexdigest()] * 5
    assert 1 < simnet.loop.time() < 600  # seconds of virtual time


def test_the_network_fails_in_the_middle_and_comes_back(simnet: Network) -> None:
    server, client = simnet.host("server"), simnet.host("client")
    simnet.link(server, client, latency=0.02, bandwidth=8e6)

    async def scenario() -> list[str]:
        server.run(serve())
        request = client.run(post())
        await asyncio.sleep(0.2)
        simnet.partition(server, client)
        await asyncio.sleep(20)
        assert not request.done()
        simnet.repair(server, client)
        return await request

    assert simnet.run(scenario()) == [hashlib.sha256(BODY).hexdigest()]
    assert simnet.loop.time() > 20


def test_a_server_that_crashes_is_noticed(simnet: Network) -> None:
    server, client = simnet.host("server"), simnet.host("client")
    simnet.link(server, client, latency=0.02, bandwidth=8e6)

    async def scenario() -> None:
        server.start(serve)
        request = client.run(post())
        await asyncio.sleep(0.2)
        server.restart()  # the server loses the connection's state, and answers its segments with RST
        with pytest.raises(aiohttp.ClientOSError):
            await request
        assert len(await client.run(post())) == 1  # the next request succeeds again

    simnet.run(scenario())
