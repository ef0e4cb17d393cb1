"""The tail loss probe (RFC 8985 7). It detects the loss of the end of a flight, behind which no segment arrives."""

from typing import Final

from utcp._compiled import mypyc_attr

_NONE: Final = -1

SHORTEST: Final = 0.01
"""Shortest delay of a probe behind several segments, seconds. A busy peer on a loopback may take longer than two idle
round trips, which last microseconds."""


@mypyc_attr(acyclic=True)
class TailLossProbe:
    """The tail loss probe of a connection. At most one is under way."""

    __slots__ = ("_end", "_resent")

    def __init__(self) -> None:
        self._end = _NONE
        """TLP.end_seq: SND.NXT when the probe left."""
        self._resent = False
        """TLP.is_retrans: True if the probe was a retransmission."""

    @property
    def under_way(self) -> bool:
        return self._end != _NONE

    def sent(self, nxt: int, resent: bool) -> None:
        """Record that a probe leaves, after which SND.NXT is `nxt`."""
        self._end = nxt
        self._resent = resent

    def acknowledged(self, una: int, dsack_end: int, duplicate: bool) -> bool:
        """Process an ACK. Return True if it shows that the probe repaired a loss (RFC 8985 7.4). `dsack_end` is the end
        of its DSACK. `duplicate`: it is a duplicate ACK without SACK blocks."""
        if self._end == _NONE or una < self._end:
            return False
        if not self._resent or dsack_end == self._end or (una == self._end and duplicate):
            self._end = _NONE  # nothing was lost, because the original and the probe have both arrived
            return False
        if una > self._end:
            self._end = _NONE
            return True
        return False

    def cancel(self) -> None:
        """End the probe, because a timeout or fast recovery has begun."""
        self._end = _NONE
