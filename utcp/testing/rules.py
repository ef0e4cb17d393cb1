"""Rules: who sees each packet before its path does, and may drop or delay it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from utcp.wire import MalformedSegment, Segment, decode


@dataclass(frozen=True, slots=True)
class Packet:
    """A datagram on its way, as rules see it."""

    number: int
    """Counts from 0 over the whole network, in the order of sending."""
    time: float
    """Virtual seconds."""
    source: str
    """Names of hosts."""
    destination: str
    data: bytes
    ecn: int = 0
    """The two ECN bits, as sent."""

    @property
    def segment(self) -> Segment | None:
        """The TCP segment inside; None when it is none."""
        try:
            return decode(self.data)
        except MalformedSegment:
            return None


class Verdict(enum.Enum):
    """What a rule says about a packet: the path decides, or nobody gets it."""

    PASS = enum.auto()
    DROP = enum.auto()


PASS: Final = Verdict.PASS
DROP: Final = Verdict.DROP

Rule: TypeAlias = Callable[[Packet], Verdict | float]
"""Decides on a packet: PASS, DROP, or the seconds that it takes longer than the path's latency; it is not lost then."""


def nth(number: int, matches: Callable[[Segment], object], verdict: Verdict | float = DROP) -> Rule:
    """A rule for one segment: the `number`th (from 1) that `matches`.

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
