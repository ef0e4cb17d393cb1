"""The time that the driver stamps what it reads with: never one before it was read."""

import asyncio
import socket
from collections.abc import AsyncIterator
from math import inf
from typing import cast

import pytest

from tests.aio.peers import turns
from utcp.aio.driver import Driver
from utcp.config import Config
from utcp.link.base import Link, LinkCounters, PathError, Received, SendError
from utcp.link.path import SocketAddress
from utcp.tcp.stack import Stack
from utcp.tcp.transmit import Remote, Transmit
from utcp.wire import ACK, SYN, Segment, decode, encode

PEER: SocketAddress = ("192.0.2.1", 9)
READING = 0.015625  # exact in binary
"""Seconds that one read takes."""


class SlowLink(Link):
    """A link with a clock of its own: each look at a socket takes READING seconds, each send `sending`."""

    def __init__(self) -> None:
        self.counters = LinkCounters()
        self.clock = 100.0
        self.sending = 0.0
        self.arrived: list[bytes] = []
        self.icmp: list[PathError] = []
        self.failures: list[SendError] = []
        self.sent: list[Transmit] = []
        self.pending: list[str] = []
        self._sockets = socket.socketpair()

    def fileno(self) -> int:
        return self._sockets[0].fileno()

    def now(self) -> float:
        return self.clock

    def receive(self, limit: int = 512) -> list[Received]:
        self.clock += READING  # what is returned may have arrived at the end of it
        arrived, self.arrived = self.arrived, []
        return [Received(data, PEER, None, 0) for data in arrived]

    def path_errors(self) -> list[PathError]:
        if self.icmp:
            self.clock += READING
        icmp, self.icmp = self.icmp, []
        return icmp

    def send(self, transmits: list[Transmit]) -> list[SendError]:
        self.clock += self.sending
        self.sent += transmits
        failures, self.failures = self.failures, []
        return failures

    def flush_pending(self) -> list[SendError]:
        self.pending = []
        return self.send([])

    def peername(self, remote: Remote) -> SocketAddress:
        return cast("SocketAddress", remote)

    def mtu(self, remote: Remote) -> int:
        return 1472

    def close(self) -> None:
        for each in self._sockets:
            each.close()


class NotingStack(Stack):
    """Notes the time of each call; the next timeout is at `deadline`."""

    def __init__(self) -> None:
        super().__init__(Config(), secret=b"sixteen octets!!", mtu=lambda _: 1472)
        self.calls: list[tuple[str, float]] = []
        self.deadline: float | None = None
        self.departing: list[Transmit] = []

    def receive_datagram(
        self, data: bytes | memoryview, remote: Remote, now: float, segment_size: int | None = None, ecn: int = 0
    ) -> None:
        self.calls.append(("datagram", now))

    def path_error(self, remote: Remote, code: int, mtu: int | None, quoted: bytes, now: float) -> None:
        self.calls.append(("icmp", now))

    def path_failed(self, remote: Remote, flows: object, code: int, now: float) -> None:
        self.calls.append(("failure", now))

    def handle_timeout(self, now: float) -> None:
        self.calls.append(("timeout", now))
        self.deadline = None

    def datagrams_to_send(self, now: float) -> list[Transmit]:
        departing, self.departing = self.departing, []
        return departing

    def next_wakeup(self) -> float:
        return inf if self.deadline is None else self.deadline

    def next_timeout(self) -> float | None:
        return self.deadline

    def next_remote(self) -> Remote | None:
        return PEER


@pytest.fixture
async def link() -> AsyncIterator[SlowLink]:
    made = SlowLink()
    yield made
    made.close()


def driver_of(link: SlowLink, stack: Stack) -> Driver:
    return Driver(asyncio.get_running_loop(), link, stack, lambda *_: True)


@pytest.mark.defect(69)
async def test_a_round_trip_is_not_measured_shorter_than_it_was(link: SlowLink) -> None:
    """The answer arrives while the driver reads the socket, 10 ms after the question has left."""
    stack = Stack(Config(timestamps=False), secret=b"sixteen octets!!", mtu=link.mtu)
    driver = driver_of(link, stack)
    connection = stack.connect(PEER, 80, link.now())
    driver.flush()
    (transmit,) = link.sent
    syn = decode(b"".join(transmit.buffers))
    answer = Segment(syn.dst_port, syn.src_port, 5000, syn.seq + 1, SYN | ACK, 65535, mss=1400)
    link.clock += 0.001
    link.arrived.append(encode(answer))
    driver.read()
    assert connection.rtt.srtt >= 0.01
    driver.close()


@pytest.mark.defect(69)
async def test_what_is_read_has_the_time_at_which_reading_ended(link: SlowLink) -> None:
    stack = NotingStack()
    driver = driver_of(link, stack)
    link.arrived = [b"one", b"two"]
    link.icmp = [PathError(PEER, 111, None, b"")]
    before = link.clock
    driver.read()
    read = before + 2 * READING
    assert stack.calls == [("datagram", read), ("datagram", read), ("icmp", read)]
    driver.close()


@pytest.mark.defect(69)
async def test_a_timer_that_becomes_due_during_the_read_is_due(link: SlowLink) -> None:
    stack = NotingStack()
    driver = driver_of(link, stack)
    link.arrived = [b"one"]
    before = link.clock
    stack.deadline = before + READING / 2
    driver._expire()
    assert stack.calls == [("datagram", before + READING), ("timeout", before + READING)]
    driver.close()


@pytest.mark.defect(69)
async def test_what_comes_of_a_send_has_a_time_after_it(link: SlowLink) -> None:
    stack = NotingStack()
    driver = driver_of(link, stack)
    link.sending = READING
    stack.departing = [Transmit(PEER, [b"x"], 1)]
    link.failures = [SendError(PEER, 101, ())]
    link.icmp = [PathError(PEER, 111, None, b"")]
    before = link.clock
    driver.flush()
    after = before + 2 * READING
    assert stack.calls == [("failure", after), ("icmp", after)]

    stack.calls.clear()
    link.failures = [SendError(PEER, 101, ())]
    before = link.clock
    driver._writable()
    assert stack.calls == [("failure", before + READING)]
    driver.close()


async def test_the_stacks_time_never_goes_back(link: SlowLink) -> None:
    stack = NotingStack()
    driver = driver_of(link, stack)
    for _ in range(3):
        link.arrived = [b"one"]
        link.icmp = [PathError(PEER, 111, None, b"")]
        link.failures = [SendError(PEER, 101, ())]
        stack.departing = [Transmit(PEER, [b"x"], 1)]
        stack.deadline = link.clock
        driver._expire()
        driver.flush()
    times = [now for _, now in stack.calls]
    assert times == sorted(times)
    assert {name for name, _ in stack.calls} == {"datagram", "icmp", "failure", "timeout"}
    driver.close()
    await turns(2)


async def test_flushes_do_not_put_off_a_timer_that_is_late(link: SlowLink) -> None:
    """While SYNs arrive more often than every millisecond, a flush follows each of them."""
    stack = NotingStack()
    driver = driver_of(link, stack)
    stack.deadline = link.clock - 1
    end = driver.loop.time() + 1
    while not stack.calls and driver.loop.time() < end:
        driver.schedule_flush()
        await turns(1)
    assert [name for name, _ in stack.calls] == ["timeout"]
    driver.close()
