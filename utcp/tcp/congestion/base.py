"""What a congestion controller is told, and what it answers."""


class CongestionController:
    """Owns `cwnd` and `ssthresh`, in octets. Loss detection and recovery are not its business, only their consequence.

    `flight_size` is what was sent and is not yet acknowledged, in octets; `now` is in seconds.
    """

    __slots__ = ("cwnd", "mss", "ssthresh")

    name = ""

    def __init__(self, mss: int) -> None:
        self.begin(mss)

    def begin(self, mss: int) -> None:
        """The handshake has settled the effective MSS: start from the initial window. What a lost SYN brought about
        says nothing of data: ssthresh is high again."""
        self.mss = mss
        self.ssthresh = 1 << 30
        self.cwnd = self.initial_window

    @property
    def initial_window(self) -> int:
        """Ten segments, as RFC 6928 2 bounds them."""
        return min(10 * self.mss, max(2 * self.mss, 14600))

    def on_syn_lost(self) -> None:
        """The handshake lost a segment: start with one (RFC 5681 3.1)."""
        self.cwnd = self.mss

    def on_idle(self) -> None:
        """Nothing was sent for an RTO: the restart window (RFC 5681 4.1)."""
        self.cwnd = min(self.cwnd, self.initial_window)

    def on_ack(self, acked: int, now: float) -> None:
        """`acked` new octets were acknowledged outside fast recovery, and the window was what limited the sender."""
        raise NotImplementedError

    def on_loss(self, flight_size: int, now: float) -> None:
        """A loss was inferred from duplicate ACKs: fast recovery begins."""
        raise NotImplementedError

    def on_recovered(self, flight_size: int, now: float) -> None:
        """Everything outstanding when the loss was noticed is acknowledged: fast recovery ends."""
        raise NotImplementedError

    def on_timeout(self, flight_size: int, now: float) -> None:
        """The retransmission timer expired for data that had not been retransmitted by a timeout before."""
        raise NotImplementedError

    def on_repeated_timeout(self) -> None:
        """It expired again for the same data: one segment, and ssthresh stays (RFC 5681 3.1)."""
        self.cwnd = self.mss
