"""TLS on both loops: by ssl=, and by start_tls()."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

import utcp
from tests.aio.peers import FAST, Peers, Recorder, until

CERTIFICATE = Path(__file__).with_name("certificate.pem")
"""For localhost, self-signed, with its key; valid until 2125."""


@pytest.fixture
def server_side() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


@pytest.fixture
def client_side() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(CERTIFICATE))


async def echo_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readline())
    writer.close()
    await writer.wait_closed()


async def test_ssl_on_both_sides(server_side: ssl.SSLContext, client_side: ssl.SSLContext) -> None:
    async with await utcp.start_server(echo_line, "127.0.0.1", 0, ssl=server_side, config=FAST) as server:
        name = server.sockets[0].getsockname()
        reader, writer = await utcp.open_connection(*name, ssl=client_side, server_hostname="localhost", config=FAST)
        assert writer.get_extra_info("sslcontext") is client_side
        assert writer.get_extra_info("cipher")
        assert writer.get_extra_info("peername") == name
        assert writer.get_extra_info("socket").getpeername() == name
        assert not writer.can_write_eof()
        writer.write(b"secret\n")
        assert await reader.read() == b"secret\n"
        writer.close()
        await writer.wait_closed()


async def test_a_megabyte_through_an_endpoint(
    peers: Peers, server_side: ssl.SSLContext, client_side: ssl.SSLContext
) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(1 << 20))
        writer.close()

    await peers.server.start_server(echo, ssl=server_side)
    reader, writer = await peers.client.open_connection(
        peers.host, peers.port, ssl=client_side, server_hostname="localhost"
    )
    writer.write(bytes(range(256)) * 4096)
    assert await reader.read() == bytes(range(256)) * 4096
    writer.close()
    await writer.wait_closed()


async def test_the_name_is_checked(peers: Peers, server_side: ssl.SSLContext, client_side: ssl.SSLContext) -> None:
    await peers.server.start_server(echo_line, ssl=server_side)
    with pytest.raises(ssl.SSLCertVerificationError):
        await peers.client.open_connection(peers.host, peers.port, ssl=client_side, server_hostname="example.org")
    await until(lambda: not peers.client.driver.transports and not peers.server.driver.transports)


async def test_cancelling_a_handshake_leaves_nothing(peers: Peers, client_side: ssl.SSLContext) -> None:
    await peers.server.create_server(peers.remember(Recorder))  # does not speak TLS
    opening = asyncio.create_task(
        peers.client.open_connection(peers.host, peers.port, ssl=client_side, server_hostname="localhost")
    )
    await until(lambda: peers.accepted and peers.accepted[0].received)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await until(lambda: not peers.client.driver.transports and peers.accepted[0].lost)


async def test_a_peer_that_hangs_up_in_the_handshake(peers: Peers, client_side: ssl.SSLContext) -> None:
    await peers.server.start_server(lambda _, writer: writer.close())
    with pytest.raises(ConnectionResetError):
        await peers.client.open_connection(peers.host, peers.port, ssl=client_side, server_hostname="localhost")


async def test_a_handshake_that_takes_too_long(peers: Peers, client_side: ssl.SSLContext) -> None:
    await peers.server.create_server(peers.remember(Recorder))
    with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer than"):
        await peers.client.open_connection(
            peers.host, peers.port, ssl=client_side, server_hostname="localhost", ssl_handshake_timeout=0.05
        )


async def test_bad_timeouts_leave_nothing(peers: Peers, client_side: ssl.SSLContext) -> None:
    await peers.server.create_server(peers.remember(Recorder))
    with pytest.raises(ValueError, match="ssl_handshake_timeout should be a positive number"):
        await peers.client.open_connection(
            peers.host, peers.port, ssl=client_side, server_hostname="localhost", ssl_handshake_timeout=-1
        )
    assert not peers.client.stack.connections


async def test_start_tls_on_both_sides(peers: Peers, server_side: ssl.SSLContext, client_side: ssl.SSLContext) -> None:
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go on\n")
        await writer.start_tls(server_side, ssl_shutdown_timeout=5)  # type: ignore[call-arg]  # ours takes it on 3.11
        received.set_result(await reader.readline())
        writer.write(b"good bye\n")
        writer.close()

    await peers.server.start_server(upgrade)
    reader, writer = await peers.client.open_connection(peers.host, peers.port)
    writer.write(b"STARTTLS\n")
    assert await reader.readline() == b"go on\n"
    await writer.start_tls(client_side, server_hostname="localhost")
    assert writer.get_extra_info("sslcontext") is client_side
    writer.write(b"secret\n")
    assert await received == b"secret\n"
    assert await reader.read() == b"good bye\n"
    writer.close()
    await writer.wait_closed()


async def test_a_failed_upgrade_closes_the_connection(peers: Peers, client_side: ssl.SSLContext) -> None:
    await peers.server.start_server(echo_line)  # sends the client's own greeting back

    _, writer = await peers.client.open_connection(peers.host, peers.port)
    with pytest.raises(OSError):
        await writer.start_tls(client_side, server_hostname="localhost", ssl_handshake_timeout=1)
    await until(lambda: not peers.client.driver.transports)


async def test_data_and_end_of_a_server_that_closes_first(
    peers: Peers, server_side: ssl.SSLContext, client_side: ssl.SSLContext
) -> None:
    async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 300_000)
        writer.close()
        await writer.wait_closed()

    await peers.server.start_server(tell, ssl=server_side)
    options: dict[str, Any] = {"ssl": client_side, "server_hostname": "localhost"}
    reader, writer = await peers.client.open_connection(peers.host, peers.port, **options)
    assert len(await reader.read()) == 300_000
    writer.close()
    await writer.wait_closed()
