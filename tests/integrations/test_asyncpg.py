"""asyncpg over utcp, unmodified, with a server that goes through PostgreSQL's start-up and answers one query."""

import asyncio
import struct
from typing import Any

import pytest

import utcp
from tests.certificates import client_context, server_context
from tests.integrations.conftest import Routed

asyncpg: Any = pytest.importorskip("asyncpg", reason="asyncpg comes with the extra 'integrations'")

HOST = "127.0.0.1"
SSL_REQUEST = 80877103
PROTOCOL_3 = 196608
SETTINGS = {"server_version": "17.0", "client_encoding": "UTF8", "server_encoding": "UTF8"}


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


class Postgres:
    """`tls`: it has a certificate, and upgrades who asks for it."""

    def __init__(self, tls: bool) -> None:
        self.tls = tls
        self.encrypted: list[bool] = []
        self.queries: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        code = await self.read_code(reader)
        if code == SSL_REQUEST:
            writer.write(b"S" if self.tls else b"N")
            if self.tls:
                await writer.start_tls(server_context())
            code = await self.read_code(reader)
        assert code == PROTOCOL_3
        self.encrypted.append(writer.get_extra_info("ssl_object") is not None)
        writer.write(message(b"R", struct.pack("!I", 0)))  # no password asked for
        for name, value in SETTINGS.items():
            writer.write(message(b"S", f"{name}\0{value}\0".encode()))
        writer.write(message(b"K", bytes(8)) + message(b"Z", b"I"))
        while (kind := await reader.readexactly(1)) == b"Q":
            size = struct.unpack("!I", await reader.readexactly(4))[0]
            self.queries.append((await reader.readexactly(size - 4))[:-1])
            writer.write(message(b"C", b"SELECT 1\0") + message(b"Z", b"I"))
        assert kind == b"X"  # Terminate
        writer.close()
        await writer.wait_closed()

    @staticmethod
    async def read_code(reader: asyncio.StreamReader) -> int:
        size, code = struct.unpack("!II", await reader.readexactly(8))
        await reader.readexactly(size - 8)
        return int(code)


@pytest.mark.parametrize("asks", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("has", [False, True], ids=["without a certificate", "with a certificate"])
def test_a_session(routed: Routed, asks: bool, has: bool) -> None:
    postgres = Postgres(has)

    async def scenario() -> None:
        async with await asyncio.start_server(postgres.serve, HOST, 0) as server:
            options: dict[str, Any] = {
                "host": HOST,
                "port": server.sockets[0].getsockname()[1],
                "user": "guest",
                "database": "toys",
                "ssl": client_context() if asks else False,
            }
            if asks and not has:
                with pytest.raises(ConnectionError, match="rejected SSL upgrade"):
                    await asyncpg.connect(**options)
                return
            connection = await asyncpg.connect(**options)
            assert connection._transport.get_extra_info("utcp").state == "ESTABLISHED"
            assert await connection.execute("SELECT " + "x" * 100_000) == "SELECT 1"
            await connection.close()
        assert postgres.encrypted == [asks]
        assert [len(query) for query in postgres.queries] == [100_007]

    routed(scenario)


def test_nobody_listens(routed: Routed) -> None:
    async def scenario() -> None:
        async with utcp.Endpoint((HOST, 0)) as endpoint:
            with pytest.raises(ConnectionRefusedError):
                await asyncpg.connect(host=HOST, port=endpoint.address[1], user="guest", ssl=False)

    routed(scenario)
