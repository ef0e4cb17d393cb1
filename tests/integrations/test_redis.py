"""redis-py's asyncio client over utcp, unmodified, with a server that knows a handful of commands."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import utcp
from tests.certificates import authority, server_context
from tests.integrations.conftest import Routed

redis: Any = pytest.importorskip("redis.asyncio", reason="redis comes with the extra 'integrations'")

HOST = "127.0.0.1"


class Store:
    """Speaks RESP 2, as far as the tests go."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.over_utcp: list[bool] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.over_utcp.append(writer.get_extra_info("utcp") is not None)
        while header := await reader.readline():
            words = []
            for _ in range(int(header[1:])):
                size = int((await reader.readline())[1:])
                words.append((await reader.readexactly(size + 2))[:-2])
            writer.write(self.answer([words[0].upper(), *words[1:]]))
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    def answer(self, words: list[bytes]) -> bytes:
        match words:
            case [b"PING"]:
                return b"+PONG\r\n"
            case [b"SET", key, value]:
                self.values[key] = value
                return b"+OK\r\n"
            case [b"GET", key]:
                if key not in self.values:
                    return b"$-1\r\n"
                return b"$%d\r\n%b\r\n" % (len(self.values[key]), self.values[key])
            case [b"CLIENT", *_]:
                return b"+OK\r\n"
        return b"-ERR unknown command\r\n"


def client_of(server: Any, **options: Any) -> Any:
    port = server.sockets[0].getsockname()[1]
    return redis.Redis(host=HOST, port=port, protocol=2, **options)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_commands(routed: Routed, tls: bool, tmp_path: Path) -> None:
    store = Store()
    value = bytes(range(256)) * 8192
    options: dict[str, Any] = {}
    if tls:
        trusted = tmp_path / "ca.pem"
        authority("ours").cert_pem.write_to_path(trusted)
        options = {"ssl": True, "ssl_ca_certs": str(trusted)}

    async def scenario() -> None:
        context = server_context() if tls else None
        async with (
            await asyncio.start_server(store.serve, HOST, 0, ssl=context) as server,
            client_of(server, **options) as client,
        ):
            assert await client.ping()
            assert await client.set("key", value)
            assert await client.get("key") == value
            assert await client.get("nothing") is None
            async with client.pipeline(transaction=False) as pipeline:
                for number in range(1000):
                    pipeline.set(f"key {number}", number)
                assert await pipeline.execute() == [True] * 1000
            found = await asyncio.gather(*(client.get(f"key {number}") for number in range(20)))
            assert found == [str(number).encode() for number in range(20)]
        assert len(store.over_utcp) > 1  # the pool opened more for those at once
        assert all(store.over_utcp)

    routed(scenario)


def test_socket_options(routed: Routed) -> None:
    """redis-py sets TCP_NODELAY and keepalive on the socket that the transport shows."""

    async def scenario() -> None:
        store = Store()
        async with (
            await asyncio.start_server(store.serve, HOST, 0) as server,
            client_of(server, socket_keepalive=True) as client,
        ):
            await client.ping()
            transport = client.connection_pool._available_connections[0]._writer.transport
            assert "keepalive" in transport.get_extra_info("utcp").timers

    routed(scenario)


def test_nobody_listens(routed: Routed) -> None:
    async def scenario() -> None:
        async with (
            utcp.Endpoint((HOST, 0)) as endpoint,
            redis.Redis(host=HOST, port=endpoint.address[1], retry=None) as client,
        ):
            with pytest.raises(redis.ConnectionError):
                await client.ping()

    routed(scenario)
