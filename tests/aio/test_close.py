"""How a connection ends, as asyncio sees it: connection_lost(None) means delivered."""

import asyncio
import socket
import struct

import pytest

from tests.aio.peers import FAST, Peers, Polite, Recorder, connection_of, turns, until
from utcp import Config, ConnectionReset, FinTimedOut, LingerTimedOut, Transport
from utcp.link.udp import UdpLink
from utcp.tcp.state import NAMES

IMPATIENT = Config(msl=0.05, close_timeout=0.2, rto_initial=0.02, rto_min=0.02, fin_retries=1)


def silence(peers: Peers) -> None:
    """From now on nothing that the client sends arrives."""
    link = peers.client.link
    assert isinstance(link, UdpLink)
    link.send = lambda transmits: []  # type: ignore[method-assign]  # a link that loses everything


async def test_connection_lost_waits_for_the_ack_of_the_fin(peers: Peers) -> None:
    transport, client, server = await peers.connect(Recorder, Recorder)
    path = connection_of(transport)
    transport.write(b"x" * 100_000)
    transport.close()
    assert NAMES[path.state] == "FIN_WAIT_1"
    assert client.lost == []
    await until(lambda: client.lost)
    assert client.lost == [None]
    assert path.send_queue == 0
    assert NAMES[path.state] == "FIN_WAIT_2"  # it does not wait for the peer to close
    server.transport.close()
    await until(lambda: server.lost)
    assert peers.client.stack.counters.time_waits == 1
    assert len(server.received) == 100_000


@pytest.mark.usefixtures("replaceable")
async def test_undelivered_data_ends_in_an_error() -> None:
    async with Peers(IMPATIENT) as peers:
        transport, client, _ = await peers.connect(Recorder)
        silence(peers)
        transport.write(b"x")
        transport.close()
        await until(lambda: client.lost)
        assert isinstance(client.lost[0], FinTimedOut)
        peers.abort_server()


async def test_abort_resets_the_peer(peers: Peers) -> None:
    transport, client, server = await peers.connect(Recorder)
    transport.write(b"x" * 1000)
    transport.abort()
    await until(lambda: client.lost and server.lost)
    assert client.lost == [None]
    assert isinstance(server.lost[0], ConnectionReset)
    assert not peers.client.stack.connections
    assert not peers.client.stack.time_wait


@pytest.mark.parametrize("half_first", [True, False])
async def test_abort_after_close_lets_delivery_finish_in_the_background(peers: Peers, half_first: bool) -> None:
    """anyio and httpx close so: write_eof(), close(), sleep(0), abort()."""
    transport, client, server = await peers.connect(Recorder)
    transport.write(b"x" * 3_000_000)
    if half_first:
        transport.write_eof()
    transport.close()
    await asyncio.sleep(0)
    transport.abort()
    assert client.lost == []
    await turns(2)
    assert client.lost == [None]
    assert len(server.received) < 3_000_000
    await until(lambda: server.lost)
    assert server.lost == [None]
    assert len(server.received) == 3_000_000


async def test_linger_zero_resets(peers: Peers) -> None:
    transport, client, server = await peers.connect(Recorder)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.close()
    await until(lambda: client.lost and server.lost)
    assert client.lost == [None]
    assert isinstance(server.lost[0], ConnectionReset)


@pytest.mark.usefixtures("replaceable")
async def test_linger_bounds_the_wait_for_the_ack() -> None:
    async with Peers(FAST) as peers:
        transport, client, _ = await peers.connect(Recorder)
        connection_of(transport).linger = 0.05
        silence(peers)
        transport.close()
        await until(lambda: client.lost)
        assert isinstance(client.lost[0], LingerTimedOut)
        peers.abort_server()


async def test_close_with_unread_data_resets(peers: Peers) -> None:
    transport, client, server = await peers.connect(Recorder)
    transport.pause_reading()
    server.transport.write(b"unread")
    await until(lambda: connection_of(transport).readable)
    transport.close()
    await until(lambda: client.lost and server.lost)
    assert isinstance(server.lost[0], ConnectionReset)


async def test_both_sides_close_at_once(peers: Peers) -> None:
    transport, client, server = await peers.connect(Recorder)
    transport.close()
    server.transport.close()
    await until(lambda: client.lost and server.lost)
    assert client.lost == server.lost == [None]
    assert peers.client.stack.counters.time_waits == peers.server.stack.counters.time_waits == 1


async def test_a_reset_reaches_everyone_who_waits(peers: Peers) -> None:
    peer: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(writer.transport, Transport)
        writer.transport.pause_reading()
        peer.set_result(writer)

    await peers.server.start_server(accept)
    reader, writer = await peers.client.open_connection(peers.host, peers.port)
    writer.write(b"x" * 10_000_000)
    waiting = [asyncio.create_task(reader.read()), asyncio.create_task(writer.drain())]
    (await peer).transport.abort()
    results = await asyncio.gather(*waiting, writer.wait_closed(), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionReset] * 3
    with pytest.raises(ConnectionResetError):
        await writer.drain()


async def test_writing_to_a_peer_that_has_gone_ends_in_a_reset(peers: Peers) -> None:
    transport, client, server = await peers.connect(Recorder)
    server.transport.close()
    await until(lambda: "eof" in client.calls)
    transport.write(b"x")
    await until(lambda: client.lost)
    assert isinstance(client.lost[0], ConnectionReset)


async def test_wait_closed_does_not_wait_for_time_wait() -> None:
    async with Peers(Config(msl=1000)) as peers:

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.read())
            writer.close()

        await peers.server.start_server(echo)
        reader, writer = await peers.client.open_connection(peers.host, peers.port)
        writer.write(b"question")
        writer.write_eof()
        assert await reader.read() == b"question"
        writer.close()
        await writer.wait_closed()
        assert len(peers.client.stack.time_wait) == 1


async def test_a_close_in_the_eof_callback_makes_three_segments_of_four(peers: Peers) -> None:
    transport, client, server = await peers.connect(Recorder, Polite)
    await turns(5)
    before = peers.client.stack.counters.out_segs + peers.server.stack.counters.out_segs
    transport.close()
    await until(lambda: client.lost and server.lost)
    assert peers.client.stack.counters.out_segs + peers.server.stack.counters.out_segs - before == 3
