"""HTTP libraries on simulated hosts: loss, hosts that vanish, names that nobody knows; all in virtual time."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import utcp
from utcp.testing import Conditions, Host, Network

pytest.importorskip("aiohttp", reason="aiohttp comes with the extra 'integrations'")
pytest.importorskip("httpx", reason="httpx comes with the extra 'integrations'")
pytest.importorskip("starlette", reason="starlette comes with the extra 'integrations'")
pytest.importorskip("uvicorn", reason="uvicorn comes with the extra 'integrations'")

import aiohttp
import httpx
from aiohttp import web
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from utcp.integrations import uvicorn
from utcp.integrations.aiohttp import UtcpConnector, UtcpSite
from utcp.integrations.httpx import UtcpTransport

BODY = bytes(range(256)) * 1000
DIGEST = hashlib.sha256(BODY).hexdigest()

Serve = Callable[[], Coroutine[Any, Any, None]]


async def serve_by_aiohttp() -> None:
    async def digest(request: web.Request) -> web.Response:
        return web.Response(text=hashlib.sha256(await request.read()).hexdigest())

    async def echo(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for message in websocket:
            await websocket.send_str(message.data)
        return websocket

    application = web.Application()
    application.add_routes([web.post("/digest", digest), web.get("/echo", echo)])
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await UtcpSite(runner, "0.0.0.0", 8000).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def serve_by_uvicorn() -> None:
    async def digest(request: Request) -> Response:
        return PlainTextResponse(hashlib.sha256(await request.body()).hexdigest())

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text)

    app = Starlette(routes=[Route("/digest", digest, methods=["POST"]), WebSocketRoute("/echo", echo)])
    await uvicorn.serve(app, "0.0.0.0", 8000, log_config=None, ws="websockets-sansio")


async def post_by_aiohttp() -> list[str]:
    answers = []
    async with aiohttp.ClientSession("http://server:8000", connector=UtcpConnector()) as session:
        for _ in range(3):
            async with session.post("/digest", data=BODY) as response:
                answers.append(await response.text())
        async with session.ws_connect("/echo") as websocket:
            for word in ("one", "two"):
                await websocket.send_str(word)
                answers.append(await websocket.receive_str())
    return answers


async def post_by_httpx() -> list[str]:
    transport = UtcpTransport(verify=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server:8000", timeout=None) as client:  # noqa: S113
        return [(await client.post("/digest", content=BODY)).text for _ in range(3)]


servers = pytest.mark.parametrize("serve", [serve_by_aiohttp, serve_by_uvicorn])


def hosts(net: Network, **conditions: float) -> tuple[Host, Host]:
    server, client = net.host("server"), net.host("client")
    net.link(server, client, Conditions(**conditions))  # type: ignore[arg-type]  # each value fits its own field
    return server, client


@servers
@pytest.mark.parametrize(
    "trouble", [{"loss": 0.2}, {"reorder": 0.3, "duplicate": 0.2}, {"corrupt": 0.1, "jitter": 0.05}], ids=str
)
def test_each_client_with_each_server_on_a_bad_path(simnet: Network, serve: Serve, trouble: dict[str, float]) -> None:
    server, client = hosts(simnet, latency=0.02, **trouble)

    async def scenario() -> tuple[list[str], list[str]]:
        server.run(serve())
        await asyncio.sleep(0.1)
        return await client.run(post_by_aiohttp()), await client.run(post_by_httpx())

    by_aiohttp, by_httpx = simnet.run(scenario())
    assert by_aiohttp == [DIGEST] * 3 + ["one", "two"]
    assert by_httpx == [DIGEST] * 3


@servers
def test_the_same_seed_takes_the_same_time(serve: Serve) -> None:
    """The bytes differ by the Date of the responses; when they are sent, and which of them are lost, does not."""

    def run(seed: int) -> tuple[float, int]:
        net = Network(seed=seed)
        server, client = hosts(net, latency=0.02, loss=0.1)

        async def scenario() -> None:
            server.run(serve())
            await asyncio.sleep(0.1)
            await client.run(post_by_httpx())

        try:
            net.run(scenario())
            return net.loop.time(), net.sent
        finally:
            net.close()

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_a_name_that_nobody_knows(simnet: Network) -> None:
    async def scenario() -> None:
        async with aiohttp.ClientSession(connector=UtcpConnector()) as session:
            with pytest.raises(aiohttp.ClientConnectorDNSError):
                await session.get("http://nowhere/")
        async with httpx.AsyncClient(transport=UtcpTransport(verify=False)) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get("http://nowhere/")

    simnet.run(scenario())


def test_closing_a_session_does_not_wait_for_a_server_that_has_vanished(simnet: Network) -> None:
    """It waits for Config.close_timeout; the connection goes on trying in the background."""
    server, client = hosts(simnet, latency=0.02)

    async def idle_then_close() -> float:
        loop = asyncio.get_running_loop()
        connector = UtcpConnector(config=utcp.Config(close_timeout=2.0))
        async with aiohttp.ClientSession("http://server:8000", connector=connector) as session:
            async with session.post("/digest", data=BODY) as response:
                assert await response.text() == DIGEST
            simnet.partition(server, client)
            began = loop.time()
        return loop.time() - began

    async def scenario() -> float:
        server.run(serve_by_aiohttp())
        return await client.run(idle_then_close())

    assert simnet.run(scenario()) == pytest.approx(2.0)


def test_a_server_that_vanishes_is_waited_for_no_longer_than_asked(simnet: Network) -> None:
    server, client = hosts(simnet, latency=0.02)

    async def ask() -> list[str]:
        outcomes = []
        timeout = httpx.Timeout(7.0)
        transport = UtcpTransport(verify=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://server:8000", timeout=timeout) as ours:
            assert (await ours.post("/digest", content=BODY)).text == DIGEST
            server.crash()
            for _ in range(2):
                try:
                    await ours.post("/digest", content=b"?")
                except httpx.TimeoutException as error:
                    outcomes.append(f"{type(error).__name__} at {asyncio.get_running_loop().time():.0f} s")
        return outcomes

    async def scenario() -> list[str]:
        server.run(serve_by_aiohttp())
        return await client.run(ask())

    # The first request goes out over the connection that was kept alive, the second one finds nobody to connect to.
    assert simnet.run(scenario()) == ["ReadTimeout at 7 s", "ConnectTimeout at 14 s"]
