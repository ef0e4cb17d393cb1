"""What a connection costs, counted: segments, system calls, objects that are left, wakeups while nothing happens."""

import asyncio
import gc
import sys
import weakref
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Final, Self

import pytest
import uvloop

import utcp
from tests.aio.peers import FAST, Peers, Recorder, turns, until
from tests.variant import compiled_only, interpreted_only
from utcp.link.udp import UdpLink
from utcp.tcp.connection import Connection

TOGETHER = 100


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
    writer.close()
    await writer.wait_closed()


async def open_echo_close(peers: Peers, note: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]) -> None:
    reader, writer = await peers.client.open_connection(peers.host, peers.port)
    note(reader, writer)
    writer.write(b"x" * 64)
    assert await reader.readexactly(64) == b"x" * 64
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


def segments(peers: Peers) -> int:
    return peers.client.stack.counters.out_segs + peers.server.stack.counters.out_segs


def calls(peers: Peers) -> int:
    links = [peers.client.link, peers.server.link]
    assert all(isinstance(link, UdpLink) for link in links)
    return sum(link.counters.send_calls + link.counters.receive_calls for link in links)


async def lowest(measure: Callable[[], Awaitable[tuple[int, ...]]], wanted: tuple[float, ...]) -> tuple[int, ...]:
    """Return what `measure` counts: the first counts of which none exceeds `wanted`, or the last of five. On a busy
    machine, delayed ACKs, probes and timers add to counts, and nothing takes from them. So this does not notice a cost
    that one of five tries is without."""
    for _ in range(5):
        counts = await measure()
        if all(count <= limit for count, limit in zip(counts, wanted, strict=True)):
            break
    return counts


async def test_an_open_echo_close_is_7_segments_and_less_than_half_a_system_call(peers: Peers) -> None:
    """SYN, SYN-ACK, ACK with data, ACK with the echo, FIN with an ACK, the same from the other side, ACK."""
    await peers.server.start_server(echo)
    await open_echo_close(peers, lambda *_: None)

    async def measure() -> tuple[int, ...]:
        before = segments(peers), calls(peers)
        await asyncio.gather(*(open_echo_close(peers, lambda *_: None) for _ in range(TOGETHER)))
        return segments(peers) - before[0], calls(peers) - before[1]

    sent, called = await lowest(measure, (7 * TOGETHER, TOGETHER / 2))
    assert sent == 7 * TOGETHER
    assert called <= TOGETHER / 2


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Only reference counts free objects."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def connections_in_memory() -> int:
    return sum(isinstance(item, Connection) for item in gc.get_objects())


@pytest.mark.usefixtures("without_collector")
async def test_a_closed_connection_is_gone_without_the_garbage_collector(peers: Peers) -> None:
    left: list[weakref.ref[Any]] = []

    def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport: Any = writer.transport
        left.extend(weakref.ref(item) for item in (reader, writer, transport, transport.get_protocol()))

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Awaitable[None]:
        watch(reader, writer)
        return echo(reader, writer)

    await peers.server.start_server(serve)
    before = connections_in_memory()
    await asyncio.gather(*(open_echo_close(peers, watch) for _ in range(10)))
    assert len(left) == 2 * 10 * 4
    await until(lambda: not peers.server.driver.transports)
    await turns(3)
    assert [item for ref in left if (item := ref()) is not None] == []
    assert connections_in_memory() == before


@pytest.mark.usefixtures("without_collector")
async def test_a_connection_that_its_peer_reset_is_gone_without_the_garbage_collector(peers: Peers) -> None:
    # Without streams: asyncio's reader keeps the error that it raises, whose traceback keeps the reader.
    before = connections_in_memory()
    left: list[weakref.ref[Any]] = []

    async def be_reset() -> None:
        transport, client, server = await peers.connect(Recorder)
        left.extend(weakref.ref(item) for item in (transport, client))
        server.transport.abort()
        await until(lambda: client.lost)
        assert isinstance(client.lost[0], ConnectionResetError)

    for _ in range(10):
        await be_reset()
    peers.accepted.clear()
    await turns(3)
    assert [item for ref in left if (item := ref()) is not None] == []
    assert connections_in_memory() == before


class LoopCalls:
    """Counts what a loop is asked for while it is watched: callbacks, timers, and, with asyncio's own, waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.callbacks = self.timers = self.waits = 0
        loop: Any = asyncio.get_running_loop()
        call_soon, call_later = loop.call_soon, loop.call_later

        def soon(*arguments: Any, **context: Any) -> asyncio.Handle:
            self.callbacks += 1
            handle: asyncio.Handle = call_soon(*arguments, **context)
            return handle

        def later(*arguments: Any, **context: Any) -> asyncio.TimerHandle:
            self.timers += 1
            handle: asyncio.TimerHandle = call_later(*arguments, **context)
            return handle

        monkeypatch.setattr(loop, "call_soon", soon)
        monkeypatch.setattr(loop, "call_later", later)
        if not isinstance(loop, uvloop.Loop):
            select = loop._selector.select

            def wait(timeout: float | None = None) -> Any:
                self.waits += 1
                return select(timeout)

            monkeypatch.setattr(loop._selector, "select", wait)


REQUESTS = 500


async def requested(
    peers: Peers, ask: Callable[[], Awaitable[None]], loop_calls: LoopCalls, wanted: tuple[float, ...]
) -> tuple[int, ...]:
    """Return the links' system calls, and the loop's timers, callbacks and waits, for REQUESTS requests. `wanted` is
    the most of each for one."""

    async def measure() -> tuple[int, ...]:
        before = calls(peers)
        loop_calls.callbacks = loop_calls.timers = loop_calls.waits = 0
        await ask()
        return calls(peers) - before, loop_calls.timers, loop_calls.callbacks, loop_calls.waits

    return await lowest(measure, tuple(limit * REQUESTS for limit in wanted))


async def test_a_request_over_streams_takes_2_sends_and_2_receives_and_no_timer(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wakeup that has brought one datagram makes no second call, which would find nothing. Every 65th wakeup does,
    in case there are more datagrams by now. asyncio wakes a task in the turn after its datagram has arrived, so that
    each end waits twice."""
    await peers.server.start_server(echo)
    reader, writer = await peers.client.open_connection(peers.host, peers.port)

    async def ask() -> None:
        for _ in range(REQUESTS):
            writer.write(b"x" * 64)
            await reader.readexactly(64)

    await ask()
    # Of callbacks, the wakeup of a task and a flush, at each end.
    counts = await requested(peers, ask, LoopCalls(monkeypatch), wanted := (4.1, 0.1, 4.1, 4.1))
    assert counts[0] >= 4 * REQUESTS
    assert [count <= limit * REQUESTS for count, limit in zip(counts, wanted, strict=True)] == [True] * 4, counts
    writer.close()
    await writer.wait_closed()


class Asking(Recorder):
    """Sends the next request when the response to the last one is complete."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0
        self.done = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        assert len(data) == 64
        self.left -= 1
        if self.left:
            assert self.transport is not None
            self.transport.write(data)
        elif not self.done.done():
            self.done.set_result(None)


async def test_a_request_between_protocols_takes_6_system_calls(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each end: the loop waits, one receive, and one send from within data_received(). No callback, no timer."""
    transport, client, _ = await peers.connect(Asking, EchoProtocol)

    async def ask() -> None:
        client.left = REQUESTS
        client.done = asyncio.get_running_loop().create_future()
        transport.write(b"x" * 64)
        await client.done

    await ask()
    counts = await requested(peers, ask, LoopCalls(monkeypatch), wanted := (4.1, 0.1, 0.1, 2.1))
    assert counts[0] >= 4 * REQUESTS
    assert [count <= limit * REQUESTS for count, limit in zip(counts, wanted, strict=True)] == [True] * 4, counts
    transport.abort()


class EchoProtocol(Recorder):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        assert self.transport is not None
        self.transport.write(data)


async def test_an_answer_that_a_protocol_writes_at_once_leaves_in_the_same_turn(peers: Peers) -> None:
    transport, _, server = await peers.connect(Recorder, EchoProtocol)
    await turns(5)
    driver = peers.server.driver
    driver.loop.remove_reader(driver.link.fileno())  # the test reads instead
    transport.write(b"question")
    await turns(2)
    sent = driver.stack.counters.out_segs
    driver.read()
    assert server.received == b"question"
    assert driver.stack.counters.out_segs == sent + 1
    await turns(3)
    assert driver.stack.counters.out_segs == sent + 1
    transport.abort()
    driver.loop.add_reader(driver.link.fileno(), driver._readable)


async def test_an_answer_to_one_of_several_datagrams_waits_for_the_other_users(peers: Peers) -> None:
    transport, _, server = await peers.connect(Recorder, EchoProtocol)
    other, _, _ = await peers.connect(Recorder, Recorder)
    await turns(5)
    driver = peers.server.driver
    driver.loop.remove_reader(driver.link.fileno())  # the test reads instead
    for each in (transport, other):
        each.write(b"question")
        peers.client.driver.flush()
    sent = driver.stack.counters.out_segs
    driver.read()
    assert server.received == b"question"
    assert driver.stack.counters.out_segs == sent
    await turns(3)
    assert driver.stack.counters.out_segs > sent
    transport.abort()
    other.abort()
    driver.loop.add_reader(driver.link.fileno(), driver._readable)


async def test_wakeups_that_read_one_datagram_leave_none_unread(peers: Peers) -> None:
    transport, client, server = await peers.connect(Recorder, EchoProtocol)
    transport.write(b"alone")
    await until(lambda: client.received == b"alone")
    assert peers.server.driver._lone_reads > 1
    for _ in range(5):
        transport.write(b"more ")
        peers.client.driver.flush()  # a datagram of its own
    await turns(10)
    assert server.received == b"alone" + 5 * b"more "
    assert peers.client.stack.counters.retrans_segs == 0
    transport.abort()


MEGABYTES = 16


@pytest.mark.parametrize("mss", [None, 1400])
async def test_a_bulk_transfer_over_streams_takes_a_send_and_a_receive_for_64_kib(mss: int | None) -> None:
    """These are 32 system calls per MB. ACKs, and receives that find nothing, add a few for each wakeup, so that it
    counts how much a wakeup carries."""
    async with Peers(replace(FAST, mss=mss)) as peers:
        arriving: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
        arriving = asyncio.get_running_loop().create_future()
        await peers.server.start_server(lambda *streams: arriving.set_result(streams))
        _, writer = await peers.client.open_connection(peers.host, peers.port)
        reader, answers = await arriving
        chunk = bytes(1 << 18)

        async def write() -> None:
            while True:
                writer.write(chunk)
                await writer.drain()

        async def transfer() -> tuple[int, ...]:
            before, octets = calls(peers), 0
            while octets < MEGABYTES * 1_000_000:
                data = await reader.read(1 << 18)
                assert data
                octets += len(data)
            return (calls(peers) - before,)

        writing = asyncio.create_task(write())
        await transfer()  # the congestion window and the buffers grow
        assert await lowest(transfer, (limit := 40 * MEGABYTES,)) <= (limit,)
        writing.cancel()
        for each in (writer, answers):
            each.transport.abort()


async def test_idle_connections_wake_nobody(peers: Peers) -> None:
    accepted: list[asyncio.StreamWriter] = []
    await peers.server.start_server(lambda _, writer: accepted.append(writer))
    streams = [await peers.client.open_connection(peers.host, peers.port) for _ in range(TOGETHER)]
    await until(lambda: len(accepted) == TOGETHER)
    # The last delayed ACK, and timers that find nothing to do. What is left is keepalive.
    await until(lambda: all(end.driver._timer_due - end.link.now() > 50 for end in (peers.client, peers.server)))
    for end in (peers.client, peers.server):
        assert len(end.stack.connections) == TOGETHER
        assert {name for connection in end.stack.connections.values() for name in connection.info().timers} == {
            "keepalive"
        }
    for writer in [*accepted, *(writer for _, writer in streams)]:
        writer.close()


# --- calls of Python functions of utcp: what an interpreted segment costs, whatever the machine


class Calls:
    """Counts calls of functions in files of utcp while the context lasts, from one function on and up to another."""

    def __init__(self, first: str = "", last: str = "") -> None:
        self.count = 0
        self._first, self._last = first, last
        self._counting = not first

    def __enter__(self) -> Self:
        sys.setprofile(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _event(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call":
            return
        name = frame.f_code.co_name
        self._counting |= name == self._first
        if name == self._last:
            self._counting = False
        # The interpreter's own frames of comprehensions are not the same on every version.
        if self._counting and not name.startswith("<") and frame.f_code.co_filename.startswith(OURS):
            self.count += 1


OURS: Final = str(Path(utcp.__file__).parent)


@interpreted_only
async def test_calls_of_an_open_echo_close(peers: Peers) -> None:
    """Of 100 at a time, each with both ends. 300 is wanted."""
    await peers.server.start_server(echo)
    for _ in range(2):
        with Calls() as calls:
            await asyncio.gather(*(open_echo_close(peers, lambda *_: None) for _ in range(TOGETHER)))
    assert calls.count / TOGETHER < 450


@interpreted_only
async def test_calls_of_a_request_and_its_response(peers: Peers) -> None:
    """Of 64 octets, alone, with both ends."""
    await peers.server.start_server(echo)
    reader, writer = await peers.client.open_connection(peers.host, peers.port)
    for _ in range(2):
        with Calls() as calls:
            for _ in range(TOGETHER):
                writer.write(b"x" * 64)
                await reader.readexactly(64)
    assert calls.count / TOGETHER < 145
    writer.close()
    await writer.wait_closed()


class AllCalls:
    """Counts all calls that the interpreter makes while the context lasts, of Python functions and of others."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        sys.setprofile(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _event(self, frame: FrameType, event: str, _: object) -> None:
        self.count += event in ("call", "c_call")


def is_uvloop() -> bool:
    return isinstance(asyncio.get_running_loop(), uvloop.Loop)


@compiled_only
async def test_all_calls_of_a_request_between_protocols(peers: Peers) -> None:
    """Of 64 bytes, alone, with both ends. The rest are asyncio's loop and the protocols of this test."""
    transport, client, _ = await peers.connect(Asking, EchoProtocol)
    for _ in range(2):
        client.left = REQUESTS
        client.done = asyncio.get_running_loop().create_future()
        with AllCalls() as calls:
            transport.write(b"x" * 64)
            await client.done
    assert calls.count / REQUESTS < (25 if is_uvloop() else 65)
    transport.abort()


@compiled_only
async def test_all_calls_of_a_request_over_streams(peers: Peers) -> None:
    """On asyncio's loop, 97 of them are in asyncio's loop and tasks, which take two turns at each end."""
    await peers.server.start_server(echo)
    reader, writer = await peers.client.open_connection(peers.host, peers.port)
    for _ in range(2):
        with AllCalls() as calls:
            for _ in range(REQUESTS):
                writer.write(b"x" * 64)
                await reader.readexactly(64)
    assert calls.count / REQUESTS < (28 if is_uvloop() else 125)
    writer.close()
    await writer.wait_closed()


async def acknowledged(transport: utcp.Transport) -> None:
    await until(lambda: not transport.get_extra_info("utcp").unacked)


@interpreted_only
async def test_calls_from_a_write_to_the_system_call(peers: Peers) -> None:
    transport, _, server = await peers.connect(Recorder)
    counts = []
    for _ in range(5):
        with Calls("write", "_try") as calls:
            transport.write(b"x" * 64)
            await turns(2)
        counts.append(calls.count)
        await until(lambda: len(server.received) % 64 == 0)
        await acknowledged(transport)  # the ACK would ride on the next segment
    assert 20 < min(counts) <= 45, counts  # on a busy machine, pacing and probes add some
    transport.close()


@interpreted_only
async def test_calls_from_a_datagram_to_data_received(peers: Peers) -> None:
    transport, _, server = await peers.connect(Recorder)
    counts = []
    for number in range(1, 6):
        with Calls("_readable", "data_received") as calls:
            transport.write(b"x" * 64)
            await until(lambda: len(server.received) >= 64 * number)  # noqa: B023
        counts.append(calls.count)
        await acknowledged(transport)
    assert 15 < min(counts) <= 28, counts
    transport.close()
