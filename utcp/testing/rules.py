"""Rules that inspect each packet before its path does, and that may drop or delay it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from utcp.wire import MalformedSegment, Segment, decode

Carrier: TypeAlias = Literal["utcp", "tcp", "udp"]
"""What a packet carries: a segment of utcp in a UDP datagram; a segment of a host's own TCP, directly in IP; or a UDP
datagram of an application."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet in flight, as rules see it."""

    number: int
    """Sequence number over the whole network, from 0, in order of sending."""
    time: float
    """Sending time, virtual seconds."""
    source: str
    """Name of the sending host (`Host.name`), not its address."""
    destination: str
    """Name of the receiving host."""
    data: bytes
    """One TCP segment, or with the carrier "udp" the payload of a UDP datagram."""
    ecn: int = 0
    """ECN bits (two), as sent."""
    carrier: Carrier = "utcp"
    """What the packet carries: "utcp" is a segment of utcp in UDP, "tcp" a segment of a host's own TCP in IP, and "udp"
    any other UDP datagram."""

    @property
    def segment(self) -> Segment | None:
        """Return the TCP segment in the packet, or None if it is malformed, or if the carrier is "udp"."""
        if self.carrier == "udp":
            return None
        try:
            return decode(self.data)
        except MalformedSegment:
            return None


class Verdict(enum.Enum):
    """The decision of a rule: PASS leaves the packet to its path, DROP discards it."""

    PASS = enum.auto()
    DROP = enum.auto()


PASS: Final = Verdict.PASS
DROP: Final = Verdict.DROP

Rule: TypeAlias = Callable[[Packet], Verdict | float]
"""A function of a packet that returns PASS, DROP, or a delay in seconds in addition to the path's latency. A delayed
packet is not lost."""


def nth(number: int, matches: Callable[[Segment], object], verdict: Verdict | float = DROP) -> Rule:
    """Return a rule that applies `verdict` to the `number`th segment (from 1) that `matches`.

    `nth(3, lambda segment: segment.flags & FIN)` drops the third FIN.
    """
    seen = 0

    def decide(packet: Packet) -> Verdict | float:
        nonlocal seen
        segment = packet.segment
        if segment is None or not matches(segment):
            return PASS
        seen += 1
        return verdict if seen == number else PASS

    return decide
