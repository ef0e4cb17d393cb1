"""Proportional rate reduction: the amount to send while the window shrinks (RFC 9937, formerly RFC 6937)."""


class RateReduction:
    """One reduction of the data in flight to `ssthresh`. All sizes are in octets."""

    __slots__ = ("_delivered", "_flight", "_mss", "_out", "_ssthresh", "window")

    def __init__(self, flight: int, ssthresh: int, mss: int, in_flight: int) -> None:
        """Begin a reduction. `flight` is RecoverFS, the data outstanding when the loss was detected."""
        self._flight = max(flight, mss)
        self._ssthresh = ssthresh
        self._mss = mss
        self._delivered = 0
        self._out = 0
        self.window = in_flight
        """The window in force: data that may be in flight, octets."""

    def allow(self, window: int) -> None:
        """Set the window in force."""
        self.window = window

    def sent(self, size: int) -> None:
        """Count `size` octets sent."""
        self._out += size

    def acknowledged(self, delivered: int, in_flight: int, safe: bool) -> None:
        """Process an ACK of `delivered` octets. `safe`: it advanced SND.UNA and indicated no further loss."""
        if not delivered:
            return
        self._delivered += delivered
        if in_flight > self._ssthresh:
            count = -(-self._delivered * self._ssthresh // self._flight) - self._out
        else:
            count = max(self._delivered - self._out, delivered)
            if safe:
                count += self._mss
            count = min(self._ssthresh - in_flight, count)
        if not self._out:
            count = max(count, self._mss)  # the fast retransmission itself
        self.window = in_flight + max(count, 0)
