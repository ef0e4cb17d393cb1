"""ACKs as a controller is told of them, without a connection around it."""

from utcp.tcp.congestion import CongestionController
from utcp.tcp.recovery.delivery import AckSample

MSS = 1000
INITIAL_WINDOW = 10 * MSS


class Acks:
    """Feeds one controller. A round trip is one second unless said otherwise, and `now` starts at a thousand."""

    def __init__(self, controller: CongestionController, rtt: float = 1.0) -> None:
        self.controller = controller
        self.rtt = rtt
        self.now = 1000.0
        self.delivered = 0
        self._round_start = 0

    def sample(self, acked: int, limited: bool = True, recovering: bool = False) -> AckSample:
        sample = AckSample(self.now)
        sample.acked = sample.newly_delivered = acked
        sample.prior_in_flight = self.controller.cwnd
        sample.in_flight = self.controller.cwnd - acked
        sample.rtt = sample.srtt = sample.min_rtt = self.rtt
        sample.limited = limited
        sample.recovering = recovering
        sample.prior_delivered = self._round_start
        self.delivered += acked
        sample.total_delivered = self.delivered
        return sample

    def ack(self, acked: int, limited: bool = True) -> None:
        """One ACK, now."""
        self.controller.on_ack(self.sample(acked, limited))

    def round(self, acks: int = 20, rtt: float | None = None, limited: bool = True) -> None:
        """A window is acknowledged in that many ACKs, spread over a round trip of `rtt` seconds."""
        if rtt is not None:
            self.rtt = rtt
        window, start = self.controller.cwnd, self.delivered
        for index in range(acks):
            self.now += self.rtt / acks
            self.ack(window * (index + 1) // acks - window * index // acks, limited)
        self._round_start = start + window

    def until(self, time: float, limited: bool = True) -> None:
        """Round trips until `time`, the last one cut short."""
        while time - self.now > 1e-6:
            part = min(1.0, (time - self.now) / self.rtt)
            for _ in range(20):
                self.now += part * self.rtt / 20
                self.ack(int(self.controller.cwnd * part / 20), limited)
        self.now = time

    def lose(self) -> None:
        """A loss, and its recovery within a round trip."""
        self.controller.on_loss(self.controller.cwnd, self.now)
        self.now += self.rtt
        self.controller.on_recovered(self.controller.ssthresh, self.now)
