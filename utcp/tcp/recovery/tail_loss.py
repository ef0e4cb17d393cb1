"""The tail loss probe: when the end of a flight is lost, no later segment tells of it (RFC 8985 7)."""

from typing import Final

from utcp._compiled import mypyc_attr

_NONE: Final = -1

_SHORTEST: Final = 0.01
"""A busy peer may take longer than two of the microseconds-long round trips of an idle loopback."""


@mypyc_attr(acyclic=True)
class TailLossProbe:
    """The one probe that may be under way."""

    __slots__ = ("_end", "_resent", "_samples")

    def __init__(self) -> None:
        self._end = _NONE
        """TLP.end_seq: SND.NXT when the probe left."""
        self._resent = False
        """TLP.is_retrans: the probe carried nothing new."""
        self._samples = 0

    @property
    def under_way(self) -> bool:
        return self._end != _NONE

    @staticmethod
    def delay(srtt: float | None, one_segment: bool, max_ack_delay: float) -> float:
        """PTO in seconds (RFC 8985 7.2): two round trips; the ACK of a segment by itself may be delayed as well."""
        if srtt is None:
            return 1.0
        return 2 * srtt + max_ack_delay if one_segment else max(2 * srtt, _SHORTEST)

    def may_follow(self, samples: int) -> bool:
        """None is under way, and the path was measured since the last: there were so many samples (RFC 8985 7.3). Else
        a path that has become slower would be probed by the old measure for ever."""
        return self._end == _NONE and samples > self._samples

    def sent(self, nxt: int, resent: bool, samples: int) -> None:
        """The probe leaves; SND.NXT is `nxt` then, and there were so many samples of the round-trip time."""
        self._end = nxt
        self._resent = resent
        self._samples = samples

    def acknowledged(self, una: int, dsack_end: int, duplicate: bool) -> bool:
        """An ACK; whether it shows that the probe repaired a loss (RFC 8985 7.4). `dsack_end`: where what it reports as
        received twice ends; `duplicate`: it says nothing at all."""
        if self._end == _NONE or una < self._end:
            return False
        if not self._resent or dsack_end == self._end or (una == self._end and duplicate):
            self._end = _NONE  # nothing had been lost: original and probe both arrived
            return False
        if una > self._end:
            self._end = _NONE
            return True
        return False

    def cancel(self) -> None:
        """A timeout or recovery has taken over."""
        self._end = _NONE
