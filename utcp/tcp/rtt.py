"""The round-trip time and the retransmission timeout derived from it (RFC 6298)."""

from typing import Final

from utcp.wire.seq import HALF, MASK

_GRANULARITY: Final = 0.001
"""G of RFC 6298 2: event loops time to a millisecond."""

_RTO_AFTER_LOST_SYN: Final = 3.0
"""RFC 6298 5.7."""


class RttEstimator:
    """SRTT, RTTVAR and RTO of one path, in seconds. `srtt` is None before the first sample."""

    __slots__ = (
        "_maximum",
        "_minimum",
        "_timed_at",
        "_timed_seq",
        "backoff",
        "base_rto",
        "cancelled",
        "cancelled_at",
        "rttvar",
        "srtt",
        "timing",
    )

    def __init__(self, initial: float, minimum: float, maximum: float) -> None:
        self.srtt: float | None = None
        self.rttvar = 0.0
        self.base_rto = initial
        """RTO before back-off."""
        self.backoff = 0
        """How often RTO has been doubled since the last sample."""
        self.timing = False
        """A segment that was sent once is being timed."""
        self.cancelled = False
        """A measurement was given up because something was sent again, and no other begun since."""
        self.cancelled_at = 0.0
        self._timed_seq = 0
        self._timed_at = 0.0
        self._minimum = minimum
        self._maximum = maximum

    @property
    def rto(self) -> float:
        """The timeout to use now, back-off included."""
        return self.after(self.backoff)

    def after(self, doublings: int) -> float:
        """The timeout doubled so many times, within bounds (RFC 6298 5.5)."""
        return min(self.base_rto * (1 << min(doublings, 32)), self._maximum)

    def sample(self, rtt: float) -> None:
        """Take a measurement of a segment that was sent once (Karn), or known by its timestamp (RFC 6298 2, 3)."""
        if self.srtt is None:
            self.srtt = rtt
            self.rttvar = rtt / 2
        else:
            self.rttvar += (abs(self.srtt - rtt) - self.rttvar) / 4
            self.srtt += (rtt - self.srtt) / 8
        rto = self.srtt + max(_GRANULARITY, 4 * self.rttvar)
        self.base_rto = min(max(rto, self._minimum), self._maximum)
        self.backoff = 0

    def begin(self, seq: int, now: float) -> None:
        """A segment that ends before `seq` leaves for the first time: time it, unless another is being timed."""
        if not self.timing:
            self.timing = True
            self.cancelled = False
            self._timed_seq = seq
            self._timed_at = now

    def cancel(self, now: float) -> None:
        """Something was sent again: an ACK no longer tells which transmission it answers (Karn)."""
        self.timing = False
        self.cancelled = True
        self.cancelled_at = now

    def sample_echo(self, elapsed: float, now: float) -> None:
        """The echoed timestamp is `elapsed` seconds old: a measurement in place of one that was given up.

        An echo from before the retransmission answers the first transmission, whose ACK was lost or late: it measures
        our timeout, not the path.
        """
        if self.cancelled and elapsed <= now - self.cancelled_at + _GRANULARITY:
            self.sample(max(elapsed, _GRANULARITY))

    def finish(self, ack: int, now: float) -> bool:
        """`ack` arrived; whether it ended a measurement."""
        if not self.timing or (ack - self._timed_seq) & MASK >= HALF:
            return False
        self.timing = False
        self.sample(now - self._timed_at)
        return True

    def back_off(self) -> None:
        """The timer expired: double RTO (RFC 6298 5.5)."""
        self.backoff += 1

    def syn_was_lost(self) -> None:
        """The handshake needed a retransmission and gave no sample: start data with 3 s (RFC 6298 5.7)."""
        self.backoff = 0
        self.base_rto = min(max(self.base_rto, _RTO_AFTER_LOST_SYN), self._maximum)
