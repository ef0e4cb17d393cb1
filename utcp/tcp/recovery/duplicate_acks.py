"""Duplicate ACKs of a peer without SACK. Each shows that some segment was delivered (RFC 5681, 6582, 3042)."""


class DuplicateAcks:
    """The count of duplicate ACKs since SND.UNA last moved. In fast recovery, those whose segments SND.UNA has not
    passed."""

    __slots__ = ("_limit", "count")

    def __init__(self) -> None:
        self.count = 0
        self._limit = 0
        """Number of segments outstanding at the first duplicate ACK."""

    def arrived(self, outstanding: int, mss: int) -> int:
        """Process a duplicate ACK while `outstanding` octets are outstanding. Return the octets that it delivers."""
        if not self.count:
            self._limit = outstanding // mss
        if self.count > self._limit:
            return 0  # more ACKs than segments: forged (RFC 5681 3.2 step 4)
        self.count += 1
        return mss

    def advanced(self, advance: int, mss: int, recovering: bool) -> int:
        """Process a move of SND.UNA by `advance` octets. Return the octets that no duplicate ACK has counted (RFC 9937
        5)."""
        passed = self.count
        if recovering:
            passed = min(passed, max(0, advance // mss - 1))
        self.count -= passed
        return max(0, advance - passed * mss)
