"""Duplicate ACKs of a peer without SACK: each tells that a segment has arrived, not which (RFC 5681, 6582, 3042)."""


class DuplicateAcks:
    """Those that came since SND.UNA last moved, or in fast recovery those that it has not passed yet."""

    __slots__ = ("_limit", "count")

    def __init__(self) -> None:
        self.count = 0
        self._limit = 0
        """How many segments were outstanding at the first of them."""

    def arrived(self, outstanding: int, mss: int) -> int:
        """One came while so many octets are outstanding; how many octets have arrived by it."""
        if not self.count:
            self._limit = outstanding // mss
        if self.count > self._limit:
            return 0  # more than there were segments: forged (RFC 5681 3.2 step 4)
        self.count += 1
        return mss

    def advanced(self, advance: int, mss: int, recovering: bool) -> int:
        """SND.UNA moves by `advance` octets; how many of them no duplicate ACK has told of (RFC 9937 5)."""
        passed = self.count
        if recovering:
            passed = min(passed, max(0, advance // mss - 1))
        self.count -= passed
        return max(0, advance - passed * mss)
