"""asyncio's streams over utcp."""

import asyncio
import contextvars
import gc
import itertools
import socket
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

import utcp
from tests.aio.peers import FAST, Peers, Recorder, connection_of, until
from tests.certificates import client_context, server_context
from utcp import StreamWriter
from utcp.aio.stream_reader import StreamReader
from utcp.aio.streams import StreamProtocol
from utcp.aio.transport import MAX_READ, SHARE, Transport

LARGE = replace(FAST, recv_buffer=2 << 20)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_open_connection_and_start_server(host: str) -> None:
    async with await utcp.start_server(echo, host, 0, config=FAST) as server:
        name = server.sockets[0].getsockname()
        reader, writer = await utcp.open_connection(host, name[1], config=FAST)
        assert writer.get_extra_info("peername") == name
        assert writer.get_extra_info("sockname")[0] == host
        writer.write(b"a line\n")
        assert await reader.readline() == b"a line\n"
        writer.writelines([b"and ", b"the rest"])
        await writer.drain()
        assert writer.can_write_eof()
        writer.write_eof()
        assert await reader.read() == b"and the rest"
        assert not writer.is_closing()
        writer.close()
        await writer.wait_closed()
        assert writer.is_closing()


async def test_the_same_on_an_endpoint(peers: Peers) -> None:
    await peers.server.start_server(echo)
    reader, writer = await peers.client.open_connection(peers.host, peers.port)
    writer.write(b"question")
    writer.write_eof()
    assert await reader.read() == b"question"
    writer.close()
    await writer.wait_closed()


def at_once(reading: Coroutine[Any, Any, bytes]) -> bytes:
    """Return the result of a coroutine that does not wait."""
    with pytest.raises(StopIteration) as result:
        reading.send(None)
    data = result.value.value
    assert isinstance(data, bytes)
    return data


async def bulk(peers: Peers, sent: bytes) -> tuple[asyncio.StreamReader, Transport, asyncio.StreamWriter]:
    """Return the server's reader and transport, and the client's writer, after `sent` has arrived at the server."""
    arriving: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
    arriving = asyncio.get_running_loop().create_future()
    await peers.server.start_server(lambda *streams: arriving.set_result(streams))
    _, writer = await peers.client.open_connection(peers.host, peers.port)
    reader, answers = await arriving
    writer.write(sent)
    transport = answers.transport
    assert isinstance(transport, Transport)
    await until(lambda: connection_of(transport).info().bytes_received == len(sent))
    return reader, transport, writer


async def test_a_bulk_reader_reads_what_has_arrived_in_one_turn() -> None:
    """The first read takes the chunk that has paused the transport, and the others take the data from the transport."""
    async with Peers(LARGE) as peers:
        sent = bytes(range(256)) * 3072
        reader, _, writer = await bulk(peers, sent)
        writer.write_eof()
        received = b""
        while len(received) < len(sent):
            received += at_once(reader.read(1 << 18))
        assert received == sent
        assert await reader.read(1 << 18) == b""
        assert reader.at_eof()
        writer.close()
        await writer.wait_closed()


async def test_a_bulk_reader_leaves_other_connections_their_turn() -> None:
    """A turn of the loop follows each chunk and the share that a reader takes after it, however much has arrived."""
    async with Peers(replace(FAST, recv_buffer=4 << 20)) as peers:
        sent = bytes(range(256)) * 12288
        reader, _, writer = await bulk(peers, sent)
        received, turns = 0, []
        while received < len(sent):
            reading = reader.read(1 << 18)
            try:
                reading.send(None)
            except StopIteration as result:
                received += len(result.value)
            else:
                reading.close()
                turns.append(received)
                await asyncio.sleep(0)
        assert turns
        assert all(later - earlier <= MAX_READ + SHARE for earlier, later in itertools.pairwise([0, *turns]))
        writer.close()


async def test_a_transport_hands_held_data_only_to_its_reader_and_while_it_is_reading() -> None:
    """The application may pause the transport itself, and the octets may belong to TLS above the transport."""
    async with Peers(LARGE) as peers:
        reader, transport, writer = await bulk(peers, bytes(1 << 20))
        assert transport.take_held(reader, 1000) == b""  # paused by the reader
        assert at_once(reader.read(1 << 18))
        assert len(transport.take_held(reader, 1000)) == 1000
        transport.pause_reading()
        assert transport.take_held(reader, 1000) == b""
        transport.resume_reading()
        assert transport.take_held(StreamReader(), 1000) == b""
        transport.abort()
        assert transport.take_held(reader, 1000) == b""
        writer.close()


class Inverting(StreamProtocol):
    def data_received(self, data: bytes) -> None:
        super().data_received(bytes(255 - octet for octet in data))


async def test_all_data_passes_through_the_protocol_of_an_application() -> None:
    async with Peers(LARGE) as peers:
        reader, transport, writer = await bulk(peers, bytes(1 << 20))
        held = len(reader._buffer)  # type: ignore[attr-defined]
        transport.set_protocol(Inverting(reader))
        assert held < 1 << 20
        received = b""
        while len(received) < 1 << 20:
            received += await reader.read(1 << 18)
        assert received == bytes(held) + b"\xff" * ((1 << 20) - held)
        writer.close()


async def test_a_reader_that_has_resumed_its_transport_reads_from_tls_after_start_tls() -> None:
    """TLS has no held data to take."""
    async with Peers(LARGE) as peers:
        arriving: asyncio.Future[tuple[asyncio.StreamReader, Any]] = asyncio.get_running_loop().create_future()
        await peers.server.start_server(lambda *streams: arriving.set_result(streams))
        _, client = await peers.client.open_connection(peers.host, peers.port)
        reader, writer = await arriving
        client.write(bytes(1 << 18))
        await until(lambda: connection_of(writer.transport).info().bytes_received == 1 << 18)
        assert len(await reader.readexactly(1 << 18)) == 1 << 18
        assert reader._resumed  # type: ignore[attr-defined]
        tls = client.start_tls(client_context(), server_hostname="localhost")
        await asyncio.gather(writer.start_tls(server_context()), tls)
        client.write(b"secret")
        assert await reader.read(100) == b"secret"
        client.close()
        writer.close()


async def test_half_close_lets_the_other_side_go_on(peers: Peers) -> None:
    async def answer_after_eof(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read()
        for word in (b"you ", b"said ", question):
            writer.write(word)
            await asyncio.sleep(0.002)
        writer.close()

    await peers.server.start_server(answer_after_eof)
    reader, writer = await peers.client.open_connection(peers.host, peers.port)
    writer.write(b"hello")
    writer.write_eof()
    assert await reader.read() == b"you said hello"
    writer.close()
    await writer.wait_closed()


async def test_the_limit_is_the_readers(peers: Peers) -> None:
    async def long_line(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 1000)
        writer.close()

    await peers.server.start_server(long_line)
    reader, writer = await peers.client.open_connection(peers.host, peers.port, limit=100)
    with pytest.raises(ValueError, match="chunk exceed the limit"):
        await reader.readline()
    writer.close()
    with pytest.raises(ValueError, match="Limit cannot be <= 0"):
        await utcp.open_connection(peers.host, peers.port, limit=0)


async def test_a_server_may_have_a_plain_callback_and_both_sides_get_our_writer(peers: Peers) -> None:
    accepted: list[asyncio.StreamWriter] = []
    await peers.server.start_server(lambda _, writer: accepted.append(writer))
    _, writer = await peers.client.open_connection(peers.host, peers.port)
    await until(lambda: accepted)
    assert type(accepted[0]) is type(writer) is StreamWriter
    writer.close()
    accepted[0].close()
    await accepted[0].wait_closed()


async def test_a_failing_handler_closes_its_connection_and_is_reported(peers: Peers) -> None:
    messages: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: messages.append(context["message"]))

    async def fail(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        raise LookupError("no answer today")

    await peers.server.start_server(fail)
    reader, writer = await peers.client.open_connection(peers.host, peers.port)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    assert messages == ["Unhandled exception in client_connected_cb"]


async def test_local_addr_and_family(peers: Peers) -> None:
    await peers.server.start_server(echo)
    _, writer = await utcp.open_connection(
        peers.host, peers.port, family=socket.AF_INET, local_addr=("127.0.0.1", 7777), config=FAST
    )
    assert writer.get_extra_info("sockname") == ("127.0.0.1", 7777)
    writer.close()
    await writer.wait_closed()


class Connected(asyncio.Transport):
    """As much of a transport as a writer needs."""

    closing = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True


def stream_writer() -> tuple[StreamProtocol, StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = StreamReader(loop=loop)
    protocol = StreamProtocol(reader, None, loop)
    transport = Connected()
    protocol.connection_made(transport)
    return protocol, StreamWriter(transport, protocol, reader, loop)


async def test_who_drains_waits_while_writing_is_paused_however_often() -> None:
    protocol, writer = stream_writer()
    await writer.drain()
    protocol.pause_writing()
    first = asyncio.create_task(writer.drain())
    await asyncio.sleep(0)
    protocol.resume_writing()
    protocol.pause_writing()  # before the first one has woken up
    second = asyncio.create_task(writer.drain())
    await asyncio.sleep(0)
    await first
    assert not second.done()
    protocol.resume_writing()
    await second
    writer.close()


async def test_who_drains_hears_that_the_connection_is_lost() -> None:
    protocol, writer = stream_writer()
    protocol.pause_writing()
    draining = asyncio.create_task(writer.drain())
    await asyncio.sleep(0)
    protocol.connection_lost(ConnectionResetError("gone"))
    with pytest.raises(ConnectionResetError, match="gone"):
        await draining
    writer.close()


@pytest.mark.parametrize("early", [True, False])
async def test_wait_closed_says_how_the_connection_ended_before_and_after(early: bool) -> None:
    for error in (None, ConnectionResetError("gone")):
        protocol, writer = stream_writer()
        writer.close()
        waiting = asyncio.create_task(writer.wait_closed())
        if early:
            await asyncio.sleep(0)
        protocol.connection_lost(error)
        if error is None:
            await waiting
            await writer.wait_closed()
        else:
            with pytest.raises(ConnectionResetError, match="gone"):
                await waiting
            with pytest.raises(ConnectionResetError, match="gone"):
                await writer.wait_closed()


async def test_an_end_that_nobody_waits_for_any_more_is_not_reported() -> None:
    messages: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: messages.append(context["message"]))
    protocol, writer = stream_writer()
    writer.close()
    protocol._get_close_waiter(writer)
    protocol.connection_lost(ConnectionResetError("gone"))
    del protocol, writer
    gc.collect()
    assert messages == []


async def test_a_protocol_that_takes_a_stream_over_is_called_in_the_context_that_has_set_it(peers: Peers) -> None:
    """The callbacks of streams need no context, because they run no code of the application."""
    await peers.server.start_server(echo)
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="")
    names: list[str] = []

    class Noting(Recorder):
        def data_received(self, data: bytes) -> None:
            names.append(name.get())

    async def take_over() -> None:
        _, writer = await peers.client.open_connection(peers.host, peers.port)
        name.set("of this task")
        writer.transport.set_protocol(Noting())
        writer.write(b"question")
        await until(lambda: names)
        writer.transport.abort()

    await asyncio.create_task(take_over())
    assert names == ["of this task"]


async def test_a_cancelled_handler_closes_its_connection(peers: Peers) -> None:
    handlers: list[asyncio.Task[object] | None] = []

    async def wait(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        await asyncio.Event().wait()

    await peers.server.start_server(wait)
    reader, writer = await peers.client.open_connection(peers.host, peers.port)
    await until(lambda: handlers)
    assert handlers[0] is not None
    handlers[0].cancel()
    assert await reader.read() == b""
    writer.close()
