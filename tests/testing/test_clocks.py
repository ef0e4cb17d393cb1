"""Hosts whose clocks run fast or slow."""

import asyncio
import io
import math
import time

import pytest

import utcp
from tests.testing.apps import PORT, ask, serve
from tests.testing.hosts import QUICK
from utcp import Config
from utcp.testing import DROP, PASS, Network, NetworkCapture, Packet
from utcp.trace.capture_file import packets
from utcp.wire import SYN


@pytest.mark.parametrize("rate", [0.5, 0.9, 1 + 1e-9, 1.1, 2, 1 / 3])
def test_timers_follow_the_clock_of_the_host(simnet: Network, rate: float) -> None:
    host = simnet.host("host", clock_rate=rate)

    async def tick() -> list[tuple[float, float]]:
        loop, seen = asyncio.get_running_loop(), []
        for number in range(1, 50):
            due = loop.time() + number / 7
            await asyncio.sleep(number / 7)
            seen.append((loop.time(), simnet.loop.now))
            assert due <= loop.time() <= math.nextafter(math.nextafter(due, math.inf), math.inf)
        return seen

    async def scenario() -> list[tuple[float, float]]:
        await asyncio.sleep(100)
        assert simnet.loop.time() == simnet.loop.now == 100
        return await host.run(tick())

    for shown, now in simnet.run(scenario()):
        assert shown == now * rate


def test_the_time_of_a_timer_is_that_of_the_clock_that_set_it(simnet: Network) -> None:
    host = simnet.host("host", clock_rate=4)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        handle = loop.call_later(8, lambda: None)
        assert handle.when() == loop.time() + 8
        async with asyncio.timeout(4):
            await asyncio.sleep(2)
        assert simnet.loop.now == 0.5
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.sleep(10)
        assert simnet.loop.now == 1

    async def main() -> None:
        await host.run(scenario())

    simnet.run(main())


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
def test_a_clock_runs_forwards(simnet: Network, rate: float) -> None:
    with pytest.raises(ValueError, match="clock_rate must be above 0"):
        simnet.host("host", clock_rate=rate)


def test_retransmissions_come_by_the_clock_of_the_sender(simnet: Network) -> None:
    """A clock that is fast by half sends the SYN again after two thirds of a second."""
    client, server = simnet.host("client", clock_rate=1.5), simnet.host("server")

    def rule(packet: Packet) -> object:
        return DROP if packet.segment is not None and packet.segment.flags == SYN else PASS

    async def scenario() -> None:
        server.start(lambda: serve(QUICK))
        with simnet.rule(rule), pytest.raises(TimeoutError):  # type: ignore[arg-type]
            await client.run(ask("server", b"?", QUICK))

    simnet.run(scenario())
    sent = [sent.packet.time for sent in simnet.trace]
    assert sent == pytest.approx([0, 1 / 1.5, 3 / 1.5])


@pytest.mark.parametrize(("near", "far"), [(0.7, 1.6), (1.6, 0.7)])
def test_clocks_of_two_ends_need_not_agree(simnet: Network, near: float, far: float) -> None:
    """TCP timestamps count only at the end that has set them (RFC 7323 3.2), so that data, RTO and TIME_WAIT work."""
    client, server = simnet.host("client", clock_rate=near), simnet.host("server", clock_rate=far)
    simnet.link(client, server, latency=0.02, loss=0.1, bandwidth=1e7)

    async def scenario() -> None:
        server.start(lambda: serve(QUICK))
        for size in (0, 1, 300_000):
            question = bytes(range(256)) * (size // 256 + 1)
            assert await client.run(ask("server", question)) == question

    simnet.run(scenario())


def test_data_that_a_slow_clock_sends_come_after_the_deadline_of_the_other(simnet: Network) -> None:
    """The client expects the server's data within 12 s. The server sends them after 10 s of its slow clock."""
    client, server = simnet.host("client"), simnet.host("server", clock_rate=0.8)

    async def beat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(10)
        writer.write(b"beat")
        writer.close()

    async def listen() -> None:
        await utcp.start_server(beat, "0.0.0.0", PORT)

    async def expect(seconds: float) -> bytes:
        reader, writer = await utcp.open_connection("server", PORT)
        try:
            async with asyncio.timeout(seconds):
                return await reader.read()
        finally:
            writer.close()

    async def scenario() -> None:
        await server.run(listen())
        with pytest.raises(TimeoutError):
            await client.run(expect(12))
        assert await client.run(expect(13)) == b"beat"

    simnet.run(scenario())


def test_a_capture_has_the_time_of_the_network(simnet: Network) -> None:
    """The receiver's comment belongs to the packet that has arrived, whatever the receiver's clock shows."""
    client, server = simnet.host("client", clock_rate=3), simnet.host("server", clock_rate=0.3)
    simnet.link(client, server, latency=0.05)
    capture = NetworkCapture(simnet)

    async def scenario() -> None:
        server.start(lambda: serve(Config(msl=0.5)))
        await client.run(ask("server", b"?"))
        await asyncio.sleep(10)

    simnet.run(scenario())
    file = io.BytesIO()
    capture.write(file)
    file.seek(0)
    comments = [packet.comment for packet in packets(file)]
    assert len(comments) == len(simnet.trace)
    assert all(comment.count("\n") == 1 for comment in comments)  # one of the sender, and one of the receiver


async def test_wall_clocks_that_disagree(simnet: Network) -> None:
    """An offset concerns the wall clock only, and may change, as when NTP sets the clock."""
    early, late = simnet.host("early", clock_offset=-30), simnet.host("late", clock_offset=3600.5)
    began = time.time()

    async def clocks() -> tuple[float, float, float]:
        return time.time() - began, time.time_ns() / 1e9 - began, asyncio.get_running_loop().time()

    assert await early.run(clocks()) == pytest.approx((-30, -30, 0))
    assert await late.run(clocks()) == pytest.approx((3600.5, 3600.5, 0))
    await asyncio.sleep(10)
    early.clock_offset = 0.0
    assert await early.run(clocks()) == pytest.approx((10, 10, 10))
    early.restart()
    assert await early.run(clocks()) == pytest.approx((10, 10, 10))
