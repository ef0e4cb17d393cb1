"""Was it a mistake? Whether what was taken for lost had only been late (RFC 2883, 4015, 5682)."""

from bisect import bisect_left, insort
from math import inf
from typing import Final

NO_DSACK: Final = (0, 0)

# F-RTO (RFC 5682): where it stands after a timeout.
_OFF: Final = 0
_RESENT: Final = 1
"""The first segment was sent again, and its ACK is waited for."""
_NEW: Final = 2
"""That ACK came: new data goes first, what is lost waits for the next ACK's verdict."""

_TICK: Final = 0.001
"""Timestamps count milliseconds."""


class SpuriousDetection:
    """What is remembered of the last reduction of the window, to find out that it was wrong."""

    __slots__ = ("_first_resent_at", "_frto", "_needed", "by_order", "in_question")

    def __init__(self) -> None:
        self.in_question = False
        """True while a reduction may still turn out to be wrong."""
        self.by_order = False
        """True if the last loss was detected by segments that arrived out of order, not by a timeout."""
        self._needed: list[tuple[int, int]] = []
        """The stretches sent again since the reduction began, sorted, once for each time; without those that a DSACK
        has shown to be needless."""
        self._first_resent_at = inf
        """An ACK that echoes a timestamp from before that answers an original transmission."""
        self._frto = _OFF

    @property
    def all_was_needless(self) -> bool:
        """True if DSACKs have shown that every retransmission was needless (RFC 2883 5)."""
        return not self._needed

    @property
    def new_data_first(self) -> bool:
        """F-RTO asks for new data before retransmissions (RFC 5682 2.1 step 2b, 3.1)."""
        return self._frto == _NEW

    def begin(self) -> None:
        """The window is reduced for a loss."""
        self.in_question = True
        self._needed = []
        self._first_resent_at = inf

    def overtaken(self) -> None:
        """Fast recovery begins."""
        self.by_order = True

    def cannot_be(self) -> None:
        """The reduction has a reason that is no guess (a congestion mark), or was undone."""
        self.in_question = False

    def timed_out(self, first: bool, calm: bool) -> None:
        """The retransmission timer expired, for the `first` time for this octet; `calm`: nothing was being repaired."""
        if calm:
            self.begin()
        self.by_order = False
        self._frto = _RESENT if calm or not first else _OFF

    def resent(self, start: int, end: int, now: float) -> None:
        """Positions `start` to `end` leave again."""
        if self._frto == _NEW:  # there was no new data to send: an ACK would prove nothing (RFC 5682 2.1 step 2b)
            self._frto = _OFF
        insort(self._needed, (start, end))
        self._first_resent_at = min(self._first_resent_at, now)

    def take_dsack(self, left: int, right: int) -> bool:
        """The peer reports that it received positions `left` to `right` twice (RFC 2883). Return whether that shows
        a needless retransmission. What the network doubled, or an earlier recovery sent again, does not count."""
        needed = self._needed
        index = bisect_left(needed, (left, 0))
        position = left
        while index < len(needed) and needed[index][1] <= right:
            start, end = needed[index]
            if start < position:
                index += 1  # sent again twice; this DSACK reports one of the two
            else:
                position = end
                del needed[index]
        return position > left

    def judge_echo(self, echo_age: float, resent_at: float, now: float) -> bool:
        """Judge an ACK by the timestamp that it echoes, which is `echo_age` seconds old; -1: it echoes none. Return
        whether it acknowledges the original of data that was sent again needlessly (RFC 4015 3.2).

        `resent_at`: when the earliest retransmission left of the data that the ACK acknowledges; `inf`: none did. It
        may have left before this reduction, in an earlier recovery.
        """
        if resent_at == inf or echo_age < 0 or self._first_resent_at == inf:
            return False
        echoed_at = now - echo_age
        if echoed_at < min(resent_at, self._first_resent_at) - _TICK:
            return True
        if echoed_at >= self._first_resent_at:
            # A retransmission was needed. RFC 4015 lets the first ACK decide: a later one may acknowledge a segment
            # that was only late, but the loss that began the reduction was real.
            self._first_resent_at = -inf
        return False

    def judge_timeout(self, advance: int, delivered: int, duplicate: bool, original: bool) -> bool:
        """An ACK after a timeout (RFC 5682 2.1, 3.1); whether it proves the timeout wrong. `original`: it delivers
        something that was outstanding then and has not been sent again."""
        if self._frto == _NEW and original:
            return True
        if self._frto == _RESENT and advance:
            self._frto = _NEW
        elif (self._frto == _NEW and (advance or delivered)) or duplicate:
            self._frto = _OFF
        return False

    def over(self) -> None:
        """What was outstanding is repaired. A DSACK may still tell that it need not have been."""
        self._frto = _OFF
