"""NewReno: slow start, congestion avoidance, halving (RFC 5681, RFC 6582)."""

from utcp.tcp.congestion.base import CongestionController


class NewReno(CongestionController):
    """AIMD in octets, with appropriate byte counting (RFC 3465)."""

    __slots__ = ("_acked",)

    name = "newreno"

    def __init__(self, mss: int) -> None:
        super().__init__(mss)
        self._acked = 0

    def on_ack(self, acked: int, now: float) -> None:
        if self.cwnd < self.ssthresh:
            # Octets, not ACKs, are counted (RFC 3465), without its limit L of two segments an ACK: a receiver that
            # acknowledges a whole batch at once, as utcp does, would otherwise hold slow start back (Linux: likewise).
            self.cwnd = min(self.cwnd + acked, max(self.ssthresh, self.cwnd + self.mss))
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
