"""The record of all packets that a simulated network has carried."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from utcp.testing.path import Carried
from utcp.testing.routing import Addressed
from utcp.testing.rules import Packet


@dataclass(frozen=True, slots=True)
class Sent:
    """One entry of the network's trace: a packet and its arrival times (none, one or two).

    `hold` does not change the recorded arrival times.
    """

    packet: Packet
    arrivals: tuple[float, ...]
    ecn: int = 0
    """ECN bits (two) of the packet on arrival."""
    translated: bytes | None = None
    """The packet's data as they arrive, if a NAT has changed the TCP ports in them."""

    @property
    def arrived(self) -> bytes:
        """Return the packet's data as they arrive."""
        return self.packet.data if self.translated is None else self.translated


class Record:
    """The trace of a network and its digest."""

    def __init__(self) -> None:
        self.trace: list[Sent] = []
        self.keeps_trace = True
        self.sent = 0
        self.undelivered: set[tuple[str, float, bytes]] = set()
        self._digest = hashlib.blake2b(digest_size=16)

    def keep_trace(self, keep: bool) -> None:
        """Choose whether packets are added to the trace."""
        self.keeps_trace = keep

    def next_number(self) -> int:
        """Return the number of the packet that is sent now."""
        self.sent += 1
        return self.sent - 1

    def add(
        self, packet: Packet, carried: Carried, outside: Addressed | None = None, arrived: bytes | None = None
    ) -> None:
        """Add a packet to the digest and the trace. `outside` is the packet after the NATs of its sender, if any."""
        # For utcp without ECN the text stays as it was before there was anything else, so that digests stay the same.
        arrivals = tuple(carried.arrivals)
        marks = f" {packet.ecn}>{carried.ecn}" if packet.ecn else ""
        if packet.carrier != "utcp":
            marks += f" {packet.carrier}"
        if outside is not None:
            marks += f" {outside.source}"
        words = f"{packet.time:.9f} {packet.source} {packet.destination} {arrivals}{marks}"
        self._digest.update(words.encode() + packet.data)
        if self.keeps_trace:
            translated = None if arrived == packet.data else arrived
            self.trace.append(Sent(packet, arrivals, carried.ecn, translated))

    def note_undelivered(self, host: str, arrival: float, data: bytes) -> None:
        """Record that a packet has reached a host without a link at its address, at the time `arrival`."""
        if self.keeps_trace:
            self.undelivered.add((host, arrival, data))

    def digest(self) -> str:
        """Return a hash of all packets so far: times, bytes and arrivals."""
        return self._digest.hexdigest()
