"""uvicorn over utcp: its two parsers, its WebSockets, and its ways to start and to stop."""

import asyncio
import hashlib
import inspect
import json
import logging
import signal
import socket
import ssl
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

import utcp
from tests.aio.peers import FAST, opened, started, until
from tests.certificates import client_context, server_context
from tests.integrations.open_transports import open_transports

pytest.importorskip("aiohttp", reason="aiohttp comes with the extra 'integrations'")
pytest.importorskip("httptools", reason="httptools comes with the extra 'integrations'")
pytest.importorskip("httpx", reason="httpx comes with the extra 'integrations'")
pytest.importorskip("starlette", reason="starlette comes with the extra 'integrations'")
pytest.importorskip("uvicorn", reason="uvicorn comes with the extra 'integrations'")
pytest.importorskip("websockets", reason="websockets comes with the extra 'integrations'")

import aiohttp
import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from utcp.integrations.aiohttp import UtcpConnector
from utcp.integrations.httpx import UtcpTransport
from utcp.integrations.uvicorn import UtcpServer, serve

pytestmark = pytest.mark.usefixtures("nothing_left")

BODY = bytes(range(256)) * 8192
"""2 MiB."""

WEBSOCKETS: Final = "websockets-sansio"
"""What newer versions of uvicorn take by default; the default of older ones warns that it is deprecated."""

parsers = pytest.mark.parametrize("http", ["h11", "httptools"])
security = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


class Application:
    """A Starlette application, and what it has seen."""

    def __init__(self, file: Path | None = None, *, starts: bool = True) -> None:
        self.file = file
        self.starts = starts
        self.life: list[str] = []
        self.busy = asyncio.Event()
        self.release = asyncio.Event()
        self.asgi = Starlette(
            routes=[
                Route("/scope", self.scope),
                Route("/digest", self.digest, methods=["POST"]),
                Route("/big", self.big),
                Route("/stream", self.stream),
                Route("/file", self.download),
                Route("/slow", self.slow),
                Route("/left", self.left),
                WebSocketRoute("/socket", self.socket),
            ],
            lifespan=self.lifespan,
        )

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[dict[str, str]]:
        if not self.starts:
            raise RuntimeError("this application does not start")
        self.life.append("started")
        yield {"motto": "from the lifespan"}
        self.life.append("ended")

    async def scope(self, request: Request) -> Response:
        scope = request.scope
        told = {name: scope[name] for name in ("scheme", "client", "server", "http_version")}
        return JSONResponse(told | {"motto": request.state.motto})

    async def digest(self, request: Request) -> Response:
        return PlainTextResponse(hashlib.sha256(await request.body()).hexdigest())

    async def big(self, _: Request) -> Response:
        return Response(BODY)

    async def stream(self, _: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            await self.release.wait()
            for _ in range(32):
                yield bytes(65536)

        return StreamingResponse(chunks())

    async def download(self, _: Request) -> Response:
        assert self.file is not None
        return FileResponse(self.file)

    async def slow(self, _: Request) -> Response:
        self.busy.set()
        await self.release.wait()
        return PlainTextResponse("at last")

    async def left(self, request: Request) -> Response:
        """Waits until the client is gone."""
        self.busy.set()
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self.release.set()
        return PlainTextResponse("nobody reads this")

    async def socket(self, websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while (text := await websocket.receive_text()) != "bye":
                await websocket.send_bytes(text.encode())
            await websocket.close(4000)
        except WebSocketDisconnect as error:
            self.life.append(f"disconnected {error.code}")


@asynccontextmanager
async def running(
    app: Any, *, tls: bool = False, endpoint: utcp.Endpoint | None = None, **options: Any
) -> AsyncIterator[tuple[UtcpServer, asyncio.Task[None]]]:
    """A server that serves, and its task; stopped at the end, as by SIGTERM."""
    context = server_context() if tls else None
    config = uvicorn.Config(app, port=0, log_config=None, ws=WEBSOCKETS, **options)
    server = UtcpServer(config, ssl=context, utcp_config=FAST if endpoint is None else None, endpoint=endpoint)
    task = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started or task.done())
        yield server, task
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            task.result()


def port_of(server: UtcpServer) -> int:
    return int(server.servers[0].sockets[0].getsockname()[1])


@asynccontextmanager
async def asking(server: UtcpServer, *, tls: bool = False) -> AsyncIterator[httpx.AsyncClient]:
    verify: ssl.SSLContext | bool = client_context() if tls else False
    url = f"http{'s' if tls else ''}://127.0.0.1:{port_of(server)}"
    async with httpx.AsyncClient(transport=UtcpTransport(verify=verify, config=FAST), base_url=url) as client:
        yield client


# --- serving


@parsers
@security
async def test_two_mebibytes_each_way_and_more(http: str, tls: bool, tmp_path: Path) -> None:
    file = tmp_path / "body.bin"
    file.write_bytes(BODY)
    app = Application(file)
    async with running(app.asgi, tls=tls, http=http) as (server, _), asking(server, tls=tls) as client:
        assert (await client.get("/big")).content == BODY
        assert (await client.post("/digest", content=BODY)).text == hashlib.sha256(BODY).hexdigest()
        assert (await client.get("/file")).content == BODY
        part = await client.get("/file", headers={"Range": "bytes=1000-300999"})
        assert (part.status_code, part.content) == (206, BODY[1000:301000])
        async with client.stream("GET", "/stream") as response:
            chunks = response.aiter_bytes()
            assert await anext(chunks) == b"first"
            app.release.set()
            assert sum([len(chunk) async for chunk in chunks]) == 32 * 65536
        assert app.life == ["started"]
    assert app.life == ["started", "ended"]


@parsers
@security
async def test_what_the_application_is_told(http: str, tls: bool) -> None:
    async with running(Application().asgi, tls=tls, http=http) as (server, _), asking(server, tls=tls) as client:
        told = json.loads((await client.get("/scope")).text)
    assert told["client"][0] == "127.0.0.1"
    del told["client"]
    assert told == {
        "scheme": "https" if tls else "http",
        "server": ["127.0.0.1", port_of_url(client)],
        "http_version": "1.1",
        "motto": "from the lifespan",
    }


def port_of_url(client: httpx.AsyncClient) -> int:
    assert client.base_url.port is not None
    return client.base_url.port


@parsers
async def test_a_client_that_speaks_http_by_hand(http: str) -> None:
    async with running(Application().asgi, http=http) as (server, _):
        reader, writer = await utcp.open_connection("127.0.0.1", port_of(server), config=FAST)
        request = "GET /scope HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        writer.write(f"{request}\r\n{request}Connection: close\r\n\r\n".encode())
        answer = await reader.read()
        assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
        writer.close()
        await writer.wait_closed()


@parsers
async def test_a_client_that_leaves_is_noticed(http: str) -> None:
    app = Application()
    async with running(app.asgi, http=http) as (server, _):
        _, writer = await utcp.open_connection("127.0.0.1", port_of(server), config=FAST)
        writer.write(b"GET /left HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await app.busy.wait()
        writer.transport.abort()
        async with asyncio.timeout(60):
            await app.release.wait()


@security
@parsers
@pytest.mark.parametrize("closes", ["client", "server"])
async def test_websocket(http: str, tls: bool, closes: str) -> None:
    app = Application()
    async with running(app.asgi, tls=tls, http=http) as (server, _):
        connector = UtcpConnector(ssl=client_context() if tls else True, config=FAST)
        url = f"ws{'s' if tls else ''}://127.0.0.1:{port_of(server)}/socket"
        async with aiohttp.ClientSession(connector=connector) as session, session.ws_connect(url) as websocket:
            await websocket.send_str("hello")
            assert await websocket.receive_bytes() == b"hello"
            if closes == "client":
                await websocket.close(code=4001)
                await until(lambda: app.life == ["started", "disconnected 4001"])
            else:
                await websocket.send_str("bye")
                assert (await websocket.receive()).data == 4000


async def test_fastapi() -> None:
    fastapi = pytest.importorskip("fastapi", reason="fastapi is not installed")
    app = fastapi.FastAPI()

    async def square(number: int) -> dict[str, int]:
        return {"square": number * number}

    app.add_api_route("/square/{number}", square)
    async with running(app) as (server, _), asking(server) as client:
        assert (await client.get("/square/12")).json() == {"square": 144}
        assert (await client.get("/square/x")).status_code == 422


async def test_an_endpoint_of_ones_own() -> None:
    """It outlives the server, and can have another one."""
    app = Application()
    async with utcp.Endpoint(("127.0.0.1", 0), config=FAST) as endpoint:
        for _ in range(2):
            async with running(app.asgi, endpoint=endpoint) as (server, _), asking(server) as client:
                assert port_of(server) == endpoint.address[1]
                assert (await client.get("/big")).content == BODY
            assert opened(endpoint) in started()


# --- starting


async def test_an_application_that_does_not_start(caplog: pytest.LogCaptureFixture) -> None:
    server = UtcpServer(uvicorn.Config(Application(starts=False).asgi, port=0, log_config=None, ws=WEBSOCKETS))
    with pytest.raises(SystemExit) as caught:
        await server.serve()
    assert caught.value.code == 3
    assert "Application startup failed. Exiting." in caplog.messages
    assert not started()


async def test_a_port_that_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    app = Application()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        server = UtcpServer(uvicorn.Config(app.asgi, port=taken.getsockname()[1], log_config=None, ws=WEBSOCKETS))
        with pytest.raises(SystemExit) as caught:
            await server.serve()
    assert caught.value.code == 3
    [line] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "address already in use" in line.getMessage()
    assert app.life == ["started", "ended"]


@pytest.mark.parametrize("options", [{"uds": "socket"}, {"fd": 3}, {"workers": 2}])
def test_what_is_not_for_utcp(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="utcp does not support"):
        UtcpServer(uvicorn.Config("app:app", **options))


async def test_sockets_are_not_for_utcp() -> None:
    app = Application()
    server = UtcpServer(uvicorn.Config(app.asgi, log_config=None, ws=WEBSOCKETS))
    with socket.socket() as tcp, pytest.raises(ValueError, match="utcp does not support"):
        await server.serve([tcp])
    assert app.life == []


async def test_the_log_says_where(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "uvicorn.error")
    async with running(Application().asgi, tls=True) as (server, _):
        assert f"Uvicorn running on https+utcp://127.0.0.1:{port_of(server)} (Press CTRL+C to quit)" in caplog.messages


# --- stopping


async def idle_client(server: UtcpServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that has had its answer and is kept alive."""
    reader, writer = await utcp.open_connection("127.0.0.1", port_of(server), config=FAST)
    writer.write(b"GET /scope HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    await reader.readuntil(b'lifespan"}')
    return reader, writer


@parsers
@pytest.mark.parametrize("how", ["as by a signal", "cancelled"])
async def test_a_busy_connection_may_finish_and_an_idle_one_is_closed(http: str, how: str) -> None:
    app = Application()
    async with running(app.asgi, http=http) as (server, task), asking(server) as client:
        reader, writer = await idle_client(server)
        request = asyncio.create_task(client.get("/slow"))
        await app.busy.wait()
        if how == "cancelled":
            task.cancel()
        else:
            server.should_exit = True
        assert await reader.read() == b""
        assert not task.done()
        assert app.life == ["started"]
        app.release.set()
        assert (await request).text == "at last"
        writer.close()
        await writer.wait_closed()
        await asyncio.wait([task])
        assert task.cancelled() == (how == "cancelled")
        assert app.life == ["started", "ended"]
        assert not [each for each in open_transports() if each._server is not None]


@parsers
async def test_nobody_outstays_the_graceful_shutdown(http: str) -> None:
    app = Application()
    async with running(app.asgi, http=http, timeout_graceful_shutdown=0.1) as (server, task):
        reader, writer = await utcp.open_connection("127.0.0.1", port_of(server), config=FAST)
        writer.write(b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await reader.readuntil(b"first")
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        with pytest.raises(ConnectionResetError):
            await reader.readuntil(b"never")
        assert app.life == ["started", "ended"]


async def test_a_second_cancellation_waits_for_nobody() -> None:
    app = Application()
    async with running(app.asgi) as (server, task):
        reader, writer = await utcp.open_connection("127.0.0.1", port_of(server), config=FAST)
        writer.write(b"GET /slow HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await app.busy.wait()
        task.cancel()
        await asyncio.wait([task], timeout=0.2)
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])
        with pytest.raises(ConnectionResetError):
            await reader.read()
        assert app.life == ["started", "ended"]


async def test_it_ends_by_itself_after_so_many_requests() -> None:
    app = Application()
    async with running(app.asgi, limit_max_requests=2) as (server, task), asking(server) as client:
        for _ in range(2):
            assert (await client.get("/big")).content == BODY
        async with asyncio.timeout(60):
            await task
    assert app.life == ["started", "ended"]


async def test_serve_until_cancelled() -> None:
    app = Application()
    task = asyncio.create_task(serve(app.asgi, "127.0.0.1", 0, config=FAST, log_config=None, ws=WEBSOCKETS))
    await until(started)
    [endpoint] = started()
    async with httpx.AsyncClient(transport=UtcpTransport(config=FAST)) as client:
        assert (await client.get(f"http://127.0.0.1:{endpoint.address[1]}/big")).content == BODY
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert app.life == ["started", "ended"]


PROGRAM = """
import asyncio
from utcp.integrations import uvicorn

async def app(scope, receive, send):
    if scope["path"] == "/never":
        print("asked", flush=True)
        await asyncio.Event().wait()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})

uvicorn.run(app, "127.0.0.1", 0, lifespan="off", ws="websockets-sansio")
"""


@asynccontextmanager
async def program() -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """PROGRAM once it serves, and its port."""
    arguments = ["-W", "error", "-c", PROGRAM]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE, stderr=PIPE)
    try:
        assert process.stderr is not None
        log = await process.stderr.readuntil(b"CTRL+C to quit)\n")
        yield process, int(log.rpartition(b":")[2].split()[0])
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_sigterm_leaves_no_client_without_an_answer() -> None:
    """Its FIN is acknowledged though the client takes its time: the process ends only after that."""
    async with program() as (process, port):
        reader, writer = await utcp.open_connection("127.0.0.1", port, config=FAST)
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await reader.readuntil(b"ok")
        process.send_signal(signal.SIGTERM)
        assert await reader.read() == b""
        await asyncio.sleep(0.4)  # uvicorn's shutdown has ended by now
        writer.close()
        await writer.wait_closed()
        assert await process.wait() == -signal.SIGTERM


async def test_a_second_ctrl_c_waits_for_no_client() -> None:
    async with program() as (process, port):
        assert process.stdout is not None
        assert process.stderr is not None
        reader, writer = await utcp.open_connection("127.0.0.1", port, config=FAST)
        writer.write(b"GET /never HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert await process.stdout.readline() == b"asked\n"
        process.send_signal(signal.SIGINT)
        await process.stderr.readuntil(b"Waiting for connections to close. (CTRL+C to force quit)\n")
        process.send_signal(signal.SIGINT)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        assert await process.wait() == 0
        rest = (await process.stderr.read()).decode()
        assert "Finished server process" in rest
        # Of the application, which the end of the loop cancels, uvicorn tells as it does over kernel sockets.
        assert rest.count("ERROR:") == rest.count("Exception in ASGI application") == 1
        assert "Warning" not in rest


# --- uvicorn's names


def test_the_names_of_uvicorn_that_the_adapter_relies_on() -> None:
    """A release of uvicorn that fails here needs utcp.integrations.uvicorn looked at."""
    for name in ("startup", "main_loop", "shutdown", "serve"):
        assert inspect.iscoroutinefunction(getattr(uvicorn.Server, name))
    assert "self.servers" in inspect.getsource(uvicorn.Server.shutdown)
    assert "self.force_exit" in inspect.getsource(uvicorn.Server.handle_exit)
    config = uvicorn.Config(Application().asgi, http="h11", log_config=None, ws=WEBSOCKETS)
    config.load()
    assert {"config", "server_state", "app_state"} <= set(inspect.signature(config.http_protocol_class).parameters)
