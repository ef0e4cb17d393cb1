"""NewReno: slow start, congestion avoidance, halving (RFC 5681, RFC 6582)."""

from typing import Final

from utcp.tcp.congestion.base import CongestionController

_SLOW_START_LIMIT: Final = 8


class NewReno(CongestionController):
    """AIMD in octets, with appropriate byte counting (RFC 3465)."""

    __slots__ = ("_acked",)

    name = "newreno"

    def __init__(self, mss: int) -> None:
        super().__init__(mss)
        self._acked = 0

    def on_ack(self, acked: int, now: float) -> None:
        if self.cwnd < self.ssthresh:
            # Octets, not ACKs, are counted (RFC 3465), eight segments an ACK at most (RFC 9406 4.3, for senders that
            # do not pace): peers that acknowledge a batch at once, as utcp does, would starve on RFC 5681's one.
            self.cwnd += min(acked, _SLOW_START_LIMIT * self.mss)
            return
        self._acked += acked
        if self._acked >= self.cwnd:
            self._acked -= self.cwnd
            self.cwnd += self.mss

    def on_loss(self, flight_size: int, now: float) -> None:
        self.ssthresh = max(flight_size // 2, 2 * self.mss)
        self.cwnd = self.ssthresh
        self._acked = 0

    def on_recovered(self, flight_size: int, now: float) -> None:
        # RFC 6582 3.2 step 3, option 1: no burst when little is left in flight.
        self.cwnd = min(self.ssthresh, max(flight_size, self.mss) + self.mss)

    def on_timeout(self, flight_size: int, now: float) -> None:
        self.ssthresh = max(flight_size // 2, 2 * self.mss)
        self.cwnd = self.mss
        self._acked = 0
