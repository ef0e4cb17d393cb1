"""Limits on what is sent in answer to segments that prove nothing about their sender."""

from math import inf
from typing import Final

from utcp._compiled import mypyc_attr

TO_SYN: Final = 0
TO_RST: Final = 1
TO_ACK: Final = 2
TO_DATA: Final = 3
TO_KEEPALIVE: Final = 4
"""The kinds of segments that are answered although they prove nothing about their sender."""
KINDS: Final = 5

_LONGEST: Final = 16
"""How far the time between answers to ACKs grows, as a multiple of what it is at first."""


@mypyc_attr(acyclic=True)
class AnswerLimits:
    """The last answer of one connection to each kind of segment that proves nothing (RFC 5961 7).

    Each kind has its own limit, so that a flood of one kind does not use up the answers to another.
    """

    __slots__ = ("_ack_interval", "_last")

    def __init__(self) -> None:
        self._last = [-inf] * KINDS
        self._ack_interval = 0.0
        """Seconds that must pass between the last answer to an ACK and the next."""

    def take(self, kind: int, now: float, interval: float) -> bool:
        """Whether a segment of this kind may be answered at `now`: `interval` seconds after the last one.

        An ACK may itself be the peer's answer to our last one, and its round trip longer than `interval`. So the time
        between answers to ACKs doubles from one to the next, up to _LONGEST times `interval`, and begins anew after a
        pause of twice that: two stacks that disagree about what was sent stop answering each other.
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
    """`rate` tokens a second trickle in, at most `burst` are kept; it begins full."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Take a token at `now` (seconds); false when there is none."""
        tokens = self._tokens
        if now > self._at:
            tokens = min(self._burst, tokens + (now - self._at) * self._rate)
            self._at = now
        if tokens < 1:
            self._tokens = tokens
            return False
        self._tokens = tokens - 1
        return True
