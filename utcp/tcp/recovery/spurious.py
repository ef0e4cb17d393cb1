"""Detection of spurious loss: segments considered lost that were only delayed (RFC 2883, 4015, 5682)."""

from bisect import bisect_left, insort
from math import inf
from typing import Final

NO_DSACK: Final = (0, 0)

# The state of F-RTO (RFC 5682) after a timeout.
_OFF: Final = 0
_RESENT: Final = 1
"""The first segment was retransmitted, and its ACK has not arrived."""
_NEW: Final = 2
"""That ACK has arrived. New data leaves first, and lost data waits for the next ACK."""

_TICK: Final = 0.001
"""Tick of our timestamp clock, seconds."""


class SpuriousDetection:
    """The state with which ACKs can show that the last reduction of the window was wrong."""

    __slots__ = ("_first_resent_at", "_frto", "_needed", "by_order", "in_question")

    def __init__(self) -> None:
        self.in_question = False
        """True while the reduction may turn out to be wrong."""
        self.by_order = False
        """True if the last loss was detected by out-of-order delivery, not by a timeout."""
        self._needed: list[tuple[int, int]] = []
        """The ranges retransmitted since the reduction began, sorted, once for each retransmission, without those that
        a DSACK has shown to be needless."""
        self._first_resent_at = inf
        """Departure of the first retransmission, seconds. An ACK that echoes an earlier timestamp acknowledges an
        original transmission. `inf`: there was none; `-inf`: the reduction was needed."""
        self._frto = _OFF

    @property
    def all_were_needless(self) -> bool:
        """True if DSACKs have shown that every retransmission was needless (RFC 2883 5)."""
        return not self._needed

    @property
    def new_data_first(self) -> bool:
        """True if F-RTO requires new data before retransmissions (RFC 5682 2.1 step 2b, 3.1)."""
        return self._frto == _NEW

    def begin(self) -> None:
        """Restart the detection, because the window is reduced for a loss."""
        self.in_question = True
        self._needed = []
        self._first_resent_at = inf

    def overtaken(self) -> None:
        """Record that fast recovery begins."""
        self.by_order = True

    def rule_out(self) -> None:
        """End the detection, because the reduction has a certain reason (a congestion mark), or was undone."""
        self.in_question = False

    def timed_out(self, first: bool, calm: bool) -> None:
        """Handle a retransmission timeout. `first`: the first one for this octet; `calm`: no repair was under way."""
        if calm:
            self.begin()
        self.by_order = False
        self._frto = _RESENT if calm or not first else _OFF

    def resent(self, start: int, end: int, now: float) -> None:
        """Record that positions `start` to `end` are retransmitted."""
        if self._frto == _NEW:  # there was no new data, so that an ACK would prove nothing (RFC 5682 2.1 step 2b)
            self._frto = _OFF
        insort(self._needed, (start, end))
        self._first_resent_at = min(self._first_resent_at, now)

    def take_dsack(self, left: int, right: int) -> bool:
        """Process a DSACK of positions `left` to `right` (RFC 2883). Return True if it shows a needless retransmission.
        Duplicates made by the network, or retransmitted by an earlier recovery, do not count."""
        needed = self._needed
        index = bisect_left(needed, (left, 0))
        position = left
        while index < len(needed) and needed[index][1] <= right:
            start, end = needed[index]
            if start < position:
                index += 1  # retransmitted twice; this DSACK reports one of the two
            else:
                position = end
                del needed[index]
        return position > left

    def judge_echo(self, echo_age: float, resent_at: float, now: float) -> bool:
        """Judge an ACK by its echoed timestamp. Return True if it acknowledges the original transmission of data that
        was retransmitted needlessly (RFC 4015 3.2).

        Args:
            echo_age: the age of the echoed timestamp, seconds; -1: there is none.
            resent_at: when the earliest retransmission of the acknowledged data left; `inf`: there was none. It may
                have left before this reduction, in an earlier recovery.
            now: the stack's time, seconds.
        """
        if resent_at == inf or echo_age < 0 or self._first_resent_at == inf:
            return False
        echoed_at = now - echo_age
        if echoed_at < min(resent_at, self._first_resent_at) - _TICK:
            return True
        if echoed_at >= self._first_resent_at:
            # A retransmission was needed. By RFC 4015 the first ACK decides. A later one may acknowledge a segment that
            # was only delayed, but the loss that began the reduction was real.
            self._first_resent_at = -inf
        return False

    def judge_timeout(self, advance: int, delivered: int, duplicate: bool, original: bool) -> bool:
        """Judge an ACK after a timeout (RFC 5682 2.1, 3.1). Return True if it proves the timeout wrong. `original`: it
        delivers data that was outstanding at the timeout and was never retransmitted."""
        if self._frto == _NEW and original:
            return True
        if self._frto == _RESENT and advance:
            self._frto = _NEW
        elif (self._frto == _NEW and (advance or delivered)) or duplicate:
            self._frto = _OFF
        return False

    def over(self) -> None:
        """End F-RTO, because all outstanding data is repaired. A DSACK may still show that the repair was needless."""
        self._frto = _OFF
