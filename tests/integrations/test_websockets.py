"""websockets over utcp, unmodified: it asks the running loop, which utcp.loop_factory() has made."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import utcp
from tests.aio.peers import until
from tests.certificates import client_context, server_context
from tests.integrations.conftest import Routed
from tests.integrations.open_transports import open_transports

pytest.importorskip("websockets", reason="websockets comes with the extra 'integrations'")

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, broadcast, serve

HOST = "127.0.0.1"
SIZE = 2 << 20

security = pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@asynccontextmanager
async def served(handler: Any = echo, tls: bool = False, **options: Any) -> AsyncIterator[str]:
    """The URI of a server over utcp."""
    async with serve(handler, HOST, 0, ssl=server_context() if tls else None, **options) as server:
        assert "utcp.aio" in type(server.server).__module__
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"{'wss' if tls else 'ws'}://{HOST}:{port}"


def connected(uri: str, **options: Any) -> connect:
    security: ssl.SSLContext | None = client_context() if uri.startswith("wss") else None
    return connect(uri, ssl=security, proxy=None, max_size=None, **options)


@security
def test_messages(routed: Routed, tls: bool) -> None:
    async def scenario() -> None:
        async with served(tls=tls) as uri, connected(uri) as client:
            assert client.transport.get_extra_info("utcp").state == "ESTABLISHED"
            await client.send("text")
            assert await client.recv() == "text"
            await client.send(b"octets")
            assert await client.recv() == b"octets"
            await client.send(["in ", "three ", "frames"])
            assert await client.recv() == "in three frames"
            assert client.remote_address[0] == HOST

    routed(scenario)


@security
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_long_messages(routed: Routed, tls: bool, compression: str | None) -> None:
    message = bytes(range(256)) * (SIZE // 256)

    async def scenario() -> None:
        async with (
            served(tls=tls, compression=compression, max_size=None) as uri,
            connected(uri, compression=compression) as client,
        ):
            for _ in range(3):
                await client.send(message)
            for _ in range(3):
                assert await client.recv() == message

    routed(scenario)


@security
def test_the_closing_handshake(routed: Routed, tls: bool) -> None:
    """WebSocket's own, then TLS's, then TCP's: all in order, and no error on either side."""
    ended: list[tuple[int | None, str | None]] = []

    async def wait(connection: ServerConnection) -> None:
        await connection.wait_closed()
        ended.append((connection.close_code, connection.close_reason))

    async def scenario() -> None:
        async with served(wait, tls=tls) as uri:
            client = await connected(uri)
            await client.close(4000, "enough")
            await until(lambda: ended)
            await until(lambda: not open_transports())
        assert ended == [(4000, "enough")]
        assert (client.close_code, client.close_reason) == (4000, "enough")

    routed(scenario)


def test_a_server_that_shuts_down(routed: Routed) -> None:
    async def scenario() -> None:
        async with served() as uri:
            client = await connected(uri)
        with pytest.raises(websockets.ConnectionClosedOK) as raised:
            await client.recv()
        assert raised.value.rcvd is not None
        assert raised.value.rcvd.code == 1001  # going away

    routed(scenario)


def test_a_connection_that_is_reset(routed: Routed) -> None:
    async def drop(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.abort()

    async def scenario() -> None:
        async with served(drop) as uri, connected(uri) as client:
            await client.send("drop me")
            with pytest.raises(websockets.ConnectionClosedError) as raised:
                await client.recv()
            assert isinstance(raised.value.__cause__, ConnectionResetError)

    routed(scenario)


def test_back_pressure(routed: Routed) -> None:
    """A server that does not receive makes send() wait."""
    may_go_on = asyncio.Event()
    received: list[int] = []

    async def slow(connection: ServerConnection) -> None:
        await may_go_on.wait()
        received.extend([len(message) async for message in connection])

    async def scenario() -> None:
        async with (
            served(slow, compression=None, max_size=None, max_queue=1) as uri,
            connected(uri, compression=None) as client,
        ):
            sent = 0

            async def send() -> None:
                nonlocal sent
                for _ in range(32):
                    await client.send(bytes(1 << 20))
                    sent += 1

            sending = asyncio.create_task(send())
            before = None
            while (progress := (sent, client.transport.get_extra_info("utcp").bytes_acked)) != before:
                before = progress
                await asyncio.sleep(0.1)
            stuck_at = sent
            may_go_on.set()
            await sending
            await client.close()
            await until(lambda: received == [1 << 20] * 32)
            assert stuck_at < 24

    routed(scenario)


def test_many_at_once(routed: Routed) -> None:
    clients: set[ServerConnection] = set()

    async def register(connection: ServerConnection) -> None:
        clients.add(connection)
        await connection.wait_closed()

    async def scenario() -> None:
        async with served(register) as uri:
            connections = await asyncio.gather(*(connected(uri) for _ in range(50)))
            await until(lambda: len(clients) == 50)
            broadcast(clients, "all of you")
            assert set(await asyncio.gather(*(each.recv() for each in connections))) == {"all of you"}
            await asyncio.gather(*(each.close() for each in connections))

    routed(scenario)


def test_pings(routed: Routed) -> None:
    async def scenario() -> None:
        async with served() as uri, connected(uri) as client:
            assert await (await client.ping()) >= 0

    routed(scenario)


def test_nobody_listens(routed: Routed) -> None:
    async def scenario() -> None:
        async with utcp.Endpoint((HOST, 0)) as endpoint:
            with pytest.raises(ConnectionRefusedError):
                await connected(f"ws://{HOST}:{endpoint.address[1]}")

    routed(scenario)


def test_a_certificate_that_does_not_fit(routed: Routed) -> None:
    async def scenario() -> None:
        async with served(tls=True) as uri:
            with pytest.raises(ssl.SSLCertVerificationError):
                await connected(uri, server_hostname="example.org")

    routed(scenario)
