"""TLS on both loops: who is who, what was agreed on, and upgrades of plain connections."""

import asyncio
import hashlib
import os
import ssl
from typing import Any

import pytest

import utcp
from tests.aio.peers import FAST, Peers, Recorder, until
from tests.certificates import client_context, server_context
from utcp import StreamWriter

MEBIBYTE = 1 << 20


async def echo_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readline())
    writer.close()
    await writer.wait_closed()


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


async def accepted_writer(peers: Peers, context: ssl.SSLContext, **options: Any) -> tuple[StreamWriter, StreamWriter]:
    """The client's and the server's writer of one connection; `options` are the client's."""
    accepted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    server = await peers.server.start_server(lambda _, writer: accepted.set_result(writer), ssl=context)
    _, writer = await peers.client.open_connection(peers.host, peers.port, **options)
    server.close()
    return writer, await accepted


async def test_ssl_on_both_sides() -> None:
    trusting = client_context()
    async with await utcp.start_server(echo_line, "127.0.0.1", 0, ssl=server_context(), config=FAST) as server:
        name = server.sockets[0].getsockname()
        reader, writer = await utcp.open_connection(*name, ssl=trusting, config=FAST)
        assert writer.get_extra_info("sslcontext") is trusting
        assert writer.get_extra_info("cipher")
        assert ("IP Address", "127.0.0.1") in writer.get_extra_info("peercert")["subjectAltName"]
        assert writer.get_extra_info("peername") == name
        assert writer.get_extra_info("socket").getpeername() == name
        assert not writer.can_write_eof()
        writer.write(b"secret\n")
        assert await reader.read() == b"secret\n"
        await close(writer)


class Hello(asyncio.Protocol):
    """Greets as soon as it may."""

    def __init__(self) -> None:
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert transport.get_extra_info("ssl_object") is not None  # not before the handshake is complete
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(b"hello")

    def data_received(self, data: bytes) -> None:
        self.received += data


async def test_protocols_of_both_sides() -> None:
    """create_connection and create_server: the application's transports are TLS's."""
    accepted: list[Hello] = []

    def accept() -> Hello:
        accepted.append(Hello())
        return accepted[-1]

    async with await utcp.create_server(accept, "127.0.0.1", 0, ssl=server_context(), config=FAST) as server:
        name = server.sockets[0].getsockname()
        transport, client = await utcp.create_connection(Hello, *name, ssl=client_context(), config=FAST)
        assert client.transport is transport
        await until(lambda: client.received == accepted[0].received == b"hello")
        transport.close()


async def test_the_wire_does_not_show_what_is_said(peers: Peers) -> None:
    seen = bytearray()

    class Overhears(Recorder):
        def data_received(self, data: bytes) -> None:
            seen.extend(data)

    await peers.server.create_server(Overhears)
    opening = asyncio.create_task(
        peers.client.open_connection(peers.host, peers.port, ssl=client_context(), server_hostname="localhost")
    )
    await until(lambda: seen)
    assert seen[:2] == b"\x16\x03"  # a handshake record: ClientHello
    assert b"localhost" in seen  # the name is not encrypted
    opening.cancel()
    await asyncio.wait([opening])


# --- names


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"server_hostname": "localhost"}, "localhost"),
        ({"server_hostname": "shop.example.org"}, "shop.example.org"),
        ({}, None),  # the host is an address, and addresses are not sent
    ],
)
async def test_the_server_sees_the_name(peers: Peers, options: dict[str, str], seen: str | None) -> None:
    named: list[str | None] = []
    context = server_context("localhost", "shop.example.org", "127.0.0.1")
    context.sni_callback = lambda _, name, __: named.append(name)
    ours, _ = await accepted_writer(peers, context, ssl=client_context(), **options)
    assert named == [seen]
    await close(ours)


async def test_a_certificate_for_each_name(peers: Peers) -> None:
    contexts = {name: server_context(name) for name in ("one.example.org", "two.example.org")}

    def choose(connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        assert name is not None
        connection.context = contexts[name]

    entrance = server_context("nobody.example.org")
    entrance.sni_callback = choose
    await peers.server.start_server(echo_line, ssl=entrance)
    for name in contexts:
        reader, writer = await peers.client.open_connection(
            peers.host, peers.port, ssl=client_context(), server_hostname=name
        )
        assert writer.get_extra_info("peercert")["subjectAltName"] == (("DNS", name),)
        writer.write(b"\n")
        assert await reader.read() == b"\n"
        await close(writer)


# --- what is agreed on


@pytest.mark.parametrize(
    ("client", "server", "agreed"),
    [
        (["h2", "http/1.1"], ["http/1.1"], "http/1.1"),
        (["http/1.1", "h2"], ["h2", "http/1.1"], "h2"),  # the server's order counts
        (["h2"], ["http/1.1"], None),  # OpenSSL's servers go on without; RFC 7301 3.2 would have them refuse
        ([], ["h2"], None),
    ],
)
async def test_alpn(peers: Peers, client: list[str], server: list[str], agreed: str | None) -> None:
    ours, theirs = await accepted_writer(peers, server_context(alpn=server), ssl=client_context(alpn=client))
    for writer in (ours, theirs):
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == agreed
    await close(ours)


async def test_a_client_with_a_certificate(peers: Peers) -> None:
    demanding = server_context(client_issuer="ours")
    ours, theirs = await accepted_writer(peers, demanding, ssl=client_context(identity="client.example.org"))
    assert theirs.get_extra_info("peercert")["subjectAltName"] == (("DNS", "client.example.org"),)
    await close(ours)


# --- much data


async def test_64_mebibytes_against_a_slow_reader(peers: Peers) -> None:
    """Back-pressure goes through TLS: the writer waits for the reader, and all arrives as it went."""
    received = hashlib.sha256()
    may_read = asyncio.Event()
    count: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await may_read.wait()
        size = 0
        while data := await reader.read(MEBIBYTE):
            received.update(data)
            size += len(data)
        count.set_result(size)
        await close(writer)

    await peers.server.start_server(take, ssl=server_context())
    _, writer = await peers.client.open_connection(peers.host, peers.port, ssl=client_context())
    sent = hashlib.sha256()
    drained = 0

    async def send() -> None:
        nonlocal drained
        for _ in range(64):
            block = os.urandom(MEBIBYTE)
            sent.update(block)
            writer.write(block)
            await writer.drain()
            drained += 1
        writer.close()

    sending = asyncio.create_task(send())
    connection = writer.get_extra_info("utcp")
    while True:  # until nothing moves any more
        before = drained, writer.get_extra_info("utcp").bytes_acked
        await asyncio.sleep(0.1)
        if before == (drained, writer.get_extra_info("utcp").bytes_acked):
            break
    assert connection.state == "ESTABLISHED"
    assert 0 < drained < 32  # most of it has not even been taken from the application
    may_read.set()
    await sending
    assert await count == 64 * MEBIBYTE
    assert received.digest() == sent.digest()
    await writer.wait_closed()


# --- upgrades


@pytest.mark.parametrize("of", ["client", "server"])
async def test_start_tls_of_writers(peers: Peers, of: str) -> None:
    """StreamWriter.start_tls(), on both sides; asyncio's own works on asyncio's loops only."""
    upgraded: asyncio.Future[tuple[bytes, str | None]] = asyncio.get_running_loop().create_future()

    async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go on\n")
        await writer.start_tls(
            server_context(alpn=["lines"]),
            ssl_shutdown_timeout=5,  # type: ignore[call-arg]  # ours takes it on 3.11
        )
        line = await reader.readline()
        upgraded.set_result((line, writer.get_extra_info("ssl_object").selected_alpn_protocol()))
        if of == "server":
            writer.write(b"good bye\n")
            writer.close()
        else:
            assert await reader.read() == b""
            await close(writer)

    await peers.server.start_server(upgrade)
    reader, writer = await peers.client.open_connection(peers.host, peers.port)
    trusting = client_context(alpn=["lines"])
    writer.write(b"STARTTLS\n")
    assert await reader.readline() == b"go on\n"
    await writer.start_tls(trusting, server_hostname="localhost")
    assert writer.get_extra_info("sslcontext") is trusting
    assert not writer.can_write_eof()
    writer.write(b"secret\n")
    assert await upgraded == (b"secret\n", "lines")
    if of == "server":
        assert await reader.read() == b"good bye\n"
    await close(writer)
    await until(lambda: not peers.server.driver.transports)


async def test_start_tls_of_transports(peers: Peers) -> None:
    """utcp.start_tls(): what loop.start_tls() is, for protocols, under every loop."""

    class Upgrades(asyncio.Protocol):
        def __init__(self, server_side: bool) -> None:
            self.server_side = server_side
            self.received = b""
            self.lost: list[BaseException | None] = []

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.plain = transport

        def data_received(self, data: bytes) -> None:
            self.received += data

        def connection_lost(self, exc: BaseException | None) -> None:
            self.lost.append(exc)

        async def upgrade(self) -> asyncio.Transport:
            assert isinstance(self.plain, utcp.Transport)
            if self.server_side:
                return await utcp.start_tls(self.plain, self, server_context(), server_side=True)
            return await utcp.start_tls(self.plain, self, client_context(), server_hostname="localhost")

    peers.listening = await peers.server.create_server(peers.remember(lambda: Upgrades(server_side=True)))
    _, client = await peers.client.create_connection(lambda: Upgrades(server_side=False), peers.host, peers.port)
    await until(lambda: peers.accepted)
    server = peers.accepted[0]
    ours, theirs = await asyncio.gather(client.upgrade(), server.upgrade())
    ours.write(b"question")
    await until(lambda: server.received == b"question")
    theirs.write(b"answer")
    theirs.close()
    await until(lambda: client.lost and server.lost)
    assert client.received == b"answer"
    assert client.lost == server.lost == [None]
