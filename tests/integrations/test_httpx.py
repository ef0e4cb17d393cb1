"""httpx over utcp, against servers that do what they like: kept-alive connections, TLS, timeouts, errors."""

import asyncio
import hashlib
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import utcp
from tests.aio.peers import FAST, opened, started, until
from tests.certificates import client_context, server_context
from tests.integrations.open_transports import open_transports

pytest.importorskip("httpx", reason="httpx comes with the extra 'integrations'")

import httpcore
import httpx

from utcp.integrations.anyio import READ_LIMIT
from utcp.integrations.httpx import UtcpBackend, UtcpTransport

pytestmark = pytest.mark.usefixtures("nothing_left")

BODY = bytes(range(256)) * 8192
"""2 MiB."""

Answer = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

security = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


class Server:
    """Hands the head of each request to `answer`, and counts."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.connections = 0
        self.requests = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                await self.answer(head, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def serving(
    answer: Answer, context: ssl.SSLContext | None = None, *, tls: bool = False
) -> AsyncIterator[tuple[Server, str]]:
    """A server on 127.0.0.1 and its URL; its clients are closed at the end. `tls` is for one that all trust."""
    served = Server(answer)
    context = server_context() if tls else context
    server = await utcp.start_server(served.handle, "127.0.0.1", 0, ssl=context, config=FAST)
    try:
        yield served, f"http{'' if context is None else 's'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        server.close_clients()
        await server.wait_closed()


def client(*, tls: bool = False, timeout: httpx.Timeout | None = None, retries: int = 0) -> httpx.AsyncClient:
    verify: ssl.SSLContext | bool = client_context() if tls else False
    return httpx.AsyncClient(transport=UtcpTransport(verify=verify, config=FAST, retries=retries), timeout=timeout)


async def say(writer: asyncio.StreamWriter, body: bytes, *headers: str) -> None:
    head = "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers])
    writer.write(head.encode() + b"\r\n\r\n" + body)
    await writer.drain()


async def hello(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await say(writer, b"hello")


async def silence(_: bytes, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    await reader.read()


async def digest(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    [length] = re.findall(rb"(?i)content-length: (\d+)", head)
    body = await reader.readexactly(int(length))
    await say(writer, hashlib.sha256(body).hexdigest().encode())


# --- what it is for


@security
async def test_two_mebibytes_each_way(tls: bool) -> None:
    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"GET"):
            await say(writer, BODY)
        else:
            await digest(head, reader, writer)

    async with serving(answer, tls=tls) as (server, url), client(tls=tls) as ours:
        assert (await ours.get(url)).content == BODY
        assert (await ours.post(url, content=BODY)).text == hashlib.sha256(BODY).hexdigest()
        assert server.connections == 1


@security
async def test_a_response_comes_in_pieces(tls: bool) -> None:
    release = asyncio.Event()

    async def answer(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await release.wait()
        writer.write(b"4\r\nlast\r\n0\r\n\r\n")

    async with serving(answer, tls=tls) as (_, url), client(tls=tls) as ours, ours.stream("GET", url) as response:
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"first"
        release.set()
        assert [chunk async for chunk in chunks] == [b"last"]
        assert response.extensions["network_stream"].get_extra_info("utcp").state == "ESTABLISHED"


async def test_a_reader_that_takes_its_time_stops_the_server() -> None:
    """What nobody reads yet waits with the server, not here."""

    async def answer(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await say(writer, bytes(64 << 20))

    async with serving(answer) as (_, url), client() as ours, ours.stream("GET", url) as response:
        stream = response.extensions["network_stream"]
        await until(lambda: stream._protocol._size > READ_LIMIT)
        assert stream._protocol._size < READ_LIMIT + (1 << 19)
        received = 0
        async for chunk in response.aiter_raw():
            received += len(chunk)
        assert received == 64 << 20


# --- connections kept alive


@security
async def test_a_connection_is_used_again(tls: bool) -> None:
    async with serving(hello, tls=tls) as (server, url), client(tls=tls) as ours:
        for _ in range(5):
            assert (await ours.get(url)).text == "hello"
        assert (server.requests, server.connections) == (5, 1)


@security
async def test_a_connection_that_the_server_has_closed_is_not_used_again(tls: bool) -> None:
    async with serving(hello, tls=tls) as (server, url), client(tls=tls) as ours:
        for number in range(1, 4):
            assert (await ours.get(url)).text == "hello"
            assert server.connections == number
            server.writers[-1].close()
            await until(lambda: not open_transports())


async def test_a_connection_on_which_the_server_speaks_unasked_is_not_used_again() -> None:
    """What it said must not become the answer to the next request."""
    async with serving(hello) as (server, url), client() as ours:
        assert (await ours.get(url)).text == "hello"
        [transport] = [each for each in open_transports() if each._server is None]
        await say(server.writers[0], b"out of turn")
        stream: Any = transport.get_protocol()
        await until(lambda: stream._chunks)
        assert (await ours.get(url)).text == "hello"
        assert server.connections == 2


async def test_closing_the_client_closes_its_connections() -> None:
    async with serving(hello) as (server, url):
        async with client() as ours:
            await ours.get(url)
            assert len(open_transports()) == 2
        await until(lambda: not open_transports())
        assert (server.requests, server.connections) == (1, 1)


async def test_a_cancelled_request_leaves_no_connection() -> None:
    async with serving(silence) as (server, url), client() as ours:
        request = asyncio.create_task(ours.get(url))
        await until(lambda: server.requests)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await until(lambda: not open_transports())


# --- where it goes


async def test_a_host_is_a_name() -> None:
    async with serving(hello) as (_, url), client() as ours:
        assert (await ours.get(url.replace("127.0.0.1", "localhost"))).text == "hello"


async def test_only_some_hosts_by_utcp() -> None:
    mounts = {"http://127.0.0.1": UtcpTransport(verify=False, config=FAST)}
    elsewhere = httpx.MockTransport(lambda request: httpx.Response(200, text=f"not by utcp: {request.url.host}"))
    async with serving(hello) as (_, url), httpx.AsyncClient(transport=elsewhere, mounts=mounts) as ours:
        assert (await ours.get(url)).text == "hello"
        assert (await ours.get("http://example.org")).text == "not by utcp: example.org"


async def test_an_endpoint_of_ones_own() -> None:
    async with utcp.Endpoint(("127.0.0.1", 0), config=FAST) as endpoint, serving(hello) as (server, url):
        async with httpx.AsyncClient(transport=UtcpTransport(verify=False, endpoint=endpoint)) as ours:
            assert (await ours.get(url)).text == "hello"
            assert server.writers[0].get_extra_info("udp_peername") == endpoint.address
        assert opened(endpoint) in started()


async def test_config_and_endpoint_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="config and endpoint can not be specified at the same time"):
        UtcpTransport(config=FAST, endpoint=utcp.Endpoint())


def test_another_httpcore_does_not_use_kernel_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pool(httpcore.AsyncConnectionPool):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self._backend_of_another_name = self.__dict__.pop("_network_backend")

    monkeypatch.setattr(httpcore, "AsyncConnectionPool", Pool)
    with pytest.raises(RuntimeError, match="does not support this httpcore"):
        UtcpTransport()


async def test_httpcore_by_itself() -> None:
    """The backend's own arguments: a local address, socket options."""
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    async with (
        serving(hello) as (server, url),
        httpcore.AsyncConnectionPool(
            network_backend=UtcpBackend(config=FAST), local_address="127.0.0.2", socket_options=options
        ) as pool,
        pool.stream("GET", url) as response,
    ):
        stream = response.extensions["network_stream"]
        assert await response.aread() == b"hello"
        assert stream.get_extra_info("client_addr")[0] == "127.0.0.2"
        assert stream.get_extra_info("client_addr") == server.writers[0].get_extra_info("peername")
        assert stream.get_extra_info("server_addr") == server.writers[0].get_extra_info("sockname")
        assert stream.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_a_local_address_and_an_endpoint_do_not_go_together() -> None:
    async with utcp.Endpoint(("127.0.0.1", 0)) as endpoint:
        with pytest.raises(ValueError, match="a local address and an endpoint can not be specified at the same time"):
            await UtcpBackend(endpoint=endpoint).connect_tcp("127.0.0.1", 9, local_address="127.0.0.2")


async def test_a_socket_option_that_does_not_exist() -> None:
    options = [(socket.IPPROTO_IP, socket.IP_TTL, 1)]
    async with (
        serving(hello) as (_, url),
        httpcore.AsyncConnectionPool(network_backend=UtcpBackend(config=FAST), socket_options=options) as pool,
    ):
        with pytest.raises(httpcore.ConnectError, match="Protocol not available"):
            await pool.request("GET", url)


# --- errors, by httpx's names


async def test_refused() -> None:
    async with utcp.Endpoint(("127.0.0.1", 0)) as nobody_listens, client() as ours:
        with pytest.raises(httpx.ConnectError, match="Connect call failed") as caught:
            await ours.get(f"http://127.0.0.1:{nobody_listens.address[1]}")
    assert str(nobody_listens.address[1]) in str(caught.value)
    assert caught.value.request.method == "GET"


async def test_refused_and_tried_again() -> None:
    """A server that comes up between two attempts is found."""
    async with utcp.Endpoint(("127.0.0.1", 0), config=FAST) as late, client(retries=2) as ours:
        served = Server(hello)
        request = asyncio.create_task(ours.get(f"http://127.0.0.1:{late.address[1]}"))
        # The second attempt follows the first at once, the third one after half a second.
        await until(lambda: late.snmp()["TcpOutRsts"] == 2)
        server = await late.start_server(served.handle)
        assert (await request).text == "hello"
        server.close()
        server.close_clients()


async def test_nobody_answers() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with client(timeout=httpx.Timeout(5, connect=0.05)) as ours:
            with pytest.raises(httpx.ConnectTimeout):
                await ours.get(url)
        # and by utcp's own timeout
        transport = UtcpTransport(verify=False, config=utcp.Config(syn_retries=1, rto_initial=0.05))
        async with httpx.AsyncClient(transport=transport, timeout=None) as ours:  # noqa: S113  # utcp has one
            with pytest.raises(httpx.ConnectTimeout):
                await ours.get(url)


@security
async def test_the_response_never_comes(tls: bool) -> None:
    timeout = httpx.Timeout(5, read=0.05)
    async with (
        serving(silence, tls=tls) as (_, url),
        client(tls=tls, timeout=timeout) as ours,
    ):
        with pytest.raises(httpx.ReadTimeout):
            await ours.get(url)


async def test_the_server_takes_nothing() -> None:
    async def answer(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a WriteTransport to mypy
        await writer.wait_closed()

    async with serving(answer) as (_, url), client(timeout=httpx.Timeout(5, write=0.05)) as ours:
        with pytest.raises(httpx.WriteTimeout):
            await ours.post(url, content=bytes(64 << 20))
        # Nor are the octets kept for it.
        await until(lambda: not [each for each in open_transports() if each._server is None])


async def test_no_connection_is_free() -> None:
    transport = UtcpTransport(verify=False, config=FAST, limits=httpx.Limits(max_connections=1))
    timeout = httpx.Timeout(5, pool=0.05)
    async with (
        serving(hello) as (_, url),
        httpx.AsyncClient(transport=transport, timeout=timeout) as ours,
        ours.stream("GET", url),
    ):
        with pytest.raises(httpx.PoolTimeout):
            await ours.get(url)


async def test_reset_instead_of_a_response() -> None:
    async def answer(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with serving(answer) as (_, url), client() as ours:
        with pytest.raises(httpx.ReadError, match="Connection reset by peer"):
            await ours.get(url)


@security
async def test_the_response_ends_too_early(tls: bool) -> None:
    async def answer(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        writer.close()

    async with serving(answer, tls=tls) as (_, url), client(tls=tls) as ours, ours.stream("GET", url) as response:
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"half"
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(chunks)


async def test_what_is_not_http() -> None:
    async def answer(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")

    async with serving(answer) as (_, url), client() as ours:
        with pytest.raises(httpx.RemoteProtocolError):
            await ours.get(url)
        with pytest.raises(httpx.UnsupportedProtocol):
            await ours.get("ftp://127.0.0.1/")


async def test_a_server_that_nobody_vouches_for() -> None:
    async with serving(hello, server_context(issuer="nobody")) as (_, url), client(tls=True) as ours:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await ours.get(url)
        async with client() as careless:  # verify=False
            assert (await careless.get(url)).text == "hello"


async def test_the_name_in_the_certificate_counts() -> None:
    async with serving(hello, server_context("other.example")) as (_, url), client(tls=True) as ours:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await ours.get(url)
        told = {"sni_hostname": "other.example"}
        assert (await ours.get(url, extensions=told)).text == "hello"


async def test_a_handshake_that_nobody_answers() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    timeout = httpx.Timeout(5, connect=0.05)
    async with (
        await utcp.start_server(mute, "127.0.0.1", 0, config=FAST) as server,
        client(tls=True, timeout=timeout) as ours,
    ):
        with pytest.raises(httpx.ConnectTimeout):
            await ours.get(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")


async def test_an_answer_before_tls_is_none() -> None:
    """An attacker on the path can speak first; nobody may believe that it is the server."""

    async def forge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await say(writer, b"forged")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()

    async with await utcp.start_server(forge, "127.0.0.1", 0, config=FAST) as server:
        backend = UtcpBackend(config=FAST)
        stream = await backend.connect_tcp("127.0.0.1", server.sockets[0].getsockname()[1])
        await until(lambda: stream.get_extra_info("is_readable"))
        with pytest.raises(httpcore.ConnectError, match="before the TLS handshake"):
            await stream.start_tls(client_context(), "127.0.0.1")
        with pytest.raises(httpcore.ReadError):
            await stream.read(100)


async def test_a_lost_connection_takes_no_more() -> None:
    async with serving(silence) as (server, url):
        stream = await UtcpBackend(config=FAST).connect_tcp("127.0.0.1", httpx.URL(url).port or 0)
        await stream.write(b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: server.requests)
        server.writers[0].transport.abort()
        with pytest.raises(httpcore.ReadError):
            await stream.read(1)
        with pytest.raises(httpcore.WriteError):
            await stream.write(b"more")
        await stream.aclose()
