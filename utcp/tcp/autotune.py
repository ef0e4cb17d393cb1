"""How large a receive buffer should be: dynamic right-sizing, by what its reader takes in one round trip.

A sender can have no more under way in a round trip than the window that it was offered. The buffer is to be twice the
bandwidth-delay product: so that the window never is what holds the sender back, also while the sender, in slow start,
doubles its rate with every round trip (RFC 5681 3.1).
"""

from math import inf
from typing import Final

from utcp._compiled import mypyc_attr

_SHORTEST_ROUND: Final = 0.001
"""Seconds: event loops time to a millisecond."""


@mypyc_attr(acyclic=True)
class BufferTuning:
    """Measures one round trip after the other. Times are in seconds."""

    __slots__ = ("_before", "_began", "_least", "_read", "_received", "_window", "round_ends")

    def __init__(self) -> None:
        self.round_ends = -inf
        """No earlier than this does the round that is being measured end."""
        self._began = -inf
        self._received = 0
        self._read = 0
        self._window = 0
        self._before = 0
        """The bandwidth-delay product that the round before showed."""
        self._least = inf
        """The shortest time in which a whole window arrived: the round trip takes no longer."""

    def end_round(self, now: float, rtt: float, received: int, read: int, window: int) -> int:
        """The size in octets that the round asks for, which ends now; the next one begins. 0: it asks for nothing.

        `received` and `read` count the octets of the stream so far, `window` is what the peer may send
        without hearing from us again.
        `rtt` is 0 where no round trip was measured: then a round lasts until a whole window has arrived, since the peer
        had to hear from us before it could send more. To a peer that is slow in sending, this looks like a long round
        trip; the shortest one counts.
        """
        if self._began == -inf:
            self._begin(now, rtt, received, read, window)
            return 0
        elapsed = now - self._began
        if rtt <= 0.0:
            if received - self._received < self._window:
                return 0
            self._least = min(self._least, max(elapsed, _SHORTEST_ROUND))
            rtt = self._least
            round_trip = 0.0
        else:
            round_trip = rtt
        # What was read is what the buffer is for; what came shows that it was not a backlog. Rounds that lasted longer
        # than a round trip, for want of a segment that ends them, count in proportion.
        delivered = min(received - self._received, read - self._read)
        product = int(delivered * rtt / max(elapsed, rtt))
        wanted = 2 * product
        if self._before and product > self._before:  # it grows, and the next round will do as this one did
            wanted = min(2 * wanted, wanted * product // self._before)
        self._before = product
        self._begin(now, round_trip, received, read, window)
        return wanted

    def _begin(self, now: float, rtt: float, received: int, read: int, window: int) -> None:
        self._began = now
        self.round_ends = now + max(rtt, _SHORTEST_ROUND)
        self._received = received
        self._read = read
        self._window = window
