"""Proportional rate reduction: how much to send while the window shrinks (RFC 9937, formerly RFC 6937)."""


class RateReduction:
    """One reduction, from what was in flight down to `ssthresh`. All in octets."""

    __slots__ = ("_delivered", "_flight", "_mss", "_out", "_ssthresh", "window")

    def __init__(self, flight: int, ssthresh: int, mss: int, in_flight: int) -> None:
        """`flight`: RecoverFS, what was outstanding when the loss was noticed."""
        self._flight = max(flight, mss)
        self._ssthresh = ssthresh
        self._mss = mss
        self._delivered = 0
        self._out = 0
        self.window = in_flight
        """What may be in flight now."""

    def allow(self, window: int) -> None:
        """So much may be in flight now."""
        self.window = window

    def sent(self, size: int) -> None:
        """`size` octets left."""
        self._out += size

    def acknowledged(self, delivered: int, in_flight: int, safe: bool) -> None:
        """An ACK delivered so many octets. `safe`: it advanced SND.UNA and indicated no further loss."""
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
