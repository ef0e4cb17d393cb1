"""Dynamic right-sizing of the receive buffer, by the octets that the application reads in one round trip.

In a round trip a sender can send at most the window that it was offered. The target is twice the bandwidth-delay
product, so that the window does not limit the sender, even while it doubles its rate with every round trip in slow
start (RFC 5681 3.1).
"""

from math import inf
from typing import Final

from utcp._compiled import mypyc_attr

_SHORTEST_ROUND: Final = 0.001
"""Shortest round, seconds: the timer resolution of event loops."""


@mypyc_attr(acyclic=True)
class BufferTuning:
    """Measures consecutive rounds of a round-trip time each, the first of which begins now.

    Args:
        now: the stack's time, seconds.
        rtt: the smoothed round-trip time, seconds; 0: there is none.
        received: the octets of the stream received so far.
        read: the octets of the stream read so far.
        window: the octets that the peer may send without another ACK.
    """

    __slots__ = ("_before", "_began", "_least", "_read", "_received", "_window", "round_ends")

    def __init__(self, now: float, rtt: float, received: int, read: int, window: int) -> None:
        self.round_ends = now + max(rtt, _SHORTEST_ROUND)
        """Earliest end of the present round, seconds."""
        self._began = now
        """Beginning of the present round, seconds. The next three are the values at that time."""
        self._received = received
        self._read = read
        self._window = window
        self._before = 0
        """Bandwidth-delay product measured in the previous round, octets."""
        self._least = inf
        """Shortest time in which a whole window arrived, an upper bound of the round-trip time, seconds."""

    def end_round(self, now: float, rtt: float, received: int, read: int, window: int) -> int:
        """End the round and begin the next one, as at its creation. Return the buffer size that the round requires,
        octets; 0: none.

        Without a measured round-trip time, a round lasts until a whole window has arrived, because the peer must then
        have received an ACK in between. If the peer sends slowly, such a round is longer than a round trip, so the
        shortest one is used.
        """
        elapsed = now - self._began
        if rtt <= 0.0:
            if received - self._received < self._window:
                return 0
            self._least = min(self._least, max(elapsed, _SHORTEST_ROUND))
            rtt = self._least
            round_trip = 0.0
        else:
            round_trip = rtt
        # The octets read determine the buffer, but at most the octets received, so that a backlog does not count. A
        # round may last longer than a round trip, because a segment must end it, and then counts in proportion.
        delivered = min(received - self._received, read - self._read)
        product = int(delivered * rtt / max(elapsed, rtt))
        wanted = 2 * product
        if self._before and product > self._before:  # assume the same growth in the next round
            wanted = min(2 * wanted, wanted * product // self._before)
        self._before = product
        self.round_ends = now + max(round_trip, _SHORTEST_ROUND)
        self._began = now
        self._received = received
        self._read = read
        self._window = window
        return wanted
