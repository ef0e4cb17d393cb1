"""A stream is read at intervals (`utcp.aio.moderation`). It waits for a millisecond at most, and nothing else waits."""

import asyncio
import select
import socket
from collections.abc import Callable, Coroutine
from errno import ENOMEM
from math import inf
from typing import Any, TypeAlias, cast

import pytest

import utcp
from utcp.aio import moderation
from utcp.aio.moderation import PAUSE
from utcp.link.base import Link
from utcp.link.udp import UdpLink
from utcp.tcp.transmit import Transmit
from utcp.testing import DROP, PASS, Network, Packet, Verdict
from utcp.testing.link import SimulatedLink
from utcp.wire import FIN

PORT = 9000
RATE = 50e6
"""Bits per second: a full-sized packet every quarter of a millisecond."""
QUIET = 0.2
BEGUN = 0.5
"""Seconds of virtual time, after which a stream has the path's rate and is moderated."""
END = 0.9
SOON = 1e-6


@pytest.fixture(autouse=True)
def _short_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moderation, "QUIET", QUIET)


Program: TypeAlias = Callable[["Sink"], Coroutine[Any, Any, None]]


class Receiver(asyncio.Protocol):
    """What has arrived, and when."""

    def __init__(self) -> None:
        self.received: list[tuple[float, int]] = []
        self.eof_at = 0.0
        self.octets = 0

    def connection_made(self, transport: Any) -> None:
        self.transport: utcp.Transport = transport

    def data_received(self, data: bytes) -> None:
        self.octets += len(data)
        self.received.append((asyncio.get_running_loop().time(), self.octets))

    def eof_received(self) -> None:  # and then the transport closes
        self.eof_at = asyncio.get_running_loop().time()


class Sink:
    """A host that receives from another one."""

    def __init__(self, net: Network, latency: float = 0.01, bandwidth: float | None = RATE) -> None:
        self.net = net
        self.server, self.client = net.host("server"), net.host("client")
        net.link(self.server, self.client, latency=latency, bandwidth=bandwidth)
        self.receivers: list[Receiver] = []

    async def receive(self, send: Program, beside: Program | None = None) -> None:
        """Run `send` on the client with a connection to the server, and `beside` on the server meanwhile."""

        def made() -> Receiver:
            self.receivers.append(Receiver())
            return self.receivers[-1]

        async def serve() -> None:
            async with utcp.Endpoint(("0.0.0.0", PORT)) as endpoint:
                self.link = cast("SimulatedLink", endpoint.link)
                await endpoint.create_server(made, PORT)
                await asyncio.Event().wait()

        async def connect() -> None:
            config = utcp.Config(nodelay=True, send_buffer=200_000)  # a flight, and a short queue
            _, self.writer = await utcp.open_connection("server", PORT, config=config)
            await send(self)
            self.writer.close()
            await self.writer.wait_closed()

        serving = self.server.run(serve())
        await asyncio.sleep(0.01)
        sending = self.client.run(connect())
        if beside is not None:
            await self.server.run(beside(self))
        await sending
        serving.cancel()

    async def until(self, time: float) -> None:
        await asyncio.sleep(time - self.net.loop.time())

    @property
    def arrivals(self) -> list[tuple[float, int]]:
        """When each segment with text arrived for the first time, and the octets until its end."""
        times, octets = [], 0
        for sent in self.net.trace:
            segment = sent.packet.segment
            if sent.packet.source == "client" and segment is not None and segment.payload:
                octets += len(segment.payload)
                times += [(time, octets) for time in sent.arrivals[:1]]
        return times

    def delays(self, since: float = 0.0, until: float = inf) -> list[float]:
        """How long each segment that arrived between `since` and `until` waited to be read."""
        received = iter(self.receivers[0].received)
        time, octets = next(received)
        waited = []
        for arrived, end in self.arrivals:
            while octets < end:
                time, octets = next(received)
            if since <= arrived < until:
                waited.append(time - arrived)
        return waited


async def stream(sink: Sink) -> None:
    """As fast as the path allows."""
    while sink.net.loop.time() < END:
        sink.writer.write(bytes(1 << 15))
        await sink.writer.drain()


def every(interval: float, segments: int) -> Program:
    """So many full-sized segments together, again and again."""

    async def send(sink: Sink) -> None:
        while sink.net.loop.time() < END:
            sink.writer.write(bytes(1440 * segments))
            await asyncio.sleep(interval)

    return send


def test_a_stream_is_read_once_a_millisecond(simnet: Network) -> None:
    sink = Sink(simnet)
    simnet.run(sink.receive(stream))
    waited = sink.delays(BEGUN)
    assert len(waited) > 1000
    assert max(waited) <= PAUSE + SOON
    readings = {time for time, _ in sink.receivers[0].received if time >= BEGUN}
    assert len(readings) < 0.3 * len(waited)
    acks = sum(sent.packet.source == "server" and sent.packet.time >= BEGUN for sent in simnet.trace)
    assert acks < 0.3 * len(waited)


def test_its_fin_waits_a_pause_at_most(simnet: Network) -> None:
    sink = Sink(simnet)
    simnet.run(sink.receive(stream))
    fins = [sent.arrivals[0] for sent in simnet.trace if sent.packet.segment and sent.packet.segment.flags & FIN]
    assert 0 <= sink.receivers[0].eof_at - fins[0] <= PAUSE + SOON


@pytest.mark.parametrize(
    ("latency", "bandwidth", "send"),
    [
        pytest.param(0.004, RATE, stream, id="a short round trip"),
        pytest.param(0.01, 10e6, stream, id="segments further apart than a pause"),
        pytest.param(0.01, None, every(0.003, 1), id="lone segments"),
        pytest.param(0.01, None, every(0.0009, moderation.FEW + 1), id="batches"),
    ],
)
def test_anything_else_is_read_as_it_arrives(
    simnet: Network, latency: float, bandwidth: float | None, send: Program
) -> None:
    sink = Sink(simnet, latency, bandwidth)
    simnet.run(sink.receive(send))
    assert len(sink.delays(BEGUN)) > 100
    assert max(sink.delays()) <= SOON


def test_nothing_waits_while_this_end_waits_for_something(simnet: Network) -> None:
    """What this end sends ends a pause at once, and none begins for QUIET."""
    sink = Sink(simnet)

    async def write(sink: Sink) -> None:
        await sink.until(BEGUN)
        assert not sink.link.is_watched
        sink.receivers[0].transport.write(b"?")
        for _ in range(3):
            await asyncio.sleep(0)
        assert sink.link.is_watched

    simnet.run(sink.receive(stream, write))
    assert max(sink.delays(BEGUN + SOON, BEGUN + QUIET)) <= SOON
    assert max(sink.delays(BEGUN + QUIET)) > SOON


def test_no_pause_begins_behind_an_answer_that_has_just_left(simnet: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol's answer leaves in the turn of its question, after the reading has allowed a pause."""
    monkeypatch.setattr(moderation.Moderation, "begins", lambda *_: True)
    monkeypatch.setattr(moderation.Moderation, "is_asked", lambda *_: True)
    sink = Sink(simnet)
    simnet.run(sink.receive(stream))
    assert max(sink.delays()) <= SOON


def test_a_handshake_of_somebody_else_waits_a_pause_at_most_and_ends_them(simnet: Network) -> None:
    sink = Sink(simnet)
    other = simnet.host("other")
    simnet.link(sink.server, other, latency=0.01)

    async def connect() -> None:
        begun = simnet.loop.time()
        _, writer = await utcp.open_connection("server", PORT)
        assert simnet.loop.time() - begun <= 0.02 + PAUSE + SOON
        assert sink.link.is_watched
        await asyncio.sleep(0.05)
        writer.transport.abort()

    async def have_one_open(sink: Sink) -> None:
        await sink.until(BEGUN)
        assert not sink.link.is_watched
        await other.run(connect())

    simnet.run(sink.receive(stream, have_one_open))
    assert len(sink.receivers) == 2


def test_a_gap_ends_the_pauses(simnet: Network) -> None:
    """So that the ACKs of what follows it leave one by one, and fast retransmit begins as soon as without pauses."""
    sink = Sink(simnet)
    watched: list[bool] = []

    def lose_one(packet: Packet) -> Verdict:
        if packet.source == "client" and packet.time > BEGUN and not watched:
            watched.append(sink.link.is_watched)
            return DROP
        return PASS

    async def look(sink: Sink) -> None:
        await sink.until(BEGUN + 0.03)
        watched.append(sink.link.is_watched)

    with simnet.rule(lose_one):
        simnet.run(sink.receive(stream, look))
    assert watched == [False, True]


@pytest.mark.parametrize("wanted", [False, True], ids=["a pause", "the end of the pauses"])
def test_a_system_call_that_fails_once_stops_no_reading(
    simnet: Network, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    sink = Sink(simnet)
    failed: list[float] = []
    reported: list[str] = []
    watch_input = SimulatedLink.watch_input

    def fail_once(link: SimulatedLink, watched: bool) -> bool:
        if watched is wanted and not failed:
            failed.append(simnet.loop.time())
            raise OSError(ENOMEM, "no memory")
        return watch_input(link, watched)

    async def note_reports(_: Sink) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))

    monkeypatch.setattr(SimulatedLink, "watch_input", fail_once)
    simnet.run(sink.receive(stream, note_reports))
    assert failed
    assert len(reported) == 1
    assert max(sink.delays()) <= 0.01 + 2 * PAUSE + SOON


async def test_a_link_of_a_socket_does_not_wake_the_loop_in_a_pause() -> None:
    with_epoll = hasattr(select, "epoll")
    receiver, sender = (UdpLink.bind(socket.AF_INET, ("127.0.0.1", 0)) for _ in range(2))

    def is_readable(link: Link) -> bool:
        return bool(select.select([link.fileno()], [], [], 0.2)[0])

    try:
        assert receiver.watch_input(False) is with_epoll
        assert receiver.watch_room(False) is with_epoll  # the two do not disturb each other
        sender.send([Transmit(sender.remote(receiver.address), [b"x"], 1)])
        assert is_readable(receiver) is not with_epoll
        assert receiver.watch_input(True) is with_epoll
        assert is_readable(receiver)
        assert [datagram.data for datagram in receiver.receive()] == [b"x"]
        assert not is_readable(receiver)
    finally:
        receiver.close()
        sender.close()


@pytest.mark.usefixtures("replaceable")
async def test_a_link_that_cannot_pause_is_read_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A TUN link, and a UDP link where there is no epoll."""
    monkeypatch.setattr(moderation.Moderation, "begins", lambda *_: True)
    monkeypatch.setattr("utcp.link.platform.UdpLink.watch_input", lambda *_: False)
    received = asyncio.get_running_loop().create_future()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.set_result(len(await reader.read()))
        writer.close()

    async with utcp.Endpoint(("127.0.0.1", 0)) as endpoint:
        server = await endpoint.start_server(receive)
        _, writer = await utcp.open_connection(*server.sockets[0].getsockname()[:2])
        writer.write(bytes(1 << 20))
        writer.close()
        await writer.wait_closed()
        assert await received == 1 << 20
