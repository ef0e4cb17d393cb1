"""The round-trip time, and the retransmission timeout derived from it (RFC 6298)."""

from typing import Final

from utcp._compiled import mypyc_attr

_GRANULARITY: Final = 0.001
"""G of RFC 6298 2, seconds: the timer resolution of event loops."""

_RTO_AFTER_LOST_SYN: Final = 3.0
"""Initial RTO of data after a lost SYN, seconds (RFC 6298 5.7)."""

_MIN_RTT_WINDOW: Final = 300.0
"""Time for which the lowest round-trip time is valid, seconds, because routes change."""


@mypyc_attr(acyclic=True)
class RttEstimator:
    """SRTT, RTTVAR and RTO of one path, in seconds."""

    __slots__ = (
        "_maximum",
        "_min_rtt_at",
        "_minimum",
        "_sampled_at",
        "backoff",
        "base_rto",
        "min_rtt",
        "rto",
        "rttvar",
        "samples",
        "srtt",
    )

    def __init__(self, initial: float, minimum: float, maximum: float) -> None:
        self.srtt = 0.0
        """Smoothed round-trip time, seconds; 0 before the first sample."""
        self.rttvar = 0.0
        self.base_rto = initial
        """RTO without back-off, seconds."""
        self.backoff = 0
        """Number of doublings of RTO since the last sample."""
        self.rto = initial
        """RTO with back-off, seconds."""
        self.samples = 0
        """Number of samples."""
        self.min_rtt = 0.0
        """Lowest sample of the last five minutes, seconds; 0: there is none."""
        self._min_rtt_at = 0.0
        self._sampled_at = 0.0
        self._minimum = max(minimum, _GRANULARITY)
        self._maximum = maximum

    def after(self, doublings: int) -> float:
        """Return the timeout after `doublings` doublings, within its upper bound, seconds (RFC 6298 5.5)."""
        return min(self.base_rto * (1 << min(doublings, 32)), self._maximum)

    def sample(self, rtt: float, now: float) -> None:
        """Add a sample of a segment that was sent once (Karn), or is identified by its timestamp (RFC 6298 2, 3).

        Every ACK gives a sample, but SRTT and RTTVAR use one per round trip, of a segment that left after the last
        sample. More would shorten the memory of the filters (RFC 7323 4.2). `rto_min` is the lower bound of the term
        with RTTVAR, as in Linux, not of RTO, because a long path with a constant round-trip time must not time out.
        """
        self.samples += 1
        is_first = self.samples == 1
        srtt = self.srtt
        if rtt <= self.min_rtt or is_first or now - self._min_rtt_at > _MIN_RTT_WINDOW:
            self.min_rtt = rtt
            self._min_rtt_at = now
        if is_first:
            srtt = rtt
            rttvar = rtt / 2
        elif now - rtt < self._sampled_at and not self.backoff:
            return
        else:
            error = rtt - srtt
            rttvar = self.rttvar
            rttvar += ((error if error > 0 else -error) - rttvar) / 4
            srtt += error / 8
        self.srtt = srtt
        self.rttvar = rttvar
        self._sampled_at = now
        margin = 4 * rttvar
        if margin < self._minimum:
            margin = self._minimum
        rto = srtt + margin
        if rto > self._maximum:
            rto = self._maximum
        self.base_rto = self.rto = rto
        self.backoff = 0

    def back_off(self) -> None:
        """Double RTO, because the timer has expired (RFC 6298 5.5)."""
        self.backoff += 1
        self.rto = self.after(self.backoff)

    def end_back_off(self) -> None:
        """Remove the back-off."""
        self.backoff = 0
        self.rto = self.base_rto

    def syn_was_lost(self) -> None:
        """Start with an RTO of 3 s, because the handshake needed a retransmission and gave no sample (RFC 6298 5.7)."""
        self.base_rto = min(max(self.base_rto, _RTO_AFTER_LOST_SYN), self._maximum)
        self.end_back_off()
