"""Was it a mistake? Whether what was taken for lost had only been late (RFC 2883, 4015, 5682)."""

from math import inf
from typing import Final

NO_DSACK: Final = (0, 0)

_NEVER: Final = -1

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

    __slots__ = ("_first_resent_at", "_frto", "_needed", "_since")

    def __init__(self) -> None:
        self._since = _NEVER
        """SND.UNA when the reduction began."""
        self._needed = 0
        """Octets sent again since then, without those that a DSACK has shown to be needless."""
        self._first_resent_at = inf
        """An ACK that echoes a timestamp from before that answers an original transmission."""
        self._frto = _OFF

    @property
    def in_question(self) -> bool:
        """There is a reduction that may turn out to be wrong."""
        return self._since != _NEVER

    @property
    def new_data_first(self) -> bool:
        """F-RTO asks for new data before retransmissions (RFC 5682 2.1 step 2b, 3.1)."""
        return self._frto == _NEW

    def begin(self, una: int) -> None:
        """The window is reduced for a loss."""
        self._since = una
        self._needed = 0
        self._first_resent_at = inf

    def cannot_be(self) -> None:
        """The reduction has a reason that is no guess (a congestion mark), or was undone."""
        self._since = _NEVER

    def timed_out(self, una: int, first: bool, calm: bool) -> None:
        """The retransmission timer expired, for the `first` time for this octet; `calm`: nothing was being repaired."""
        if calm:
            self.begin(una)
        self._frto = _RESENT if calm or not first else _OFF

    def resent(self, size: int, now: float) -> None:
        """`size` octets leave again."""
        if self._frto == _NEW:  # there was no new data to send: an ACK would prove nothing (RFC 5682 2.1 step 2b)
            self._frto = _OFF
        self._needed += size
        self._first_resent_at = min(self._first_resent_at, now)

    def told_twice(self, dsack: tuple[int, int]) -> bool:
        """The peer reports a stretch received twice; whether all that was sent again was needless then (RFC 2883)."""
        if dsack == NO_DSACK or not self._needed or dsack[0] < self._since:
            return False
        self._needed -= dsack[1] - dsack[0]
        return self._needed <= 0

    def judge_echo(self, echo_age: float, resent_at: float, now: float) -> bool:
        """Judge an ACK by the timestamp that it echoes, which is `echo_age` seconds old; -1: it echoes none. Return
        whether it answers an original transmission of what was sent again in vain (RFC 4015 3.2).

        Of what the ACK acknowledges, and had been sent again, the earliest retransmission left at `resent_at`; `inf`:
        nothing had been sent again. It may have left before this reduction, in an earlier recovery.
        """
        if resent_at == inf or echo_age < 0 or self._first_resent_at == inf:
            return False
        echoed_at = now - echo_age
        if echoed_at < min(resent_at, self._first_resent_at) - _TICK:
            return True
        if echoed_at >= self._first_resent_at:
            # A retransmission was needed. RFC 4015 lets the first ACK decide: a later one may tell of a segment that
            # was only late, but the loss that began the reduction was real.
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
