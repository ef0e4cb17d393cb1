"""Libraries for asyncio, unmodified, on simulated hosts: the sockets are those of the hosts' kernels.

Each pair of client and server runs over a path with latency, over one that loses a fifth of the packets, and through
the death of the server's process and of its machine.
"""

import asyncio
import contextlib
import hashlib
import random
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from tests.certificates import client_context, server_context
from tests.integrations.test_asyncpg import Postgres
from tests.integrations.test_redis import Store
from utcp.testing import Conditions, Host, Network

pytest.importorskip("aiohttp", reason="aiohttp comes with the extra 'integrations'")
pytest.importorskip("httpx", reason="httpx comes with the extra 'integrations'")
pytest.importorskip("redis", reason="redis comes with the extra 'integrations'")
pytest.importorskip("starlette", reason="starlette comes with the extra 'integrations'")
pytest.importorskip("uvicorn", reason="uvicorn comes with the extra 'integrations'")
pytest.importorskip("websockets", reason="websockets comes with the extra 'integrations'")

import aiohttp
import httpx
import redis.asyncio
import uvicorn
import websockets
from aiohttp import web
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

asyncpg: Any = pytest.importorskip("asyncpg", reason="asyncpg comes with the extra 'integrations'")

BODY = random.Random(1).randbytes(100_000)  # not compressible
DIGEST = hashlib.sha256(BODY).hexdigest()

REDIS: dict[str, Any] = {
    "host": "server",
    "port": 80,
    "protocol": 2,
    "retry": Retry(NoBackoff(), 0),
    "socket_timeout": 60,  # the default, 5 s, is too short for a path that loses a fifth of the packets
}

Program = Callable[[], Coroutine[Any, Any, None]]


# ---------------------------------------------------------------------- servers


async def serve_aiohttp(tls: ssl.SSLContext | None = None) -> None:
    async def digest(request: web.Request) -> web.Response:
        return web.Response(text=hashlib.sha256(await request.read()).hexdigest())

    async def echo(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for message in websocket:
            await websocket.send_str(message.data)
        return websocket

    async def anonymous(_: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "server"  # by default, it names the version of Python

    application = web.Application()
    application.on_response_prepare.append(anonymous)
    application.add_routes([web.post("/digest", digest), web.get("/echo", echo)])
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", 80, ssl_context=tls).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def serve_uvicorn() -> None:
    async def digest(request: Request) -> Response:
        return PlainTextResponse(hashlib.sha256(await request.body()).hexdigest())

    app = Starlette(routes=[Route("/digest", digest, methods=["POST"])])
    await uvicorn.Server(uvicorn.Config(app, host="0.0.0.0", port=80, log_config=None, lifespan="off")).serve()


async def serve_websockets() -> None:
    async def echo(connection: websockets.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with websockets.serve(echo, "0.0.0.0", 80, server_header="server") as server:
        await server.serve_forever()


async def serve_redis() -> None:
    async with await asyncio.start_server(Store().serve, "0.0.0.0", 80) as server:
        await server.serve_forever()


async def serve_postgres() -> None:
    async with await asyncio.start_server(Postgres(tls=False).serve, "0.0.0.0", 80) as server:
        await server.serve_forever()


# ---------------------------------------------------------------------- clients: a session of several exchanges each


@contextlib.asynccontextmanager
async def aiohttp_session() -> AsyncIterator[Program]:
    headers = {"User-Agent": "client"}  # by default, it names the version of Python
    async with aiohttp.ClientSession("http://server", headers=headers, timeout=aiohttp.ClientTimeout(60)) as session:

        async def exchange() -> None:
            async with session.post("/digest", data=BODY) as response:
                assert await response.text() == DIGEST

        yield exchange


@contextlib.asynccontextmanager
async def httpx_session() -> AsyncIterator[Program]:
    async with httpx.AsyncClient(base_url="http://server", timeout=60) as client:

        async def exchange() -> None:
            assert (await client.post("/digest", content=BODY)).text == DIGEST

        yield exchange


@contextlib.asynccontextmanager
async def websockets_session() -> AsyncIterator[Program]:
    connection: Any = None

    async def exchange() -> None:
        nonlocal connection
        if connection is None or connection.close_code is not None:
            connection = await websockets.connect("ws://server", user_agent_header="client")
        await connection.send(BODY)
        assert await connection.recv() == BODY

    yield exchange
    await connection.close()


@contextlib.asynccontextmanager
async def redis_session() -> AsyncIterator[Program]:
    async with redis.asyncio.Redis(**REDIS) as client:

        async def exchange() -> None:
            await client.set("key", BODY)
            assert await client.get("key") == BODY

        yield exchange


@contextlib.asynccontextmanager
async def asyncpg_session() -> AsyncIterator[Program]:
    connection: Any = None

    async def exchange() -> None:
        nonlocal connection
        if connection is None or connection.is_closed():
            connection = await asyncpg.connect(host="server", port=80, user="guest", database="toys", ssl=False)
        assert await connection.execute(f"SELECT {'x' * 100_000}") == "SELECT 1"

    yield exchange
    await connection.close()


LOST: tuple[type[Exception], ...] = (
    OSError,
    aiohttp.ClientError,
    httpx.TransportError,
    websockets.ConnectionClosed,
    redis.exceptions.ConnectionError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    AttributeError,
)
"""What the libraries raise for a lost connection. The last one comes from asyncio, whose transports of Python 3.12.0 to
3.13.0 raise it for writelines() after the end of the connection."""

PAIRS: dict[str, tuple[Program, Callable[[], contextlib.AbstractAsyncContextManager[Program]]]] = {
    "aiohttp": (serve_aiohttp, aiohttp_session),
    "aiohttp to uvicorn": (serve_uvicorn, aiohttp_session),
    "httpx to uvicorn": (serve_uvicorn, httpx_session),
    "httpx to aiohttp": (serve_aiohttp, httpx_session),
    "websockets": (serve_websockets, websockets_session),
    "redis": (serve_redis, redis_session),
    "asyncpg": (serve_postgres, asyncpg_session),
}


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest, simnet: Network) -> tuple[Host, Any]:
    serve, session = PAIRS[request.param]
    server = simnet.host("server")
    simnet.link(server, simnet.main, latency=0.02)
    server.start(serve)
    return server, session


@pytest.mark.parametrize("path", [Conditions(latency=0.05), Conditions(latency=0.05, loss=0.2)], ids=["far", "lossy"])
def test_exchanges(simnet: Network, pair: tuple[Host, Any], path: Conditions) -> None:
    server, session = pair
    simnet.link(server, simnet.main, path)

    async def scenario() -> None:
        async with session() as exchange:
            for _ in range(3):
                await exchange()

    simnet.run(scenario())
    assert {sent.packet.carrier for sent in simnet.trace} == {"tcp"}
    assert simnet.loop.time() > 0.1


def test_the_connection_is_kept_for_the_next_exchange(simnet: Network, pair: tuple[Host, Any]) -> None:
    _, session = pair

    async def scenario() -> None:
        async with session() as exchange:
            for _ in range(3):
                await exchange()

    simnet.run(scenario())
    ports = {
        sent.packet.segment.src_port for sent in simnet.trace if sent.packet.source == "main" and sent.packet.segment
    }
    assert len(ports) == 1


@pytest.mark.parametrize("death", [Host.kill, Host.restart])
def test_the_server_dies_between_exchanges(
    simnet: Network, pair: tuple[Host, Any], death: Callable[[Host], object], request: pytest.FixtureRequest
) -> None:
    """A killed process sends FIN, and a machine that restarts sends RST in reply to the next exchange. An exchange may
    fail, and a later one finds the new server."""
    server, session = pair
    serve = PAIRS[request.node.callspec.params["pair"]][0]

    async def scenario() -> None:
        async with session() as exchange:
            await exchange()
            death(server)
            if death is Host.kill:
                server.start(serve)
            await asyncio.sleep(1)
            for _ in range(2):
                with contextlib.suppress(*LOST):
                    await exchange()
            await exchange()

    simnet.run(scenario())


def test_the_server_dies_during_an_exchange(simnet: Network, pair: tuple[Host, Any]) -> None:
    server, session = pair
    simnet.link(server, simnet.main, latency=0.2, bandwidth=1e6)

    async def scenario() -> None:
        async with session() as exchange:
            await exchange()
            asking = asyncio.ensure_future(exchange())
            await asyncio.sleep(0.5)
            server.restart()
            with pytest.raises(LOST):
                await asking
            await exchange()

    simnet.run(scenario())


def test_the_same_seed_gives_the_same_octets(request: pytest.FixtureRequest) -> None:
    """Dates in headers and masks of WebSocket frames included."""

    def digest(name: str) -> str:
        network = Network(seed=7)
        server = network.host("server")
        network.link(server, network.main, latency=0.05, loss=0.1)
        serve, session = PAIRS[name]
        server.start(serve)

        async def scenario() -> None:
            async with session() as exchange:
                for _ in range(3):
                    await exchange()

        network.run(scenario())
        return network.digest()

    for name in PAIRS:
        assert digest(name) == digest(name), name


class TestTls:
    def test_https(self, simnet: Network) -> None:
        server = simnet.host("server")
        simnet.link(server, simnet.main, latency=0.05, loss=0.1)
        server.start(lambda: serve_aiohttp(server_context()))

        async def scenario() -> None:
            async with (
                aiohttp.ClientSession(f"https://{server.address}:80") as session,
                session.post("/digest", data=BODY, ssl=client_context(), server_hostname="localhost") as response,
            ):
                assert await response.text() == DIGEST

        simnet.run(scenario())

    def test_asyncpg_asks_for_tls_in_its_connection(self, simnet: Network) -> None:
        postgres = Postgres(tls=True)
        server = simnet.host("server")
        simnet.link(server, simnet.main, latency=0.05, loss=0.1)

        async def scenario() -> None:
            await server.run(asyncio.start_server(postgres.serve, "0.0.0.0", 80))
            context = client_context()
            context.check_hostname = False
            connection = await asyncpg.connect(host="server", port=80, user="guest", database="toys", ssl=context)
            assert await connection.execute("SELECT 1") == "SELECT 1"
            await connection.close()

        simnet.run(scenario())
        assert postgres.encrypted == [True]


def test_websockets_of_aiohttp(simnet: Network) -> None:
    server = simnet.host("server")
    server.start(serve_aiohttp)
    simnet.link(server, simnet.main, latency=0.05, loss=0.1)

    async def scenario() -> None:
        async with aiohttp.ClientSession("http://server") as session, session.ws_connect("/echo") as websocket:
            for word in ("one", "two"):
                await websocket.send_str(word)
                assert (await websocket.receive_str()) == word

    simnet.run(scenario())


def test_a_silent_server_meets_the_timeouts_of_the_clients(simnet: Network) -> None:
    simnet.host("silent", port_unreachable=False)

    async def scenario() -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(sock_connect=5)) as session:
            with pytest.raises(aiohttp.ConnectionTimeoutError):
                await session.get("http://silent")
        assert simnet.loop.time() == 5
        async with httpx.AsyncClient(timeout=5) as client:
            with pytest.raises(httpx.ConnectTimeout):
                await client.get("http://silent")
        assert simnet.loop.time() == 10

    simnet.run(scenario())
