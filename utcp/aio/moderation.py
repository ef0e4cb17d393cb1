"""Moderation of reading, as network interfaces moderate interrupts: a stream is read at intervals.

At 50 Mbit/s, a full-sized segment arrives every quarter of a millisecond. A wakeup of the event loop, with its system
calls and the ACK that follows, costs several times as much as the processing of the segment itself. So while a stream
arrives, the driver does not watch the link for `PAUSE` after each reading. Then one wakeup and one ACK serve several
segments.

The rule: reading pauses only if

* the last `STREAK` readings came less than `PAUSE` apart, and each found few datagrams. So neither a lone segment nor a
  stream that arrives in batches begins a pause;
* the newest datagram belongs to a stream without a gap and without FIN, and, at the first pause, is a full-sized
  segment;
* the shortest round trip of its connection is `ROUND_TRIP` or more;
* within the last `QUIET`, this endpoint has sent no new data and no FIN, and no connection was opened from either side.
  So nobody here waits for an ACK, an answer or a handshake. A pause ends when one of these happens.

A datagram that arrives in a pause waits for `PAUSE` at most, for example a SYN from somebody else, or the end of the
stream itself.
"""

from __future__ import annotations

import math
from struct import Struct
from typing import Final

from utcp.link.base import Received
from utcp.tcp.connection import Connection
from utcp.tcp.stack import Stack

PAUSE: Final = 0.001
"""Seconds from a reading to the next one. Asyncio's loops cannot wait for a shorter time."""

STREAK: Final = 16
"""Readings in succession that must be those of a stream."""

FEW: Final = 8
"""Datagrams of one reading, above which they arrive in batches anyway."""

ROUND_TRIP: Final = 16 * PAUSE
"""Seconds. A pause prolongs a round trip by a sixteenth at most."""

QUIET: Final = 1.0
"""Seconds after data, a FIN or an open, in which somebody may wait for what arrives."""

SHORTEST: Final = 536
"""Octets of a datagram below which it is never the full-sized segment of a stream (the default MSS of RFC 9293)."""

_PORTS: Final = Struct("!HH")


class Moderation:
    """Decides for one stack whether its link is read at intervals. Times are of the link's clock, in seconds."""

    __slots__ = ("_asked", "_asked_at", "_read_at", "_stack", "_streak")

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._asked = 0
        """Number of segments with new data or a FIN that were sent, and of opens, when this last looked."""
        self._asked_at = -math.inf
        """Time at which this number was last seen to grow."""
        self._read_at = -math.inf
        self._streak = 0

    def begins(self, received: list[Received], now: float) -> bool:
        """Return True if reading pauses from now on. To be called after each reading whose last datagram has `SHORTEST`
        octets or more."""
        streak = self._streak + 1 if now - self._read_at < PAUSE and len(received) <= FEW else 0
        self._read_at = now
        self._streak = streak
        if streak < STREAK or self.is_asked(now):
            return False
        connection = self._stream(received[-1])
        return connection is not None and len(received[-1].data) > connection.receive_side.mss

    def continues(self, received: list[Received], now: float) -> bool:
        """Return True if a further pause follows, because the reading after a pause has found more of the stream. It
        may find nothing if a pause was shorter than `PAUSE`, because uvloop's timers may be early."""
        self._streak = 0
        if self.is_asked(now):
            return False
        if not received:
            return now - self._read_at < PAUSE
        self._read_at = now
        return self._stream(received[-1]) is not None

    def is_asked(self, now: float) -> bool:
        """Return True if somebody at this end may wait for what arrives."""
        counters = self._stack.counters
        asked = counters.orig_data_sent + counters.active_opens + counters.passive_opens
        if asked != self._asked:
            self._asked = asked
            self._asked_at = now
        return now - self._asked_at < QUIET

    def _stream(self, datagram: Received) -> Connection | None:
        """Return the connection of a datagram if it receives a stream that a pause may delay; None if not."""
        if len(datagram.data) < _PORTS.size:
            return None
        connection = self._stack.connections.get((datagram.remote, *_PORTS.unpack_from(datagram.data)))
        if connection is None or connection.rtt.min_rtt < ROUND_TRIP:
            return None
        receive = connection.receive_side
        return None if receive.fin_reached or receive.out_of_order.holding else connection
