"""The transport's contract: order of callbacks, reading, writing, errors in protocols, extra info."""

import asyncio
import contextvars
import gc
import logging
import socket
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from tests.aio.peers import FAST, Peers, Polite, Recorder, connection_of, turns, until
from utcp import ConnectionAborted, ConnectionInfo, ConnectionReset, Endpoint, Transport
from utcp.tcp.connection import Connection


class Greeter(Polite):
    """Speaks first."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.write(b"hello")


def reports() -> list[dict[str, Any]]:
    """What the running loop's exception handler is given from now on."""
    contexts: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
    return contexts


# --- the order of callbacks


async def test_callbacks_come_in_order_and_the_waiter_wakes_after_connection_made(peers: Peers) -> None:
    transport, client, server = await peers.connect(Recorder, Greeter)
    assert client.calls[0] == "made"
    assert client.transport is transport
    await until(lambda: client.received)
    transport.write(b"bye")
    transport.close()
    await until(lambda: client.lost and server.lost)
    assert client.calls == ["made", "data", "lost"]
    assert server.calls == ["made", "data", "eof", "lost"]
    assert client.lost == server.lost == [None]


async def test_data_and_fin_that_come_with_the_handshakes_last_ack_are_delivered(peers: Peers) -> None:
    class Hasty(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            assert self.transport is not None
            self.transport.write(b"all I have")
            self.transport.close()

    _, client, server = await peers.connect(Hasty)
    await until(lambda: client.lost and server.lost)
    assert server.received == b"all I have"
    assert client.lost == server.lost == [None]
    # SYN, SYN-ACK, ACK with data and FIN, FIN-ACK, ACK.
    assert peers.client.stack.counters.out_segs + peers.server.stack.counters.out_segs == 5


async def test_connection_lost_comes_once_and_never_inside_the_users_call(peers: Peers) -> None:
    transport, client, _ = await peers.connect(Recorder)
    transport.abort()
    transport.abort()
    transport.close()
    assert client.lost == []
    assert transport.is_closing()
    await turns(2)
    assert client.lost == [None]
    await turns(5)
    assert client.lost == [None]


async def test_callbacks_run_in_the_context_in_which_the_connection_was_opened(peers: Peers) -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name")

    class Named(Polite):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.calls.append(name.get("nobody"))

    name.set("server")
    factories: list[str] = []

    def accept() -> Named:
        factories.append(name.get("nobody"))
        return Named()

    server = await peers.server.create_server(peers.remember(accept))

    async def open_as(own: str) -> Named:
        name.set(own)
        transport, protocol = await peers.client.create_connection(Named, peers.host, peers.port)
        transport.write(own.encode())
        return protocol

    clients = await asyncio.gather(open_as("one"), open_as("two"))
    await until(lambda: all(accepted.received for accepted in peers.accepted))
    name.set("later")
    for accepted in peers.accepted:
        accepted.transport.write(b"back")
    await until(lambda: all(client.received for client in clients))
    assert [client.calls[-1] for client in clients] == ["one", "two"]
    assert [accepted.calls[-1] for accepted in peers.accepted] == factories == ["server", "server"]
    server.close()


# --- reading


async def test_eof_received_true_leaves_our_side_open(peers: Peers) -> None:
    transport, _, server = await peers.connect(Recorder, Recorder)
    transport.write_eof()
    await until(lambda: "eof" in server.calls)
    assert not server.transport.is_closing()
    server.transport.write(b"more")
    server.transport.close()
    client = transport.get_protocol()
    assert isinstance(client, Recorder)
    await until(lambda: client.calls[-1] == "eof")
    assert client.received == b"more"
    transport.close()
    await until(lambda: client.lost and server.lost)
    assert client.lost == server.lost == [None]


async def test_pause_stops_delivery_at_once_and_resume_never_delivers_inside_the_call(peers: Peers) -> None:
    class OneByOne(Polite):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            assert self.transport is not None
            self.transport.pause_reading()

    transport, client, server = await peers.connect(OneByOne, Recorder)
    assert transport.is_reading()
    transport.pause_reading()
    transport.pause_reading()
    assert not transport.is_reading()
    server.transport.write(b"x" * 300_000)  # more than one read's worth
    server.transport.write_eof()
    await until(lambda: connection_of(transport).readable == 300_000)
    assert client.received == b""

    transport.resume_reading()
    transport.resume_reading()
    assert client.received == b""
    await turns(3)
    assert len(client.received) == 256 * 1024
    assert client.calls == ["made", "data"]

    transport.resume_reading()
    await turns(3)
    assert len(client.received) == 300_000
    assert client.calls == ["made", "data"]  # EOF waits, too

    transport.resume_reading()
    await until(lambda: client.lost)
    assert client.calls == ["made", "data", "eof", "lost"]


async def test_resume_reading_is_cheap_when_nothing_waits(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    transport, _, _ = await peers.connect(Recorder)
    await turns(5)
    loop = asyncio.get_running_loop()
    scheduled = 0

    def call_soon(callback: Callable[..., object], *args: Any, **options: Any) -> asyncio.Handle:
        nonlocal scheduled
        scheduled += 1
        return asyncio.Handle(callback, args, loop)

    monkeypatch.setattr(loop, "call_soon", call_soon)
    for _ in range(500):
        transport.resume_reading()
        transport.pause_reading()
    transport.resume_reading()
    monkeypatch.undo()
    assert scheduled == 0


async def test_data_after_close_is_not_delivered(peers: Peers) -> None:
    transport, client, server = await peers.connect(Recorder, Recorder)
    server.transport.write(b"too late")
    transport.close()
    await until(lambda: client.lost and server.lost)
    assert client.received == b""
    assert isinstance(server.lost[0], ConnectionReset)  # SHLD-3: it was not read


class Filler(asyncio.BufferedProtocol):
    """Takes data in its own buffer of four octets."""

    def __init__(self, room: int = 4) -> None:
        self.buffer = bytearray(room)
        self.received = bytearray()
        self.lost: list[BaseException | None] = []

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += self.buffer[:nbytes]
        self.buffer.append(self.buffer.pop())  # would raise BufferError were it still viewed

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.append(exc)


async def test_buffered_protocol(peers: Peers) -> None:
    transport, _, server = await peers.connect(Recorder, Filler)
    transport.write(b"0123456789")
    transport.close()
    await until(lambda: server.lost)
    assert server.received == b"0123456789"


async def test_set_protocol_changes_the_way_data_is_delivered(peers: Peers) -> None:
    transport, client, server = await peers.connect(Recorder, Recorder)
    server.transport.write(b"first")
    await until(lambda: client.received)
    filler = Filler()
    transport.set_protocol(filler)
    assert transport.get_protocol() is filler
    server.transport.write(b"second")
    await until(lambda: filler.received == b"second")
    second = Recorder()
    second.calls.append("set")
    transport.set_protocol(second)
    transport.close()
    await until(lambda: second.lost)
    assert client.received == b"first"
    assert client.lost == filler.lost == []


# --- writing


async def test_what_may_be_written(peers: Peers) -> None:
    transport, _, server = await peers.connect(Recorder)
    changing = bytearray(b"-bytearray")
    transport.write(b"bytes")
    transport.write(changing)
    changing[:] = b"xxxxxxxxxx"
    transport.write(memoryview(b"weivyromem-")[::-1])
    transport.write(b"")
    transport.writelines([b"-lines", bytearray(b"-of"), memoryview(b"-data")])
    transport.writelines([])
    with pytest.raises(TypeError, match=r"^data argument must be a bytes-like object, not 'str'$"):
        transport.write("text")  # type: ignore[arg-type]  # the point of the test
    transport.close()
    await until(lambda: server.lost)
    assert server.received == b"bytes-bytearray-memoryview-lines-of-data"


async def test_after_write_eof_writing_raises_and_a_second_one_is_silent(peers: Peers) -> None:
    transport, _, _ = await peers.connect(Recorder)
    assert transport.can_write_eof()
    transport.write_eof()
    transport.write_eof()
    with pytest.raises(RuntimeError, match=r"^Cannot call write\(\) after write_eof\(\)$"):
        transport.write(b"x")
    with pytest.raises(RuntimeError, match=r"^Cannot call writelines\(\) after write_eof\(\)$"):
        transport.writelines([b"x"])


@pytest.mark.parametrize("end", [Transport.close, Transport.abort])
async def test_writes_after_the_end_are_dropped_with_a_warning_from_the_fifth_on(
    peers: Peers, caplog: pytest.LogCaptureFixture, end: Callable[[Transport], None]
) -> None:
    def messages() -> list[str]:
        return [record.message for record in caplog.records if record.name == "asyncio"]

    transport, client, server = await peers.connect(Recorder)
    end(transport)
    transport.write(b"x")
    await until(lambda: client.lost)
    with caplog.at_level(logging.WARNING, "asyncio"):
        for _ in range(3):
            transport.write(b"x")
        assert messages() == []
        transport.write(b"x")
    assert messages() == ["socket.send() raised exception."]
    await until(lambda: server.lost)
    assert server.received == b""


async def test_write_buffer_limits(peers: Peers) -> None:
    transport, _, _ = await peers.connect(Recorder)
    assert transport.get_write_buffer_limits() == (16384, 65536)
    assert transport.get_write_buffer_size() == 0
    transport.set_write_buffer_limits(high=32768)
    assert transport.get_write_buffer_limits() == (8192, 32768)
    with pytest.raises(ValueError, match="must be >= low"):
        transport.set_write_buffer_limits(high=1, low=2)


async def test_a_write_to_a_connection_reset_in_the_same_batch_ends_it_with_the_reset(peers: Peers) -> None:
    transport, client, _ = await peers.connect(Recorder)
    connection = connection_of(transport)
    connection.error = ConnectionReset()
    connection.stack.forget(connection)
    connection.state = 0
    transport.write(b"x")
    assert transport.is_closing()
    await until(lambda: client.lost)
    assert isinstance(client.lost[0], ConnectionReset)


# --- protocols that fail


class Failing(Polite):
    """Raises RuntimeError in one of its callbacks."""

    failing: str

    def check(self, callback: str) -> None:
        if callback == self.failing:
            raise RuntimeError(callback)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.check("connection_made")

    def data_received(self, data: bytes) -> None:
        self.check("data_received")
        super().data_received(data)

    def eof_received(self) -> bool:
        self.check("eof_received")
        return super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.check("connection_lost")


@pytest.mark.parametrize("callback", ["connection_made", "data_received", "eof_received", "connection_lost"])
async def test_an_exception_in_a_callback_is_reported_and_ends_only_that_connection(
    peers: Peers, callback: str
) -> None:
    contexts = reports()
    server = await peers.server.create_server(peers.remember(Failing, Polite))
    Failing.failing = callback
    clients = [await peers.client.create_connection(Recorder, peers.host, peers.port) for _ in range(2)]
    # In one turn: both arrive in one batch.
    for transport, _ in clients:
        transport.write(b"data")
        transport.write_eof()
    await until(lambda: len(peers.accepted) == 2)
    failing, other = peers.accepted
    await until(lambda: failing.lost and other.lost)
    (context,) = contexts
    assert context["message"] == f"Fatal error: protocol.{callback}() call failed."
    assert isinstance(context["exception"], RuntimeError)
    assert context["transport"] is failing.transport
    assert context["protocol"] is failing
    assert other.calls == ["made", "data", "eof", "lost"]
    assert other.lost == [None]
    if callback != "connection_lost":
        assert isinstance(failing.lost[0], RuntimeError)
    for transport, _ in clients:
        transport.close()
    server.close()


@pytest.mark.parametrize(
    ("get_buffer", "error"),
    [
        (lambda _: bytearray(), RuntimeError("get_buffer() returned an empty buffer")),
        (lambda _: b"immutable", TypeError("get_buffer() returned a read-only buffer")),
    ],
    ids=["empty", "read-only"],
)
async def test_a_useless_buffer_ends_the_connection(
    peers: Peers, get_buffer: Callable[[int], Any], error: Exception
) -> None:
    contexts = reports()
    transport, _, server = await peers.connect(Recorder, Filler)
    server.get_buffer = get_buffer
    transport.write(b"data")
    await until(lambda: server.lost)
    assert [context["message"] for context in contexts] == ["Fatal error: protocol.get_buffer() call failed."]
    assert repr(server.lost[0]) == repr(error)


async def test_an_os_error_in_a_callback_ends_the_connection_without_a_report(peers: Peers) -> None:
    class Failed(Polite):
        def data_received(self, data: bytes) -> None:
            raise ConnectionAborted("no thanks")

    contexts = reports()
    transport, client, server = await peers.connect(Recorder, Failed)
    transport.write(b"data")
    await until(lambda: server.lost and client.lost)
    assert isinstance(server.lost[0], ConnectionAborted)
    assert isinstance(client.lost[0], ConnectionReset)
    assert contexts == []


# --- extra info, and what is left behind


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_extra_info(family: socket.AddressFamily) -> None:
    async with Peers(family=family) as peers:
        local_port = 4321
        server = await peers.server.create_server(peers.remember(Polite), 80)
        transport, client = await peers.client.create_connection(
            Recorder, peers.host, 80, udp_port=peers.port, local_port=local_port
        )
        tail = (0, 0) if family == socket.AF_INET6 else ()
        for _ in range(2):  # open, and closed
            assert transport.get_extra_info("peername") == (peers.host, 80, *tail)
            assert transport.get_extra_info("sockname") == (peers.host, local_port, *tail)
            assert transport.get_extra_info("udp_peername") == peers.server.address
            assert transport.get_extra_info("udp_sockname") == peers.client.address
            assert transport.get_extra_info("socket").family == family
            assert transport.get_extra_info("sslcontext", "none") == "none"
            info = transport.get_extra_info("utcp")
            assert isinstance(info, ConnectionInfo)
            if not client.lost:
                assert info.state == "ESTABLISHED"
                assert repr(transport).startswith("<Transport open sockname=")
                transport.close()
                assert repr(transport).startswith("<Transport closing sockname=")
                await until(lambda: client.lost)
        assert repr(transport).startswith("<Transport closed sockname=")
        (accepted,) = peers.accepted
        assert accepted.transport.get_extra_info("peername") == (peers.host, local_port, *tail)
        server.close()


async def test_a_lost_connection_is_garbage_without_cycles(peers: Peers) -> None:
    def connections() -> int:
        return sum(isinstance(item, Connection) for item in gc.get_objects())

    transport, client, server = await peers.connect(Recorder)
    transport.get_extra_info("socket")
    gc.collect()
    before = connections()
    gc.disable()
    try:
        transport.close()
        await until(lambda: client.lost and server.lost)
        await turns(3)
        gone = weakref.ref(transport)
        client.transport = server.transport = None
        del transport
        assert gone() is None
        assert connections() == before - 2
        assert not peers.client.driver.transports
        assert not peers.server.driver.transports
    finally:
        gc.enable()


def test_a_transport_that_was_never_closed_says_so() -> None:
    async def leave_open() -> None:
        # Not by asyncio.run(), which closes what is left open: by a loop that is dropped.
        endpoint = await Endpoint(("127.0.0.1", 0), config=FAST).start()
        await endpoint.create_server(Recorder)
        await endpoint.create_connection(Recorder, "127.0.0.1", endpoint.address[1])
        endpoint.driver.close()

    def drop_the_loop() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(leave_open())
        loop.close()
        del loop
        gc.collect()

    with pytest.warns(ResourceWarning, match=r"^unclosed transport <Transport open"):
        drop_the_loop()
