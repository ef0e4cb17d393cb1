"""RACK: what was sent before something that has arrived, and long enough ago, is lost (RFC 8985 6)."""

from collections import deque
from math import inf
from typing import Final

from utcp._compiled import mypyc_attr
from utcp.tcp.recovery.delivery import ROUNDING
from utcp.tcp.recovery.scoreboard import IN_FLIGHT, Departure, Run

DUP_THRESH: Final = 3
_EVERYTHING: Final = 1 << 62
_PERSIST: Final = 16
"""Recoveries for which a wider reordering window is kept (RFC 8985 6.2 step 4)."""


@mypyc_attr(acyclic=True)
class Rack:
    """Owns the departures in order of time, and the reordering window.

    The departures are collected from the moment something is in doubt (`track`) until all that was sent has arrived:
    most connections end before that moment comes.
    """

    __slots__ = (
        "_departures",
        "_dsack_round",
        "_end",
        "_fack",
        "_mult",
        "_persist",
        "_sent_at",
        "reordering_seen",
        "rtt",
        "tracking",
    )

    def __init__(self, end: int = 0, sent_at: float = -inf, rtt: float = 0.0) -> None:
        """All up to position `end` has arrived: it left at `sent_at`, and its ACK came `rtt` seconds later."""
        self.tracking = False
        """Every departure is to be told of by `sent`."""
        self._departures: deque[Departure] = deque()
        self._sent_at = sent_at
        """RACK.xmit_ts and RACK.end_seq: of what has arrived, the segment that was sent last."""
        self._end = end
        self.rtt = rtt
        """RACK.rtt: its round-trip time, in seconds."""
        self._fack = end
        """RACK.fack: the highest position that has arrived."""
        self.reordering_seen = False
        self._mult = 1
        """RACK.reo_wnd_mult: the reordering window in quarters of the lowest round-trip time."""
        self._persist = _PERSIST
        self._dsack_round = -1

    def track(self, runs: list[Run]) -> None:
        """Something may be in doubt from here on; `runs` is what was sent and is not acknowledged."""
        self.tracking = True
        departures: list[Departure] = []
        for run in runs:
            if run.state == IN_FLIGHT:
                departure = run.departure
                if departure.runs is None:
                    departure.track()
                    departures.append(departure)
                departure.keep(run)
        departures.sort(key=_sent_at)
        self._departures = deque(departures)

    def sent(self, departure: Departure) -> None:
        """Something leaves, later than all before."""
        self._departures.append(departure)

    def delivered(self, run: Run, echo_age: float, min_rtt: float, timed_out: bool, now: float) -> bool:
        """A run has arrived (RFC 8985 6.2 steps 2 and 3); whether something sent later had overtaken it.

        `echo_age`: age of the echoed timestamp, seconds; -1: none. `timed_out`: the retransmission timer was the reason
        for the retransmissions, so the ACK of an earlier transmission may merely have been lost."""
        overtaken = False
        sent_at = run.departure.at
        rtt = now - sent_at
        # An ACK that comes sooner than a round trip takes acknowledges a transmission before the last one.
        earlier = run.sent > 1 and (rtt < min_rtt - ROUNDING or echo_age > rtt + 0.001)
        if run.end > self._fack:
            self._fack = run.end
        elif run.end < self._fack and (run.sent == 1 or (earlier and not timed_out)):
            # RFC 8985 6.2 step 3 asks only what was sent once. If three segments overtake each late one, it is always
            # sent again before it arrives, and the reordering would never be noticed.
            self.reordering_seen = overtaken = True
        if earlier:
            return overtaken
        if sent_at > self._sent_at or (sent_at == self._sent_at and run.end > self._end):
            self._sent_at = sent_at
            self._end = run.end
            self.rtt = rtt
        return overtaken

    def delivered_in_order(self, run: Run, all_arrived: bool, now: float) -> None:
        """All up to and with `run` has arrived, nothing was sent again or SACKed, and, if `all_arrived`, nothing is
        left: what `delivered` and `detect` come to then."""
        departure = run.departure
        if run.end > self._fack:
            self._fack = run.end
        if departure.at >= self._sent_at:
            self._sent_at = departure.at
            self._end = run.end
            self.rtt = now - departure.at
        if self.tracking:
            departures = self._departures
            while departures and (all_arrived or departures[0].at < departure.at):
                self._forget_first()
            self.tracking = not all_arrived

    def saw_reordering(self) -> None:
        """A DSACK has shown that a segment was sent again because later ones had overtaken it (RFC 8985 3.3.2)."""
        self.reordering_seen = True

    def saw_dsack(self, nxt: int, una: int) -> None:
        """The peer has received something twice: be more patient, once per round trip (6.2 step 4)."""
        if self._dsack_round < 0 or una >= self._dsack_round:
            self._dsack_round = nxt
            self._mult += 1
            self._persist = _PERSIST

    def recovered(self) -> None:
        """A recovery has ended: after 16 of them patience is back at its start."""
        self._persist -= 1
        if self._persist <= 0:
            self._mult = 1
            self._persist = _PERSIST

    def window(self, impatient: bool, min_rtt: float, srtt: float) -> float:
        """RACK.reo_wnd in seconds. `impatient`: in recovery, or three segments were SACKed; without any sign of
        reordering nothing need be waited for then."""
        if impatient and not self.reordering_seen:
            return 0.0
        return min(self._mult * min_rtt / 4, srtt)

    def detect(self, reo_wnd: float, now: float) -> tuple[list[Run], float]:
        """What is lost by now, and when to look again (`inf`: no need) (6.2 step 5)."""
        lost: list[Run] = []
        departures = self._departures
        while departures:
            departure = departures[0]
            runs = departure.runs or []
            end = self._end if departure.at == self._sent_at else _EVERYTHING
            due = departure.at + self.rtt + reo_wnd
            is_due = due <= now and departure.at <= self._sent_at
            decided = 0
            for run in runs:
                if run.state == IN_FLIGHT:
                    if not is_due or run.end > end:
                        break
                    lost.append(run)
                decided += 1
            del runs[:decided]
            if runs:
                waiting = departure.at <= self._sent_at and runs[0].end <= end
                return lost, due if waiting else inf
            self._forget_first()
        return lost, inf

    def _forget_first(self) -> None:
        """Its fate is decided. The runs know their departure: nothing is to be left in a cycle."""
        self._departures.popleft().track_no_more()

    def overdue(self, reo_wnd: float, now: float) -> list[Run]:
        """At a retransmission timeout: all that was sent a round trip and a reordering window ago (RFC 8985 6.3)."""
        lost: list[Run] = []
        departures = self._departures
        while departures and departures[0].at + self.rtt + reo_wnd <= now:
            lost += [run for run in departures[0].runs or [] if run.state == IN_FLIGHT]
            self._forget_first()
        return lost

    def found_again(self, runs: list[Run]) -> None:
        """What was taken for lost is in flight after all. What told otherwise was the ACK of an original, which passed
        for that of its retransmission: the next ACK says anew what has arrived."""
        self._sent_at = -inf
        self._end = 0
        known = set(map(id, self._departures))
        forgotten: list[Departure] = []
        for run in runs:
            departure = run.departure
            if departure.runs is None:
                departure.track()
            if id(departure) not in known:
                known.add(id(departure))
                forgotten.append(departure)
            departure.keep(run)
        self._departures = deque(sorted([*forgotten, *self._departures], key=_sent_at))

    def discard(self) -> None:
        """The connection is over."""
        while self._departures:
            self._forget_first()


def _sent_at(departure: Departure) -> float:
    return departure.at
