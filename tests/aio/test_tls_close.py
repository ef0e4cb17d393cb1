"""The end of a TLS connection: close_notify says that nothing is missing (RFC 8446 6.1); nobody waits for it long."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.aio.peers import GIVES_UP, Peers, Recorder, until
from tests.aio.raw_tls import RawTls
from tests.certificates import client_context, server_context
from utcp import Config, Endpoint, FinTimedOut, Server, Transport

MEBIBYTE = 1 << 20


class SecureServer:
    """A TLS server's endpoint with one connection, whose peer is the RawTls `client`."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers
        self.endpoint: Endpoint = peers.server
        self.protocol = Secret()

    async def connect(self, **options: Any) -> None:
        self.server: Server = await self.endpoint.create_server(lambda: self.protocol, ssl=server_context(), **options)
        reader, writer = await self.peers.client.open_connection(self.peers.host, self.peers.port)
        self.client = RawTls(reader, writer, client_context(), "localhost")
        await self.client.handshake()
        await until(lambda: self.protocol.transport)


class Secret(Recorder):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert not isinstance(transport, Transport)
        self.transport = transport  # type: ignore[assignment]  # TLS's
        self.calls.append("made")


@pytest.fixture
def secure(peers: Peers) -> SecureServer:
    return SecureServer(peers)


async def application_closes(secure: SecureServer) -> None:
    assert secure.protocol.transport is not None
    secure.protocol.transport.close()


async def server_closes(secure: SecureServer) -> None:
    secure.server.close_clients()


async def endpoint_closes(secure: SecureServer) -> None:
    await secure.endpoint.aclose()


@pytest.mark.parametrize("close", [application_closes, server_closes, endpoint_closes])
async def test_the_peer_sees_a_clean_end(
    secure: SecureServer, close: Callable[[SecureServer], Awaitable[None]]
) -> None:
    await secure.connect()
    assert secure.protocol.transport is not None
    secure.protocol.transport.write(b"x" * 300_000)
    closing = asyncio.ensure_future(close(secure))
    assert await secure.client.read_all() == b"x" * 300_000  # with SSLEOFError it would have been cut off
    await secure.client.unwrap()
    assert await secure.client.reader.read() == b""
    secure.client.writer.close()
    await secure.client.writer.wait_closed()
    await closing
    await until(lambda: secure.protocol.lost)
    assert secure.protocol.lost == [None]


async def test_abort_is_no_clean_end(secure: SecureServer) -> None:
    await secure.connect()
    assert secure.protocol.transport is not None
    secure.protocol.transport.abort()
    with pytest.raises(ConnectionResetError):
        await secure.client.read()


async def test_the_peer_ends_it(secure: SecureServer) -> None:
    await secure.connect()
    await secure.client.write(b"the last word")
    await secure.client.unwrap()
    assert await secure.client.reader.read() == b""
    secure.client.writer.close()
    await until(lambda: secure.protocol.lost)
    assert secure.protocol.received == b"the last word"
    assert secure.protocol.calls == ["made", "data", "eof", "lost"]
    assert secure.protocol.lost == [None]


async def test_the_application_waits_for_an_answer_so_long(secure: SecureServer) -> None:
    await secure.connect(ssl_shutdown_timeout=0.05)
    await application_closes(secure)
    assert await secure.client.read() == b""  # and it does not answer
    await until(lambda: secure.protocol.lost)
    assert isinstance(secure.protocol.lost[0], TimeoutError)
    assert str(secure.protocol.lost[0]) == "SSL shutdown timed out"
    with pytest.raises(ConnectionResetError):
        await secure.client.reader.read()


async def test_a_client_waits_for_an_answer_so_long(peers: Peers) -> None:
    accepted: asyncio.Future[RawTls] = asyncio.get_running_loop().create_future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = RawTls(reader, writer, server_context())
        await raw.handshake()
        accepted.set_result(raw)

    await peers.server.start_server(accept)
    _, writer = await peers.client.open_connection(
        peers.host, peers.port, ssl=client_context(), ssl_shutdown_timeout=0.05
    )
    raw = await accepted
    writer.close()
    assert await raw.read() == b""
    with pytest.raises(TimeoutError, match="SSL shutdown timed out"):
        await writer.wait_closed()
    raw.writer.close()


async def test_an_endpoint_does_not_wait_for_the_answer_for_long(secure: SecureServer) -> None:
    """What was sent is delivered, and the peer knows it to be all: a connection without an answer did not fail."""
    await secure.connect()
    assert secure.protocol.transport is not None
    secure.protocol.transport.write(b"x" * 300_000)
    closing = asyncio.ensure_future(secure.endpoint.aclose())
    assert await secure.client.read_all() == b"x" * 300_000
    assert await secure.client.reader.read() == b""  # FIN, though nobody answered
    secure.client.writer.close()
    await closing
    assert secure.protocol.lost == [None]


async def test_an_endpoint_drops_nothing_that_tls_has_not_yet_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS holds back what the transport below has no room for; the FIN must not overtake it."""
    monkeypatch.setattr("utcp.aio.open_endpoint.CLOSE_NOTIFY_GRACE", 0.02)
    async with Peers(Config(msl=0.05, close_timeout=30)) as peers:
        secure = SecureServer(peers)
        await secure.connect()
        transport: Any = secure.protocol.transport
        size = 0
        while transport.get_write_buffer_size() < MEBIBYTE:
            transport.write(bytes(MEBIBYTE))
            size += MEBIBYTE
            await asyncio.sleep(0)
        closing = asyncio.ensure_future(secure.endpoint.aclose())
        await asyncio.sleep(0.2)  # nobody has read: it has stopped waiting for an answer
        assert len(await secure.client.read_all()) == size
        await secure.client.unwrap()
        secure.client.writer.close()
        await closing
        assert secure.protocol.lost == [None]


async def test_an_endpoint_gives_up_a_peer_that_does_not_read() -> None:
    async with Peers(GIVES_UP) as peers:
        secure = SecureServer(peers)
        await secure.connect()
        transport: Any = secure.protocol.transport
        while transport.get_write_buffer_size() < MEBIBYTE:
            transport.write(bytes(MEBIBYTE))
            await asyncio.sleep(0)
        await secure.endpoint.aclose()
        assert isinstance(secure.protocol.lost[0], FinTimedOut)


async def test_both_ends_close_at_once(peers: Peers) -> None:
    """As at a loop's end: each side's endpoint closes its connections."""
    accepted = Secret()
    await peers.server.create_server(lambda: accepted, ssl=server_context())
    _, ours = await peers.client.create_connection(Secret, peers.host, peers.port, ssl=client_context())
    await until(lambda: accepted.transport)
    await asyncio.gather(peers.client.aclose(), peers.server.aclose())
    assert ours.lost == accepted.lost == [None]


async def test_a_handshake_that_the_endpoint_closes(peers: Peers) -> None:
    peers.listening = await peers.server.create_server(peers.remember(Recorder))  # does not speak TLS
    opening = asyncio.ensure_future(
        peers.client.create_connection(Secret, peers.host, peers.port, ssl=client_context())
    )
    await until(lambda: peers.accepted and peers.accepted[0].received)
    await peers.client.aclose()
    with pytest.raises(ConnectionAbortedError, match="Connection closed during the TLS handshake"):
        await opening


async def test_a_client_that_is_cut_off_knows_it(peers: Peers) -> None:
    """TCP's end without close_notify: who looks at TLS itself can tell."""

    async def cut_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = RawTls(reader, writer, server_context())
        await raw.handshake()
        await raw.write(b"the first half")
        writer.close()

    await peers.server.start_server(cut_off)
    reader, writer = await peers.client.open_connection(peers.host, peers.port)
    raw = RawTls(reader, writer, client_context(), "localhost")
    await raw.handshake()
    assert await raw.read() == b"the first half"
    with pytest.raises(ssl.SSLEOFError):
        await raw.read()
    writer.close()
