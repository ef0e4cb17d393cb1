"""Upgrades to TLS when the reader has read ahead: a server's octets are a ClientHello, a client's are an injection."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

import utcp
from tests.aio.peers import Peers, Recorder, transports_of, until
from tests.aio.raw_tls import RawTls
from tests.certificates import client_context, server_context

Upgrade = Callable[["Accepted"], Awaitable[asyncio.Transport]]

INJECTED = b"250 all is well, believe me\r\n"


class Accepted:
    """One end of a connection before its upgrade."""

    def __init__(self, reader: asyncio.StreamReader, writer: Any, transport: Any, protocol: Any) -> None:
        self.reader = reader
        self.writer = writer
        self.transport = transport
        self.protocol = protocol

    @property
    def tls(self) -> dict[str, Any]:
        # As asyncio's StreamWriter.start_tls() decides.
        if self.protocol._client_connected_cb is not None:
            return {"sslcontext": server_context(), "server_side": True}
        return {"sslcontext": client_context(), "server_hostname": "localhost"}


async def by_writer(end: Accepted) -> asyncio.Transport:
    options = end.tls
    options.pop("server_side", None)
    await end.writer.start_tls(**options, ssl_handshake_timeout=60)
    transport: asyncio.Transport = end.writer.transport
    return transport


async def by_function(end: Accepted) -> asyncio.Transport:
    return await utcp.start_tls(end.transport, end.protocol, **end.tls, ssl_handshake_timeout=60)


async def by_loop(end: Accepted) -> asyncio.Transport:
    loop: Any = asyncio.get_running_loop()
    transport: asyncio.Transport = await loop.start_tls(
        end.transport, end.protocol, **end.tls, ssl_handshake_timeout=60
    )
    return transport


async def with_asyncios_streams(end: Accepted) -> asyncio.Transport:
    return await by_function(end)


forms = pytest.mark.parametrize("form", [by_writer, by_function, by_loop, with_asyncios_streams])


async def ends(peers: Peers, form: Upgrade) -> tuple[Accepted, Accepted]:
    """The client's and the server's; asyncio's own streams if the form says so."""
    if form is by_loop and not isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop):
        pytest.skip("uvloop's own takes only its own transports")
    accepted: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()

    def served(reader: asyncio.StreamReader, writer: Any) -> None:
        accepted.set_result(Accepted(reader, writer, writer.transport, writer.transport.get_protocol()))

    if form is not with_asyncios_streams:
        await peers.server.start_server(served)
        reader, writer = await peers.client.open_connection(peers.host, peers.port)
        return Accepted(reader, writer, writer.transport, writer.transport.get_protocol()), await accepted

    def server_protocol() -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), served)

    await peers.server.create_server(server_protocol)
    theirs = asyncio.StreamReader()
    transport, protocol = await peers.client.create_connection(
        lambda: asyncio.StreamReaderProtocol(theirs), peers.host, peers.port
    )
    loop = asyncio.get_running_loop()
    return Accepted(
        theirs, asyncio.StreamWriter(transport, protocol, theirs, loop), transport, protocol
    ), await accepted


def held_by(reader: asyncio.StreamReader) -> int:
    """Octets that the reader has read ahead."""
    return len(reader._buffer)  # type: ignore[attr-defined]


@pytest.mark.defect(70)
@forms
async def test_a_client_hello_that_came_with_the_line_before_it_goes_to_tls(peers: Peers, form: Upgrade) -> None:
    client, server = await ends(peers, form)
    client.writer.write(b"STARTTLS\n")
    raw = RawTls(client.reader, client.writer, client_context(), "localhost")
    handshake = asyncio.ensure_future(raw.handshake())  # the ClientHello leaves without waiting for an answer
    assert await server.reader.readline() == b"STARTTLS\n"
    await until(lambda: held_by(server.reader) > 200)
    upgraded = await form(server)
    await handshake
    await raw.write(b"secret\n")
    assert await server.reader.readline() == b"secret\n"
    upgraded.write(b"answer\n")
    assert await raw.read() == b"answer\n"
    upgraded.abort()
    client.writer.transport.abort()


@pytest.mark.defect(70)
async def test_a_client_hello_beyond_the_readers_limit_lets_the_reader_go_on(peers: Peers) -> None:
    """The reader has paused its transport; what it holds goes to TLS, and nothing is left that would resume it."""
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def upgrade(reader: asyncio.StreamReader, writer: Any) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        await until(lambda: held_by(reader) > 128)
        await writer.start_tls(server_context(), ssl_handshake_timeout=60)
        received.set_result(await reader.readexactly(100_000))
        writer.transport.abort()

    await peers.server.start_server(upgrade, limit=64)
    reader, writer = await peers.client.open_connection(peers.host, peers.port)
    raw = RawTls(reader, writer, client_context(), "localhost")
    writer.write(b"STARTTLS\n")
    await raw.handshake()
    await raw.write(bytes(100_000))
    assert await received == bytes(100_000)
    writer.transport.abort()


@pytest.mark.defect(71)
@forms
async def test_plaintext_that_a_client_has_read_ahead_is_refused(peers: Peers, form: Upgrade) -> None:
    client, server = await ends(peers, form)
    server.writer.write(b"220 go on\r\n" + INJECTED)
    assert await client.reader.readline() == b"220 go on\r\n"
    assert held_by(client.reader) == len(INJECTED)
    with pytest.raises(ssl.SSLError, match=f"{len(INJECTED)} bytes of plaintext"):
        await form(client)
    with pytest.raises(ssl.SSLError, match="plaintext"):
        assert await client.reader.read() == b""
    assert held_by(client.reader) == 0
    assert client.transport.is_closing()
    with pytest.raises(ConnectionResetError):
        await server.reader.read()
    await until(lambda: not peers.client.driver.transports)


@pytest.mark.defect(71)
@pytest.mark.parametrize("inner", ["utcp's", "asyncio's"])
async def test_plaintext_of_the_outer_tls_is_refused_by_the_inner(peers: Peers, inner: str) -> None:
    """TLS through a proxy that speaks TLS itself: it may not add to what comes from beyond it."""

    async def proxy(reader: asyncio.StreamReader, writer: Any) -> None:
        await reader.readline()
        writer.write(b"200 connected\n" + INJECTED)
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    await peers.server.start_server(proxy, ssl=server_context())
    reader, writer = await peers.client.open_connection(peers.host, peers.port, ssl=client_context())
    writer.write(b"CONNECT\n")
    assert await reader.readline() == b"200 connected\n"
    start_tls: Any = utcp.start_tls
    if inner == "asyncio's":
        loop: Any = asyncio.get_running_loop()
        start_tls = partial(asyncio.BaseEventLoop.start_tls, loop)  # under uvloop as well
    outer = writer.transport
    with pytest.raises(ssl.SSLError, match="plaintext"):
        await start_tls(
            outer, outer.get_protocol(), client_context(), server_hostname="localhost", ssl_handshake_timeout=60
        )
    with contextlib.suppress(OSError):
        assert await reader.read() == b""
    await until(lambda: not peers.client.driver.transports)


async def test_a_client_hello_within_the_outer_tls_goes_to_the_inner(peers: Peers) -> None:
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def upgrade(reader: asyncio.StreamReader, writer: Any) -> None:
        assert await reader.readline() == b"CONNECT\n"
        await until(lambda: held_by(reader) > 200)
        await writer.start_tls(server_context(), ssl_handshake_timeout=60)
        received.set_result(await reader.readline())
        writer.transport.abort()

    await peers.server.start_server(upgrade, ssl=server_context())
    reader, writer = await peers.client.open_connection(peers.host, peers.port, ssl=client_context())
    writer.write(b"CONNECT\n")
    raw = RawTls(reader, writer, client_context(), "localhost")
    await raw.handshake()
    await raw.write(b"deep\n")
    assert await received == b"deep\n"
    writer.transport.abort()


class Plain(asyncio.Protocol):
    def __init__(self) -> None:
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data


@pytest.mark.defect(71)
@pytest.mark.parametrize("server_side", [True, False], ids=["server", "client"])
async def test_what_a_paused_transport_has_not_delivered_is_parsed_as_tls(peers: Peers, server_side: bool) -> None:
    """The octets are still in the receive buffer, as those of kernel TCP would be: no protocol has read them."""
    near, ours, server = await peers.connect(Plain, Plain)  # type: ignore[type-var]  # needs no record of its calls
    (far,) = transports_of(peers.server)
    near.pause_reading()
    if server_side:
        context = client_context()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        hello = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            hello.do_handshake()
        far.write(outgoing.read())
    else:
        far.write(INJECTED)
    await until(lambda: near.get_extra_info("utcp").bytes_received > 0)
    if server_side:
        upgrade = asyncio.ensure_future(utcp.start_tls(near, ours, server_context(), server_side=True))
        await until(lambda: server.received.startswith(b"\x16\x03"))  # ServerHello
        near.abort()
        with pytest.raises(ConnectionAbortedError):
            await upgrade
    else:
        with pytest.raises(ssl.SSLError):
            await utcp.start_tls(near, ours, client_context(), server_hostname="localhost")
    assert ours.received == b""


@pytest.mark.parametrize("form", [by_writer, by_function, by_loop])
async def test_an_upgrade_after_the_peers_fin_fails_at_once(peers: Peers, form: Upgrade) -> None:
    """As over kernel TCP, whose socket stays readable: TLS hears of the end of the octets as well."""
    client, server = await ends(peers, form)
    server.writer.write_eof()
    assert await client.reader.read() == b""
    with pytest.raises(ConnectionResetError):
        await form(client)
    server.writer.transport.abort()


def exceeds(reader: asyncio.StreamReader, octets: int) -> bool:
    return held_by(reader) > octets


@pytest.mark.parametrize("at_once", [True, False], ids=["right behind the handshake", "later"])
async def test_a_close_does_not_wait_behind_a_full_reader(peers: Peers, at_once: bool) -> None:
    """The reader has paused TLS, and with it the transport below. The peer's close_notify is read all the same. Without
    it, a close would last until its timeout (30 s)."""
    may_send = asyncio.Event()
    context = server_context()
    if at_once:
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # the last word of whose handshake is the server's
    written = bytes(range(256)) * 800

    async def serve(reader: asyncio.StreamReader, writer: Any) -> None:
        await reader.readline()
        writer.write(b"go on\n")
        await writer.start_tls(context)
        if not at_once:
            await may_send.wait()
        writer.write(written)
        with contextlib.suppress(OSError):
            await writer.drain()
            writer.close()

    await peers.server.start_server(serve)
    for reads in (True, False):
        may_send.clear()
        opened = await peers.client.open_connection(peers.host, peers.port, limit=1000)
        reader: Any = opened[0]
        writer: Any = opened[1]
        writer.write(b"STARTTLS\n")
        await reader.readline()
        await writer.start_tls(client_context(), server_hostname="localhost")
        may_send.set()
        await until(partial(exceeds, reader, 2000))
        assert reader._transport is writer.transport
        assert not writer.transport.is_reading()
        if reads:
            async with asyncio.timeout(60):
                assert await reader.read() == written
        writer.close()
        async with asyncio.timeout(60):
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.mark.parametrize("lost", [False, True], ids=["closing", "lost"])
async def test_a_closed_connection_has_no_upgrade(peers: Peers, lost: bool) -> None:
    transport, protocol, _ = await peers.connect(Recorder)
    transport.close()
    if lost:
        await until(lambda: protocol.lost)
    with pytest.raises(ConnectionAbortedError):
        await utcp.start_tls(transport, protocol, client_context(), server_hostname="localhost")


async def test_what_start_tls_does_not_take(peers: Peers) -> None:
    transport, protocol, _ = await peers.connect(Recorder)
    with pytest.raises(TypeError, match="sslcontext is expected to be"):
        await utcp.start_tls(transport, protocol, True)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError, match="not supported by start_tls"):
        await utcp.start_tls(asyncio.WriteTransport(), protocol, client_context())
    transport.abort()
