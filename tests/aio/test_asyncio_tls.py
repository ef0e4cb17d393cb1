"""asyncio's own TLS above transports of utcp, as `loop.start_tls()` of asyncio's loops makes it."""

import asyncio
import errno
import gc
import warnings
from asyncio import sslproto
from collections.abc import AsyncIterator
from typing import Any

import pytest

import utcp
from tests.aio.peers import Peers, until
from tests.certificates import client_context, server_context
from utcp import Config

MEBIBYTE = 1 << 20


class Notes(asyncio.Protocol):
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.received = bytearray()
        self.lost: list[BaseException | None] = []
        self.troubles: list[OSError | None] = []
        self.transport: Any = None
        self.info: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> None:
        self.calls.append("eof")

    def owner_closes(self) -> None:
        self.calls.append("owner closes")

    def connection_trouble(self, exc: OSError | None) -> None:
        self.troubles.append(exc)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.append(exc)


class Secured:
    """A client and a server whose connection has asyncio's TLS."""

    def __init__(self, peers: Peers, server: utcp.Server, near: Notes, far: Notes) -> None:
        self.peers = peers
        self.server = server
        self.near = near
        self.far = far

    async def start_tls(self) -> None:
        """TLS above the transports of both ends."""
        start_tls: Any = asyncio.BaseEventLoop.start_tls  # uvloop's own takes only its own transports
        loop, near, far = asyncio.get_running_loop(), self.near, self.far
        near.transport, far.transport = await asyncio.gather(
            start_tls(loop, near.transport, near, client_context(), server_hostname="localhost"),
            start_tls(loop, far.transport, far, server_context(), server_side=True),
        )
        assert type(near.transport) is type(far.transport) is sslproto._SSLProtocolTransport


async def connected(peers: Peers, **options: Any) -> Secured:
    far = Notes()
    server = await peers.server.create_server(lambda: far, **options)
    if options:
        options = {"ssl": client_context(), "server_hostname": "localhost"}
    _, near = await peers.client.create_connection(Notes, peers.host, peers.port, **options)
    await until(lambda: far.transport)
    return Secured(peers, server, near, far)


@pytest.fixture
async def secured(peers: Peers) -> AsyncIterator[Secured]:
    ends = await connected(peers)
    plain = [ends.near.transport, ends.far.transport]
    await ends.start_tls()
    yield ends
    for transport in plain:
        transport.abort()


async def test_it_carries_and_ends(secured: Secured) -> None:
    near, far = secured.near, secured.far
    near.transport.write(b"question")
    await until(lambda: far.received == b"question")
    far.transport.write(b"answer")
    far.transport.close()
    await until(lambda: near.lost and far.lost)
    assert near.received == b"answer"
    assert near.lost == far.lost == [None]
    info = near.transport.get_extra_info("utcp")
    assert info.bytes_received > len(near.received)
    assert info.state in ("CLOSED", "TIME_WAIT", "LAST_ACK")


async def test_a_server_that_closes_sends_close_notify(secured: Secured) -> None:
    near, far = secured.near, secured.far
    far.transport.write(b"x" * 300_000)
    secured.server.close_clients()
    await until(lambda: near.lost and far.lost)
    assert near.received == b"x" * 300_000
    assert far.calls == ["owner closes", "eof"]
    assert near.lost == far.lost == [None]


@pytest.mark.parametrize("whose", ["asyncio's", "utcp's"])
async def test_an_endpoint_does_not_cut_off_what_is_still_to_be_sent(
    whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utcp.aio.open_endpoint.CLOSE_NOTIFY_GRACE", 0.02)
    async with Peers(Config(msl=0.05, close_timeout=30)) as peers:
        if whose == "utcp's":
            ends = await connected(peers, ssl=server_context())
        else:
            ends = await connected(peers)
            await ends.start_tls()
        near, far = ends.near, ends.far
        near.transport.pause_reading()
        size, before = 0, -1
        while (
            held := far.transport.get_write_buffer_size()
        ) < MEBIBYTE or held != before:  # the receive buffer is full
            if held < MEBIBYTE:
                far.transport.write(bytes(MEBIBYTE))
                size += MEBIBYTE
            before = held
            await asyncio.sleep(0.02)
        closing = asyncio.ensure_future(peers.server.aclose())
        await asyncio.sleep(0.1)
        near.transport.resume_reading()
        await closing
        await until(lambda: near.lost)
        assert len(near.received) == size
        assert near.lost == far.lost == [None]


async def test_trouble_is_told_to_the_application(secured: Secured) -> None:
    driver = secured.peers.client.driver
    (connection,) = driver.stack.connections.values()
    driver.stack.path_failed(
        connection.remote, [(connection.local_port, connection.remote_port)], errno.EHOSTUNREACH, driver.link.now()
    )
    driver.schedule_flush()
    await until(lambda: secured.near.troubles)
    assert isinstance(secured.near.troubles[0], OSError)


async def test_a_transport_that_vanished_does_not_complain(secured: Secured) -> None:
    (below,) = secured.peers.client.driver.transports
    below.vanish()
    assert secured.near.transport.is_closing()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        secured.near.transport.__del__()
        gc.collect()
    assert caught == []


async def test_above_the_tls_of_utcp(peers: Peers) -> None:
    """TLS within TLS."""
    ends = await connected(peers, ssl=server_context())
    outer = ends.near.transport
    await ends.start_tls()
    ends.near.transport.write(b"deep")
    await until(lambda: ends.far.received == b"deep")
    ends.far.transport.abort()
    await until(lambda: ends.near.lost and ends.far.lost)
    assert outer.is_closing()
