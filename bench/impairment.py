"""Relays in real time, which impair packets between interfaces or datagrams between sockets with the simulator's code.

`Path` computes whether and when a packet arrives, and the relay waits until then. The relay's lateness is measured, so
that the load of the machine is not mistaken for a property of the path.
"""

import heapq
import math
import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from utcp.testing.path import UDP_IP_HEADERS, Path

_BATCH: Final = 64
"""Maximum number of packets read from one interface in a row, so that due packets do not wait."""

_SPIN: Final = 0.00004
"""Seconds before a packet is due within which the relay polls instead of sleeping, because a sleeping process wakes
late by about this much."""

_MAX_PACKET: Final = 65536
_PLAIN_IPV4: Final = 0x45  # version 4, a header of 20 octets
_PROTOCOL: Final = 9
_DESTINATION: Final = slice(16, 20)


@dataclass(frozen=True, slots=True)
class Port:
    """One host: its address, the descriptor of its interface or socket, and the path that starts there.

    Hosts with the same `path` share its bandwidth and its queue.
    """

    address: str
    descriptor: int
    path: Path


@dataclass(frozen=True, slots=True)
class Lateness:
    """Delay of delivered packets beyond that of the path, seconds."""

    p50: float
    p99: float
    worst: float


class Relay:
    """Carries IPv4 packets of one protocol, TCP by default, between ports. Other packets are dropped first, so that
    they take no random numbers."""

    def __init__(self, *ports: Port, protocol: int = socket.IPPROTO_TCP) -> None:
        self._protocol = protocol
        self._descriptors = {socket.inet_aton(port.address): port.descriptor for port in ports}
        self._paths = {port.descriptor: port.path for port in ports}
        self._under_way: list[tuple[float, int, int, bytes]] = []  # a heap of due time, number, descriptor, packet
        self._number = 0
        self._late: list[float] = []
        for port in ports:
            os.set_blocking(port.descriptor, False)

    def run(self, stop: int, seconds: float, priority: int = 1) -> bool:
        """Carry packets for up to `seconds`, or until the descriptor `stop` is readable. Return whether it was.
        `priority` is that of `first_in_line`."""
        under_way = self._under_way
        descriptors = [stop, *self._paths]
        end = time.monotonic() + seconds
        with first_in_line(priority):
            while (now := self._deliver()) < end:
                due = min(end, under_way[0][0]) if under_way else end
                readable = select.select(descriptors, (), (), max(0.0, due - now - _SPIN))[0]
                if stop in readable:
                    return True
                for descriptor in readable:
                    self._take(descriptor)
        return False

    @property
    def lateness(self) -> Lateness:
        late = sorted(self._late) or [0.0]
        return Lateness(late[len(late) // 2], late[math.ceil(len(late) * 0.99) - 1], late[-1])

    def _deliver(self) -> float:
        """Deliver all due packets. Return the time."""
        under_way = self._under_way
        now = time.monotonic()
        while under_way and under_way[0][0] <= now:
            due, _, descriptor, packet = heapq.heappop(under_way)
            with suppress(OSError):  # a full queue or a terminated host drops the packet, as in a network
                os.write(descriptor, packet)
            self._late.append(now - due)
            now = time.monotonic()
        return now

    def _take(self, descriptor: int) -> None:
        """Read the packets that the host behind `descriptor` has sent."""
        path = self._paths[descriptor]
        for _ in range(_BATCH):
            try:
                packet = os.read(descriptor, _MAX_PACKET)
            except BlockingIOError:
                return
            if not packet or packet[0] != _PLAIN_IPV4 or packet[_PROTOCOL] != self._protocol:
                continue
            to = self._descriptors.get(packet[_DESTINATION])
            if to is not None:
                self._forward(packet, to, path, len(packet) - UDP_IP_HEADERS)

    def _forward(self, packet: bytes, to: int, path: Path, size: int) -> None:
        """Send a packet with `size` octets of UDP payload over the path, unless the path drops it."""
        for arrival in path.carry(size, time.monotonic()):
            self._number += 1
            heapq.heappush(self._under_way, (arrival, self._number, to, packet))


class DatagramRelay(Relay):
    """Carries datagrams between the peers of two connected UDP sockets."""

    def __init__(self, one: Port, other: Port) -> None:
        super().__init__(one, other)
        self._opposite = {one.descriptor: other.descriptor, other.descriptor: one.descriptor}

    def _take(self, descriptor: int) -> None:
        path, to = self._paths[descriptor], self._opposite[descriptor]
        for _ in range(_BATCH):
            try:
                datagram = os.read(descriptor, _MAX_PACKET)
            except OSError:  # nothing more to read, or an ICMP error, because the peer has ended
                return
            self._forward(datagram, to, path, len(datagram))


@contextmanager
def first_in_line(priority: int = 1) -> Iterator[None]:
    """Run with real-time priority, if permitted, so that other load does not affect the measurement. A process with a
    higher `priority` runs before one with a lower."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)
