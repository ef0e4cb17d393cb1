"""The driver: bounded batches, one flush behind the wakeups, one lazy timer, a link that has no room."""

import asyncio
import errno
import socket
from collections import deque
from typing import Any, NoReturn

import pytest

from tests.aio.peers import FAST, GIVES_UP, Peers, Polite, Recorder, connection_of, turns, until
from utcp import Config, Endpoint, Transport
from utcp.aio.driver import BATCH, READ_AGAIN
from utcp.link.base import SendError
from utcp.link.udp import UdpLink
from utcp.tcp.observer import Observer
from utcp.tcp.transmit import Remote, Transmit
from utcp.wire import SYN, Segment, encode

pytestmark = pytest.mark.usefixtures("replaceable")


def link_of(endpoint: Endpoint) -> UdpLink:
    assert isinstance(endpoint.link, UdpLink)
    return endpoint.link


def segments(peers: Peers) -> int:
    return peers.client.stack.counters.out_segs + peers.server.stack.counters.out_segs


async def test_a_hundred_echoes_at_a_time_cost_few_segments_and_system_calls(peers: Peers) -> None:
    """The applications run before the flush: their data and FIN share segments with the ACKs."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    async def ask() -> None:
        reader, writer = await peers.client.open_connection(peers.host, peers.port)
        writer.write(b"x" * 64)
        writer.write_eof()
        assert await reader.read() == b"x" * 64
        writer.close()
        await writer.wait_closed()

    await peers.server.start_server(echo)
    await ask()
    before = segments(peers)
    links = [link_of(peers.client), link_of(peers.server)]
    calls = sum(link.counters.send_calls + link.counters.receive_calls for link in links)
    await asyncio.gather(*(ask() for _ in range(100)))
    # SYN, SYN-ACK, ACK with data and FIN, the same from the other side, ACK.
    assert segments(peers) - before == 500
    assert sum(link.counters.send_calls + link.counters.receive_calls for link in links) - calls <= 100


async def test_a_flush_that_was_asked_for_before_the_batch_waits_for_those_whom_the_batch_wakes(peers: Peers) -> None:
    accepted: list[asyncio.StreamWriter] = []
    await peers.server.start_server(lambda _, writer: accepted.append(writer))
    reader, writer = await peers.client.open_connection(peers.host, peers.port)
    await until(lambda: accepted)

    async def close_after_eof() -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    closing = asyncio.create_task(close_after_eof())
    await turns(5)
    driver = peers.client.driver
    driver.loop.remove_reader(driver.link.fileno())
    accepted[0].close()
    await turns(5)
    before = peers.client.stack.counters.out_segs
    driver.schedule_flush()
    driver._readable()
    driver.loop.add_reader(driver.link.fileno(), driver._readable)
    await closing
    # ACK and FIN in one.
    assert peers.client.stack.counters.out_segs == before + 1


async def test_a_bulk_sender_leaves_turns_to_others(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: set[int] = set()
    link = link_of(peers.server)
    receive = link.receive

    def bounded(limit: int) -> Any:
        limits.add(limit)
        return receive(2)

    monkeypatch.setattr(link, "receive", bounded)
    transport, client, server = await peers.connect(Recorder)
    transport.write(b"x" * 3_000_000)
    transport.close()
    await until(lambda: server.lost and client.lost)
    assert len(server.received) == 3_000_000
    assert limits == {1, BATCH}


async def test_one_flush_for_all_that_a_turn_writes(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    transport, _, server = await peers.connect(Recorder)
    await turns(5)
    flushes = 0
    flush = peers.client.driver.flush

    def counted() -> None:
        nonlocal flushes
        flushes += 1
        flush()

    monkeypatch.setattr(peers.client.driver, "flush", counted)
    for _ in range(100):
        transport.write(b"x")
    await turns(1)
    assert flushes == 1
    await until(lambda: len(server.received) == 100)


async def test_the_timer_is_not_made_anew_for_every_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def counted(delay: float, callback: Any, *args: Any, **options: Any) -> asyncio.TimerHandle:
        nonlocal made
        made += callback.__name__ == "_on_timer"
        return call_later(delay, callback, *args, **options)

    async with Peers(Config(msl=0.05, close_timeout=30, delayed_ack=0.4)) as peers:
        transport, _, server = await peers.connect(Recorder)
        await turns(5)
        monkeypatch.setattr(loop, "call_later", counted)
        began = loop.time()
        for count in range(1, 101):
            transport.write(b"x")
            await until(lambda count=count: len(server.received) == count)  # type: ignore[misc]  # a loop variable, bound
        # Each side's delayed ACK and retransmission, every few tenths of a second; not one for each of 150 segments.
        assert made <= 20 + 20 * (loop.time() - began)


async def test_no_timer_is_left_when_nothing_is_waited_for(peers: Peers) -> None:
    transport, client, server = await peers.connect(Recorder)
    transport.close()
    await until(lambda: client.lost and server.lost)
    assert peers.client.stack.counters.time_waits == 1
    await until(lambda: not len(peers.client.stack.time_wait))
    await until(lambda: peers.client.driver._timer is None and peers.server.driver._timer is None)


async def test_the_timer_never_spins(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []
    loop = asyncio.get_running_loop()

    real = loop.call_later

    def call_later(delay: float, callback: Any, **options: Any) -> asyncio.TimerHandle:
        delays.append(delay)
        return real(delay, callback, **options)

    monkeypatch.setattr(loop, "call_later", call_later)
    driver = peers.client.driver
    monkeypatch.setattr(driver.link, "now", lambda: 100.0)
    for deadline in (99.0, 100.0, 100.0001, 100.0011, 100.5):
        monkeypatch.setattr(driver.stack, "next_timeout", lambda deadline=deadline: deadline)
        if driver._timer is not None:
            driver._timer.cancel()
        driver._timer = None
        driver._arm()
    assert delays == pytest.approx([0.001, 0.001, 0.001, 0.002, 0.5])


class Crowded:
    """Makes a UdpLink's kernel refuse to take more, until `room`."""

    def __init__(self, link: UdpLink, monkeypatch: pytest.MonkeyPatch) -> None:
        self.link = link
        self.waiting: deque[Transmit] = deque()
        self.room = False
        self.asked = 0
        self._send = link.send
        monkeypatch.setattr(link, "send", self.send)
        monkeypatch.setattr(link, "flush_pending", self.flush_pending)
        monkeypatch.setattr(link, "pending", self.waiting)

    def send(self, transmits: list[Transmit]) -> list[SendError]:
        self.asked += 1
        self.waiting.extend(transmits)
        return []

    def flush_pending(self) -> list[SendError]:
        if self.room:
            transmits = list(self.waiting)
            self.waiting.clear()
            return self._send(transmits)
        return []


async def test_without_room_nothing_more_is_asked_of_the_stack(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    transport, client, server = await peers.connect(Recorder)
    await turns(5)
    crowded = Crowded(link_of(peers.client), monkeypatch)
    transport.write(b"first")
    await until(lambda: crowded.asked)
    transport.write(b" second")
    await turns(5)
    assert crowded.asked == 1
    assert connection_of(transport).info().notsent_bytes == len(" second")
    crowded.room = True
    await until(lambda: server.received == b"first second")
    transport.close()
    await until(lambda: client.lost)
    assert client.lost == [None]


@pytest.mark.defect(90)
async def test_without_room_strangers_are_answered_all_the_same(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their answers must not pile up, and the link has room for them, or drops them."""
    transport, client, _ = await peers.connect(Recorder)
    await turns(5)
    link = link_of(peers.client)
    crowded = Crowded(link, monkeypatch)
    transport.write(b"first")
    await until(lambda: crowded.asked == 1)
    transport.write(b" second")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        syn = Segment(50001, 81, 1, 0, SYN)
        stranger.sendto(encode(syn), link.address)
        await until(lambda: crowded.asked == 2)
    assert [transmit.unverified for transmit in crowded.waiting] == [False, True]
    assert connection_of(transport).info().notsent_bytes == len(" second")
    crowded.room = True
    transport.close()
    await until(lambda: client.lost)


async def test_closing_without_room_leaves_no_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Peers(GIVES_UP) as peers:
        transport, _, _ = await peers.connect(Recorder)
        await turns(5)
        crowded = Crowded(link_of(peers.client), monkeypatch)
        transport.write(b"stuck")
        await until(lambda: crowded.asked)
        descriptor = peers.client.link.fileno()
        await peers.client.aclose()
        loop = asyncio.get_running_loop()
        assert not loop.remove_writer(descriptor)
        assert not loop.remove_reader(descriptor)
        peers.abort_server()


async def test_a_send_error_is_soft_once_connected(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Peers(Config(msl=0.05, rto_initial=0.02, rto_min=0.02)) as peers:
        transport, client, server = await peers.connect(Recorder)
        await turns(5)
        failures: list[int] = []

        def fail(transmits: list[Transmit]) -> list[SendError]:
            failures.append(len(transmits))
            return [SendError(transmit.remote, errno.ENETUNREACH, transmit.flows()) for transmit in transmits]

        monkeypatch.setattr(link_of(peers.client), "send", fail)
        transport.write(b"data")
        await until(lambda: failures)
        monkeypatch.undo()
        await until(lambda: server.received == b"data")
        transport.close()
        await until(lambda: client.lost)
        assert client.lost == [None]


def test_a_keyboard_interrupt_in_a_callback_leaves_the_other_connections_whole() -> None:
    """From a batch, and from a flush that tells what users' own calls have ended."""

    class Quitting(Recorder):
        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            raise KeyboardInterrupt

    class Interrupted(Polite):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            raise KeyboardInterrupt

    peers = Peers(FAST)
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(peers.__aenter__())
        _ = loop.run_until_complete(peers.server.create_server(peers.remember(Interrupted, Polite)))
        clients = [
            loop.run_until_complete(peers.client.create_connection(kind, peers.host, peers.port))
            for kind in (Quitting, Recorder)
        ]
        loop.run_until_complete(until(lambda: len(peers.accepted) == 2))
        for transport, _ in clients:
            transport.write(b"data")
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(until(lambda: False))
        loop.run_until_complete(until(lambda: peers.accepted[1].received == b"data"))

        for (transport, _), accepted in zip(clients, peers.accepted, strict=True):
            assert isinstance(transport, Transport)
            transport.pause_reading()
            accepted.transport.write(b"unread")
            loop.run_until_complete(until(lambda transport=transport: connection_of(transport).readable))  # type: ignore[misc]  # a loop variable, bound
        for transport, _ in clients:
            transport.close()
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(until(lambda: False))
        loop.run_until_complete(turns(3))
        assert clients[1][1].lost
        loop.run_until_complete(peers.__aexit__())
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


class Breaks(Observer):
    """An application's observer with a bug."""

    def __init__(self) -> None:
        self.calls = 0

    def segment_received(self, remote: Remote, segment: Segment, now: float) -> None:
        self.calls += 1
        raise LookupError("the observer's own bug")


@pytest.fixture
async def reported() -> list[dict[str, Any]]:
    """What the loop's exception handler is told."""
    contexts: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
    return contexts


@pytest.mark.defect(91)
@pytest.mark.usefixtures("contained")
async def test_an_observer_that_breaks_is_told_of_once_and_harms_nobody(reported: list[dict[str, Any]]) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    config = Config(rto_initial=0.2, msl=0.01)
    breaks = Breaks()
    async with (
        Endpoint(("127.0.0.1", 0), config=config, observer=breaks) as far,
        Endpoint(("127.0.0.1", 0), config=config) as near,
    ):
        await far.start_server(echo)
        reader, writer = await near.open_connection("127.0.0.1", far.address[1])
        writer.write(b"question")
        writer.write_eof()
        assert await reader.read() == b"question"
        writer.close()
        await writer.wait_closed()
    (context,) = reported
    assert isinstance(context["exception"], LookupError)
    assert "Breaks" in context["message"]
    assert breaks.calls == 1


@pytest.mark.defect(91)
async def test_what_a_flush_raises_costs_no_timer(
    peers: Peers, reported: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither does what is to follow it."""
    transport, client, server = await peers.connect(Recorder)
    await turns(5)
    driver = peers.client.driver
    raised: list[str] = []

    def fails(name: str) -> Any:
        def call(*_: object) -> None:
            raised.append(name)
            monkeypatch.undo()
            raise LookupError(name)

        return call

    monkeypatch.setattr(link_of(peers.client), "send", fails("send"))
    transport.write(b"data")
    await until(lambda: raised)
    assert driver._timer is not None
    await until(lambda: server.received == b"data")
    assert peers.client.stack.counters.retrans_segs == 0  # what was not the cause left at once
    after = fails("after")

    def follow() -> None:
        driver.call_after_flush(None)
        after()

    driver.call_after_flush(follow)
    driver.schedule_flush()
    await until(lambda: len(raised) == 2)
    transport.write(b" and more")
    await until(lambda: server.received == b"data and more")
    transport.close()
    await until(lambda: client.lost)
    assert [str(context["exception"]) for context in reported] == ["send", "after"]


@pytest.mark.defect(91)
async def test_a_link_that_cannot_receive_is_tried_again_and_again_by_one_timer(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failure made a timer, whose failure made the next: thousands in a second."""
    transport, client, server = await peers.connect(Recorder)
    driver = peers.client.driver
    calls = 0

    def fails(_: int) -> NoReturn:
        nonlocal calls
        calls += 1
        raise MemoryError

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    monkeypatch.setattr(link_of(peers.client), "receive", fails)
    for _ in range(20):
        driver.read()
    before = calls
    await asyncio.sleep(10 * READ_AGAIN)
    assert 0 < calls - before <= 12
    monkeypatch.undo()
    transport.write(b"data")
    await until(lambda: server.received == b"data")
    transport.close()
    await until(lambda: client.lost)


@pytest.mark.defect(91)
async def test_an_interrupt_in_a_flush_costs_no_timer(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    transport, client, server = await peers.connect(Recorder)
    await turns(5)
    driver = peers.client.driver

    def interrupted(*_: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    def is_armed() -> bool:
        return driver._timer is not None

    monkeypatch.setattr(link_of(peers.client), "send", interrupted)
    monkeypatch.setattr(driver, "_flushes", 1)
    if driver._timer is not None:
        driver._timer.cancel()
        driver._timer = None
    transport.write(b"data")
    with pytest.raises(KeyboardInterrupt):
        driver._flush()
    assert is_armed()
    await until(lambda: server.received == b"data")
    transport.close()
    await until(lambda: client.lost)
    assert client.lost == [None]
