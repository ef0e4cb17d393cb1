"""Rate limits of answers to segments whose sender is unverified."""

from math import inf
from typing import Final

from utcp._compiled import mypyc_attr

# The kinds of segments from unverified senders that are answered.
TO_SYN: Final = 0
TO_RST: Final = 1
TO_ACK: Final = 2
TO_DATA: Final = 3
TO_KEEPALIVE: Final = 4
KINDS: Final = 5

_LONGEST: Final = 16
"""Longest time between answers to ACKs, as a multiple of the initial time."""


@mypyc_attr(acyclic=True)
class AnswerLimits:
    """The time of the last answer of one connection to each kind of segment (RFC 5961 7).

    Each kind has its own limit, so that a flood of one kind does not use up the answers to another.
    """

    __slots__ = ("_ack_interval", "_last")

    def __init__(self) -> None:
        self._last = [-inf] * KINDS
        self._ack_interval = 0.0
        """Shortest time between the last answer to an ACK and the next, seconds."""

    def take(self, kind: int, now: float, interval: float) -> bool:
        """Take one answer to a segment of this kind, of which one is allowed in `interval` seconds. Return False if no
        answer may be sent.

        An ACK may itself be the peer's answer to our last one, after a round trip longer than `interval`. So the time
        between answers to ACKs doubles with each answer, up to _LONGEST times `interval`, and is reset after a pause of
        twice that time. In this way two stacks with contradicting sequence numbers stop answering each other.
        """
        since = now - self._last[kind]
        if kind == TO_ACK:
            if since < self._ack_interval:
                return False
            longest = _LONGEST * interval
            self._ack_interval = min(2 * self._ack_interval, longest) if since < 2 * longest else interval
        elif since < interval:
            return False
        self._last[kind] = now
        return True


class TokenBucket:
    """A token bucket that gains `rate` tokens a second, holds at most `burst`, and is full initially."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Take a token at `now` (seconds). Return False if there is none."""
        tokens = self._tokens
        if now > self._at:
            tokens = min(self._burst, tokens + (now - self._at) * self._rate)
            self._at = now
        if tokens < 1:
            self._tokens = tokens
            return False
        self._tokens = tokens - 1
        return True
