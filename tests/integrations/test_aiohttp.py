"""aiohttp's server and client over utcp, with each other and with a client that speaks HTTP by hand."""

import asyncio
import errno
import hashlib
import inspect
import io
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import utcp
from tests.aio.peers import FAST, opened, started, until
from tests.certificates import certificate, client_context, server_context
from tests.integrations.open_transports import open_transports

pytest.importorskip("aiohttp", reason="aiohttp comes with the extra 'integrations'")

import aiohttp
from aiohttp import web

from utcp.integrations.aiohttp import UtcpConnector, UtcpSite

pytestmark = pytest.mark.usefixtures("nothing_left")

BODY = bytes(range(256)) * 8192
"""2 MiB."""

USER_TIMEOUT = 18
"""TCP_USER_TIMEOUT of Linux, in milliseconds; the socket module does not name it everywhere."""

security = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


class Application:
    """What the tests ask for, and what the server has seen of its clients."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.transports: list[asyncio.Transport] = []
        """One for each request."""
        self.release = asyncio.Event()
        self.close_codes: list[int | None] = []
        """Those of WebSockets."""
        self.web = web.Application(client_max_size=4 << 20)
        self.web.add_routes(
            [
                web.get("/hello", self.hello),
                web.post("/digest", self.digest),
                web.get("/big", self.big),
                web.get("/stream", self.stream),
                web.get("/file", self.download),
                web.get("/slow", self.slow),
                web.get("/abort", self.abort),
                web.get("/socket", self.socket),
            ]
        )

    @property
    def connections(self) -> int:
        return len(set(self.transports))

    def note(self, request: web.Request) -> asyncio.Transport:
        transport = request.transport
        assert transport is not None
        self.transports.append(transport)
        return transport

    async def hello(self, request: web.Request) -> web.Response:
        self.note(request)
        return web.Response(text=f"hello {request.remote}")

    async def digest(self, request: web.Request) -> web.Response:
        return web.Response(text=hashlib.sha256(await request.read()).hexdigest())

    async def big(self, _: web.Request) -> web.Response:
        return web.Response(body=BODY)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """One chunk, and the others once the client has asked for them."""
        self.note(request)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await self.release.wait()
        for _ in range(32):
            await response.write(bytes(65536))
        await response.write_eof()
        return response

    async def download(self, _: web.Request) -> web.FileResponse:
        assert self.file is not None
        return web.FileResponse(self.file)

    async def slow(self, request: web.Request) -> web.Response:
        self.note(request)
        await self.release.wait()
        return web.Response(text="at last")

    async def abort(self, request: web.Request) -> web.StreamResponse:
        """Half of a response, and RST."""
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"half")
        await asyncio.sleep(0.05)
        self.note(request).abort()
        return response

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """Says back what it hears; "bye" makes it close."""
        websocket = web.WebSocketResponse(max_msg_size=8 << 20)
        await websocket.prepare(request)
        async for message in websocket:
            if message.type is aiohttp.WSMsgType.BINARY:
                await websocket.send_bytes(message.data)
            elif message.data == "bye":
                await websocket.close(code=4000, message=b"bye")
            else:
                await websocket.send_str(message.data)
        self.close_codes.append(websocket.close_code)
        return websocket


@asynccontextmanager
async def serving(application: Application, **options: Any) -> AsyncIterator[int]:
    """The port that the application is served on, on 127.0.0.1."""
    runner = web.AppRunner(application.web, shutdown_timeout=5)
    await runner.setup()
    try:
        if "endpoint" not in options:
            options = {"config": FAST} | options
        site = UtcpSite(runner, "127.0.0.1", 0, **options)
        await site.start()
        assert runner.addresses == [("127.0.0.1", site.port)]
        yield site.port
    finally:
        await runner.cleanup()


@asynccontextmanager
async def session(port: int, *, tls: bool = False, **options: Any) -> AsyncIterator[aiohttp.ClientSession]:
    connector = UtcpConnector(ssl=client_context() if tls else True, config=FAST)
    url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
    async with aiohttp.ClientSession(url, connector=connector, **options) as opened:
        yield opened


async def text_of(client: aiohttp.ClientSession, path: str) -> str:
    async with client.get(path) as response:
        assert response.status == 200
        return await response.text()


# --- what both are for


@security
async def test_two_mebibytes_each_way(tls: bool) -> None:
    context = server_context() if tls else None
    async with serving(Application(), ssl_context=context) as port, session(port, tls=tls) as client:
        async with client.get("/big") as response:
            assert response.status == 200
            assert await response.read() == BODY
        async with client.post("/digest", data=io.BytesIO(BODY)) as response:
            assert await response.text() == hashlib.sha256(BODY).hexdigest()


@security
async def test_streams_each_way(tls: bool) -> None:
    """Each side has the first chunk before the other has made the last."""
    application = Application()
    sent = hashlib.sha256()

    async def chunks() -> AsyncIterator[bytes]:
        for number in range(64):
            chunk = bytes([number]) * 32768
            sent.update(chunk)
            yield chunk

    context = server_context() if tls else None
    async with serving(application, ssl_context=context) as port, session(port, tls=tls) as client:
        async with client.get("/stream") as response:
            assert await response.content.readexactly(5) == b"first"
            application.release.set()
            assert await response.content.read() == bytes(32 * 65536)
        async with client.post("/digest", data=chunks()) as response:
            assert await response.text() == sent.hexdigest()


@security
async def test_a_file_and_a_part_of_it(tls: bool, tmp_path: Path) -> None:
    file = tmp_path / "body.bin"
    file.write_bytes(BODY)
    context = server_context() if tls else None
    async with serving(Application(file), ssl_context=context) as port, session(port, tls=tls) as client:
        async with client.get("/file") as response:
            assert await response.read() == BODY
        async with client.get("/file", headers={"Range": "bytes=1000-300999"}) as response:
            assert response.status == 206
            assert await response.read() == BODY[1000:301000]


@security
@pytest.mark.parametrize("closes", ["client", "server"])
async def test_websocket(tls: bool, closes: str) -> None:
    application = Application()
    context = server_context() if tls else None
    async with serving(application, ssl_context=context) as port, session(port, tls=tls) as client:
        async with client.ws_connect("/socket", max_msg_size=8 << 20) as websocket:
            await websocket.send_str("hello")
            assert await websocket.receive_str() == "hello"
            await websocket.send_bytes(BODY)
            assert await websocket.receive_bytes() == BODY
            if closes == "client":
                await websocket.close(code=4001)
            else:
                await websocket.send_str("bye")
                message = await websocket.receive()
                assert message.type is aiohttp.WSMsgType.CLOSE
                assert (message.data, message.extra) == (4000, "bye")
        if closes == "client":
            await until(lambda: application.close_codes)
            assert application.close_codes == [4001]
        else:
            assert websocket.close_code == 4000


async def test_a_client_that_speaks_http_by_hand() -> None:
    """Two requests on one connection, pipelined; the second closes it."""
    async with serving(Application()) as port:
        reader, writer = await utcp.open_connection("127.0.0.1", port, config=FAST)
        request = "GET /hello HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        writer.write(f"{request}\r\n{request}Connection: close\r\n\r\n".encode())
        answer = await reader.read()
        assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
        assert answer.count(b"hello 127.0.0.1") == 2
        writer.close()
        await writer.wait_closed()


# --- connections: kept alive, and whose they are


@security
async def test_a_connection_is_used_again(tls: bool) -> None:
    application = Application()
    context = server_context() if tls else None
    async with serving(application, ssl_context=context) as port, session(port, tls=tls) as client:
        for _ in range(5):
            assert await text_of(client, "/hello") == "hello 127.0.0.1"
    assert len(application.transports) == 5
    assert application.connections == 1


async def test_many_at_once_share_no_connection_and_leave_none() -> None:
    application = Application()
    async with serving(application) as port, session(port) as client:
        answers = await asyncio.gather(*(text_of(client, "/hello") for _ in range(50)))
        assert answers == ["hello 127.0.0.1"] * 50
    assert application.connections > 1


async def test_an_idle_connection_that_the_server_has_closed_is_not_used_again() -> None:
    application = Application()
    async with serving(application) as port, session(port) as client:
        await text_of(client, "/hello")
        application.transports[0].close()
        await until(lambda: not open_transports())
        await text_of(client, "/hello")
    assert application.connections == 2


async def test_endpoints_of_ones_own() -> None:
    """The server's and the client's connections run over the endpoints given, which stay open."""
    application = Application()
    address = ("127.0.0.1", 0)
    async with utcp.Endpoint(address, config=FAST) as ours, utcp.Endpoint(address, config=FAST) as theirs:
        async with (
            serving(application, endpoint=theirs) as port,
            aiohttp.ClientSession(connector=UtcpConnector(endpoint=ours)) as client,
        ):
            assert port == theirs.address[1]
            assert await text_of(client, f"http://127.0.0.1:{port}/hello") == "hello 127.0.0.1"
            assert application.transports[0].get_extra_info("udp_peername") == ours.address
            assert started() == {opened(ours), opened(theirs)}
        server = await theirs.start_server(lambda _, writer: writer.close())
        reader, writer = await ours.open_connection(*theirs.address)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()


async def test_a_config_of_ones_own() -> None:
    application = Application()
    theirs, ours = utcp.Config(msl=0.05, user_timeout=11.0), utcp.Config(msl=0.05, user_timeout=22.0)
    async with (
        serving(application, config=theirs) as port,
        aiohttp.ClientSession(connector=UtcpConnector(config=ours)) as client,
        client.get(f"http://127.0.0.1:{port}/stream") as response,
    ):
        assert response.connection is not None
        assert response.connection.transport is not None
        transports = [response.connection.transport, application.transports[0]]
        application.release.set()
        options = [each.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, USER_TIMEOUT) for each in transports]
        assert options == [22_000, 11_000]
        await response.read()


async def test_config_and_endpoint_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="config and endpoint can not be specified at the same time"):
        UtcpConnector(config=FAST, endpoint=utcp.Endpoint())


async def test_a_host_is_a_name() -> None:
    async with serving(Application()) as port, aiohttp.ClientSession(connector=UtcpConnector(config=FAST)) as client:
        assert await text_of(client, f"http://localhost:{port}/hello") == "hello 127.0.0.1"


# --- closing


async def test_the_server_closes_with_connections_kept_alive() -> None:
    """cleanup() closes idle connections, and the client hears of it."""
    application = Application()
    async with session(0) as client:
        async with serving(application) as port:
            await text_of(client, f"http://127.0.0.1:{port}/hello")
            [transport] = application.transports
            assert not transport.is_closing()
        assert transport.is_closing()
        await until(lambda: not open_transports())


async def test_the_server_finishes_what_is_under_way_before_it_closes() -> None:
    application = Application()
    async with session(0) as client:
        async with serving(application) as port:
            slow = asyncio.create_task(text_of(client, f"http://127.0.0.1:{port}/slow"))
            await until(lambda: application.transports)
            asyncio.get_running_loop().call_later(0.05, application.release.set)
        assert await slow == "at last"


async def test_closing_the_session_closes_what_is_in_use_too() -> None:
    application = Application()
    async with serving(application) as port:
        async with session(port) as client:
            await text_of(client, "/hello")
            response = await client.get("/stream")
            assert await response.content.readexactly(5) == b"first"
        response.close()
        assert len(application.transports) == 2
        await until(lambda: all(transport.is_closing() for transport in application.transports))
        application.release.set()


# --- errors, by aiohttp's names


async def test_refused() -> None:
    async with utcp.Endpoint(("127.0.0.1", 0)) as nobody_listens, session(nobody_listens.address[1]) as client:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await client.get("/hello")
    assert caught.value.os_error.errno == errno.ECONNREFUSED
    assert isinstance(caught.value.os_error, utcp.ConnectionRefused)
    assert (caught.value.host, caught.value.port) == nobody_listens.address


async def test_nobody_answers() -> None:
    """The session's timeout, and then utcp's own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        impatient = aiohttp.ClientTimeout(sock_connect=0.05)
        async with aiohttp.ClientSession(connector=UtcpConnector(), timeout=impatient) as client:
            with pytest.raises(aiohttp.ConnectionTimeoutError):
                await client.get(url)
        connector = UtcpConnector(config=utcp.Config(syn_retries=1, rto_initial=0.05))
        async with aiohttp.ClientSession(connector=connector) as client:
            with pytest.raises(aiohttp.ClientConnectorError) as caught:
                await client.get(url)
        assert isinstance(caught.value.os_error, utcp.SynTimedOut)


async def test_the_response_never_comes() -> None:
    application = Application()
    async with serving(application) as port:
        timeout = aiohttp.ClientTimeout(sock_read=0.05)
        async with session(port, timeout=timeout) as client:
            with pytest.raises(aiohttp.SocketTimeoutError):
                await client.get("/slow")
        application.release.set()


async def test_reset_in_the_middle() -> None:
    async with serving(Application()) as port, session(port) as client, client.get("/abort") as response:
        assert await response.content.readexactly(4) == b"half"
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
            await response.content.read()


@pytest.mark.parametrize(
    ("ours", "error"),
    [
        (True, aiohttp.ClientConnectorCertificateError),  # an authority that the system does not know
        (False, None),
        (aiohttp.Fingerprint(bytes(32)), aiohttp.ServerFingerprintMismatch),
        ("right", None),
        ("trusting", None),
    ],
    ids=["verify", "do not verify", "wrong fingerprint", "right fingerprint", "context"],
)
@pytest.mark.parametrize("where", ["connector", "request", "both"])
async def test_who_the_server_must_be(ours: Any, error: type[Exception] | None, where: str) -> None:
    if ours == "right":
        pem = certificate("localhost", "127.0.0.1", issuer="ours").cert_chain_pems[0].bytes().decode()
        ours = aiohttp.Fingerprint(hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest())
    elif ours == "trusting":
        ours = client_context()
    # Where only one of them counts the other one says the opposite.
    by_connector = {"connector": ours, "request": ours if ours is True else True, "both": ours}[where]
    by_request = {"connector": True, "request": ours, "both": ours}[where]
    async with serving(Application(), ssl_context=server_context()) as port:
        connector = UtcpConnector(ssl=by_connector, config=FAST)
        async with aiohttp.ClientSession(connector=connector) as client:
            url = f"https://127.0.0.1:{port}/hello"
            if error is None:
                async with client.get(url, ssl=by_request) as response:
                    assert response.status == 200
            else:
                with pytest.raises(error):
                    await client.get(url, ssl=by_request)


async def test_a_fingerprint_of_the_connector_counts_whatever_the_request_says() -> None:
    async with serving(Application(), ssl_context=server_context()) as port:
        connector = UtcpConnector(ssl=aiohttp.Fingerprint(bytes(32)), config=FAST)
        async with aiohttp.ClientSession(connector=connector) as client:
            with pytest.raises(aiohttp.ServerFingerprintMismatch):
                await client.get(f"https://127.0.0.1:{port}/hello", ssl=False)


async def test_a_server_without_tls_is_asked_for_it() -> None:
    async with serving(Application()) as port, session(port, tls=True) as client:
        with pytest.raises(aiohttp.ClientConnectorSSLError):
            await client.get("/hello")


async def test_a_proxy_is_refused() -> None:
    async with session(9) as client:
        with pytest.raises(aiohttp.ClientConnectionError, match="utcp does not support HTTP proxies"):
            await client.get("/hello", proxy="http://127.0.0.1:3128")


# --- sites


async def test_sites_have_names_and_ports() -> None:
    runner = web.AppRunner(web.Application())
    with pytest.raises(RuntimeError, match=r"runner\.setup"):
        UtcpSite(runner)
    await runner.setup()
    assert UtcpSite(runner).name == "http+utcp://0.0.0.0:8080"
    assert UtcpSite(runner, "::1", ssl_context=server_context()).name == "https+utcp://[::1]:8443"
    site = UtcpSite(runner, "127.0.0.1", 0, config=FAST)
    await site.start()
    assert site.name == f"http+utcp://127.0.0.1:{site.port}"
    assert site.port != 0
    await runner.cleanup()


async def test_a_site_on_a_port_that_is_taken() -> None:
    runner = web.AppRunner(web.Application())
    await runner.setup()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="address already in use") as caught:
            await UtcpSite(runner, "127.0.0.1", taken.getsockname()[1]).start()
    assert caught.value.errno == errno.EADDRINUSE
    assert not runner.sites
    await runner.cleanup()


async def test_a_site_stops_and_another_one_takes_its_port() -> None:
    runner = web.AppRunner(web.Application())
    await runner.setup()
    site = UtcpSite(runner, "127.0.0.1", 0, config=FAST)
    await site.start()
    await site.stop()
    await UtcpSite(runner, "127.0.0.1", site.port, config=FAST).start()
    await runner.cleanup()


# --- aiohttp's private names


def test_the_private_names_of_aiohttp_that_the_adapter_relies_on() -> None:
    """A release of aiohttp that fails here needs utcp.integrations.aiohttp looked at."""
    assert {"_runner", "_ssl_context", "_backlog", "_server"} <= set(web.BaseSite.__slots__)
    assert "_server" in inspect.getsource(web.BaseSite.stop)
    hook = inspect.signature(aiohttp.BaseConnector._create_connection)
    assert list(hook.parameters) == ["self", "req", "traces", "timeout"]
    assert inspect.iscoroutinefunction(aiohttp.BaseConnector._create_connection)
    assert "_factory" in inspect.getsource(aiohttp.BaseConnector.__init__)
