"""loop_factory(): asyncio's own functions, over utcp where the route says so and nowhere else."""

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

import utcp
from tests.aio.peers import FAST, until
from tests.certificates import client_context, server_context

HOST = "127.0.0.1"
BASES = [asyncio.SelectorEventLoop, uvloop.Loop]


@pytest.fixture(params=BASES, ids=lambda base: base.__module__)
def base(request: pytest.FixtureRequest) -> Any:
    return request.param


def run(base: Any, scenario: Callable[[], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):  # pytest's own does not reach into uvloop
            await scenario()

    with asyncio.Runner(loop_factory=utcp.loop_factory(base, **options)) as runner:
        assert isinstance(runner.get_loop(), base)
        runner.run(bounded())


def over_utcp(carrier: asyncio.StreamWriter | asyncio.BaseTransport) -> bool:
    return carrier.get_extra_info("utcp") is not None


def is_ours(server: object) -> bool:
    return isinstance(server, utcp.Server)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()
    await writer.wait_closed()


async def echoed(port: int, host: str = HOST, **options: Any) -> asyncio.StreamWriter:
    """The closed writer of a connection by asyncio's own open_connection(), over which something came back."""
    reader, writer = await asyncio.open_connection(host, port, **options)
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    carrier = writer
    writer.close()
    await writer.wait_closed()
    return carrier


def port_of(server: asyncio.Server) -> int:
    port = server.sockets[0].getsockname()[1]
    assert isinstance(port, int)
    return port


def test_a_server_and_a_client(base: Any) -> None:
    async def scenario() -> None:
        async with await asyncio.start_server(echo, HOST, 0) as server:
            assert is_ours(server)
            assert over_utcp(await echoed(port_of(server)))

    run(base, scenario, route=[(HOST, None)])


def test_all_else_goes_to_the_base(base: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await asyncio.start_server(echo, "localhost", 0, family=socket.AF_INET) as kernel:
            assert not is_ours(kernel)
            assert not over_utcp(await echoed(port_of(kernel)))
        path = str(tmp_path / "socket")
        async with await asyncio.start_unix_server(echo, path):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()

    run(base, scenario, route=[(HOST, 9000), ("example.org", None)])


def test_a_socket_of_ones_own_goes_to_the_base(base: Any) -> None:
    async def scenario() -> None:
        listening = socket.create_server((HOST, 0))
        async with await asyncio.start_server(echo, sock=listening) as server:
            assert not is_ours(server)
            connected = socket.create_connection(listening.getsockname())
            connected.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=connected)
            writer.write(b"hello\n")
            assert await reader.readline() == b"hello\n"
            assert not over_utcp(writer)
            writer.close()
            await writer.wait_closed()
        with pytest.raises(ValueError, match="host and port was not specified and no sock specified"):
            await asyncio.get_running_loop().create_connection(asyncio.Protocol)

    run(base, scenario, route=lambda host, port: True)


def test_errors_are_those_of_the_carrier(base: Any) -> None:
    async def scenario() -> None:
        async with utcp.Endpoint((HOST, 0)) as nobody_listens:
            with pytest.raises(utcp.ConnectionRefused):
                await asyncio.open_connection(HOST, nobody_listens.address[1])
        with pytest.raises(TypeError):
            await asyncio.open_connection(HOST, 9, nonsense=True)

    run(base, scenario, route=[(HOST, None)])


def test_cancelling_leaves_nothing(base: Any) -> None:
    async def scenario() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind((HOST, 0))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.open_connection(*silent.getsockname()), 0.05)

    run(base, scenario, route=[(HOST, None)])


def test_the_configuration_is_everybodys(base: Any) -> None:
    seen: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("utcp").congestion_control)
        await echo(reader, writer)

    async def scenario() -> None:
        async with await asyncio.start_server(serve, HOST, 0) as server:
            carrier = await echoed(port_of(server))
        seen.append(carrier.get_extra_info("utcp").congestion_control)

    run(base, scenario, route=[(HOST, None)], config=utcp.Config(msl=0.05, congestion_control="newreno"))
    assert seen == ["newreno", "newreno"]


# --- TLS


def test_tls(base: Any) -> None:
    async def scenario() -> None:
        async with await asyncio.start_server(echo, HOST, 0, ssl=server_context(alpn=["echo"])) as server:
            carrier = await echoed(port_of(server), ssl=client_context(alpn=["echo"]))
            assert over_utcp(carrier)
            assert carrier.get_extra_info("ssl_object").selected_alpn_protocol() == "echo"

    run(base, scenario, route=[(HOST, None)], config=FAST)


@pytest.mark.parametrize("routed", [True, False], ids=["utcp", "base"])
def test_start_tls_of_asyncios_own_writers(base: Any, routed: bool) -> None:
    """asyncio.StreamWriter.start_tls(), on both sides; without the factory uvloop's loops take only their own."""

    async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.start_tls(server_context())
        await echo(reader, writer)

    async def scenario() -> None:
        async with await asyncio.start_server(upgrade, HOST, 0) as server:
            reader, writer = await asyncio.open_connection(HOST, port_of(server))
            assert type(writer) is asyncio.StreamWriter
            writer.write(b"STARTTLS\n")
            await reader.readline()
            await writer.start_tls(client_context(), server_hostname="localhost")
            assert over_utcp(writer) is routed
            writer.write(b"secret\n")
            assert await reader.readline() == b"secret\n"
            writer.close()
            await writer.wait_closed()

    run(base, scenario, route=[(HOST, None)] if routed else [], config=FAST)


class Collects(asyncio.Protocol):
    received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data


def test_tls_within_tls(base: Any) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        accepted: asyncio.Future[Any] = loop.create_future()

        class Accepts(Collects):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                accepted.set_result((transport, self))

        server = await loop.create_server(Accepts, HOST, 0, ssl=server_context())
        async with server:
            outer, ours = await loop.create_connection(Collects, HOST, port_of(server), ssl=client_context())
            inner_of_server, theirs = await accepted
            inner, upgraded = await asyncio.gather(
                loop.start_tls(outer, ours, client_context(), server_hostname="localhost"),
                loop.start_tls(inner_of_server, theirs, server_context(), server_side=True),
            )
            assert inner is not None
            assert upgraded is not None
            inner.write(b"deep")
            await until(lambda: theirs.received == b"deep")
            inner.close()

    run(base, scenario, route=[(HOST, None)], config=FAST)


def test_a_failed_upgrade(base: Any) -> None:
    async def scenario() -> None:
        async with await asyncio.start_server(echo, HOST, 0) as server:
            _, writer = await asyncio.open_connection(HOST, port_of(server))
            with pytest.raises(OSError):
                await writer.start_tls(client_context(), server_hostname="localhost", ssl_handshake_timeout=60)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    run(base, scenario, route=[(HOST, None)], config=FAST)


# --- servers


def test_a_server_on_several_hosts(base: Any) -> None:
    async def scenario() -> None:
        async with await asyncio.start_server(echo, [HOST, "::1"], 0) as server:
            assert is_ours(server)
            for each in server.sockets:
                assert over_utcp(await echoed(each.getsockname()[1], each.getsockname()[0]))
        with pytest.raises(ValueError, match="some of the hosts use utcp and others do not"):
            await asyncio.start_server(echo, [HOST, "::"], 0)

    run(base, scenario, route=[(HOST, None), ("::1", None)])


@pytest.mark.parametrize("host", [None, ""])
def test_a_server_on_all_interfaces(base: Any, host: str | None) -> None:
    asked: list[tuple[Any, Any]] = []

    def route(host: str | None, port: int | str | None) -> bool:
        asked.append((host, port))
        return True

    async def scenario() -> None:
        async with await asyncio.start_server(echo, host, 0, family=socket.AF_INET) as server:
            assert is_ours(server)
            assert over_utcp(await echoed(port_of(server)))

    run(base, scenario, route=route)
    assert asked[0] == (None, 0)


def test_a_server_that_starts_later(base: Any) -> None:
    async def scenario() -> None:
        server = await asyncio.start_server(echo, HOST, 0, start_serving=False)
        port = port_of(server)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, port)
        async with server:
            await server.start_serving()
            await echoed(port)

    run(base, scenario, route=[(HOST, None)])


# --- routes


@pytest.mark.parametrize(
    ("pair", "host", "port", "matches"),
    [
        (("127.0.0.1", 9000), "127.0.0.1", 9000, True),
        (("127.0.0.1", 9000), "127.0.0.1", "9000", True),
        (("127.0.0.1", 9000), b"127.0.0.1", b"9000", True),
        (("127.0.0.1", 9000), "127.0.0.1", 9001, False),
        (("127.0.0.1", 9000), "127.0.0.2", 9000, False),
        (("127.0.0.1", 9000), "localhost", 9000, False),
        (("127.0.0.1", 9000), None, 9000, False),
        (("127.0.0.1", None), "127.0.0.1", 1, True),
        (("127.0.0.1", None), "127.0.0.1", "http", True),
        (("127.0.0.1", 80), "127.0.0.1", "http", False),
        ((None, 9000), "anything", 9000, True),
        ((None, 9000), None, 9000, True),
        ((None, 9000), None, 9001, False),
        ((None, None), "anything", 1, True),
        (("Example.ORG", 80), "example.org", 80, True),
        (("example.org", 80), "EXAMPLE.org", 80, True),
        (("::1", 80), "0:0:0:0:0:0:0:1", 80, True),
        (("fe80::1%eth0", 80), "fe80::1%eth0", 80, True),
        (("fe80::1%eth0", 80), "fe80::1%eth1", 80, False),
    ],
)
def test_pairs(monkeypatch: pytest.MonkeyPatch, pair: tuple[str, int], host: Any, port: Any, matches: bool) -> None:
    class Over(Exception):
        """Over utcp."""

    async def routed(*_: object, **__: object) -> None:
        raise Over

    class Base(asyncio.SelectorEventLoop):
        async def create_connection(self, *_: Any, **__: Any) -> Any:
            return "base"

        async def create_server(self, *_: Any, **__: Any) -> Any:
            return "base"

    monkeypatch.setattr("utcp.aio.loop_factory.create_connection", routed)
    monkeypatch.setattr("utcp.aio.loop_factory.create_server", routed)

    async def over_utcp(call: Any) -> bool:
        try:
            assert await call(asyncio.Protocol, host, port) == "base"
        except Over:
            return True
        return False

    with asyncio.Runner(loop_factory=utcp.loop_factory(Base, route=[pair])) as runner:
        loop = runner.get_loop()
        assert runner.run(over_utcp(loop.create_connection)) is matches
        assert runner.run(over_utcp(loop.create_server)) is matches


def test_a_route_may_grow() -> None:
    route: set[tuple[str | None, int | None]] = set()

    async def scenario() -> None:
        async with await utcp.start_server(echo, HOST, 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(ConnectionRefusedError):  # the kernel's
                await asyncio.open_connection(HOST, port)
            route.add((HOST, port))
            assert over_utcp(await echoed(port))

    run(asyncio.SelectorEventLoop, scenario, route=route)


@pytest.mark.parametrize(
    ("route", "text"),
    [
        ((HOST, 9000), "an address of route must be a pair (host, port), with None for any, not '127.0.0.1'"),
        ([(HOST, "9000")], "an address of route must be a pair (host, port), with None for any"),
        ([(HOST,)], "an address of route must be a pair"),
        ("127.0.0.1:9000", "route must be a predicate or a collection of (host, port), not '127.0.0.1:9000'"),
        (None, "route must be a predicate or a collection of (host, port), not None"),
    ],
)
def test_a_route_that_is_none(route: Any, text: str) -> None:
    with pytest.raises(TypeError) as raised:
        utcp.loop_factory(route=route)
    assert text in str(raised.value)


@pytest.mark.parametrize("wrong", [asyncio.new_event_loop, int])
def test_a_base_that_is_none(wrong: Any) -> None:
    with pytest.raises(TypeError, match="base must be a class of event loops"):
        utcp.loop_factory(wrong, route=[])


def test_there_is_no_route_by_default() -> None:
    with pytest.raises(TypeError, match="route"):
        utcp.loop_factory(uvloop.Loop)  # type: ignore[call-arg]  # on purpose


def test_its_name_says_what_it_is() -> None:
    factory: Any = utcp.loop_factory(route=[])
    assert re.search("Utcp.*SelectorEventLoop", repr(factory))
    loop = factory()
    assert re.search("Utcp.*SelectorEventLoop running=False", repr(loop))
    loop.close()
