"""RACK: a segment is lost if a segment sent later was delivered, and the reordering window has passed (RFC 8985 6)."""

from collections import deque
from math import inf
from typing import Final

from utcp._compiled import mypyc_attr
from utcp.tcp.recovery.delivery import ROUNDING
from utcp.tcp.recovery.scoreboard import IN_FLIGHT, Departure, Run

DUP_THRESH: Final = 3
_EVERYTHING: Final = 1 << 62
_PERSIST: Final = 16
"""Number of recoveries for which a wider reordering window is kept (RFC 8985 6.2 step 4)."""


@mypyc_attr(acyclic=True)
class Rack:
    """Owns the departures in order of time, and the reordering window.

    The departures are collected from the first suspicion of a loss (`track`) until all data sent was delivered. On most
    connections there is no such suspicion.
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
        """Begin with all data up to position `end` delivered; it left at `sent_at`, and its ACK arrived `rtt` seconds
        later."""
        self.tracking = False
        """True while `sent` must be called for every departure."""
        self._departures: deque[Departure] = deque()
        self._sent_at = sent_at
        """RACK.xmit_ts: departure of the most recently sent segment among the delivered ones, seconds."""
        self._end = end
        """RACK.end_seq: end position of that segment."""
        self.rtt = rtt
        """RACK.rtt: round-trip time of that segment, seconds."""
        self._fack = end
        """RACK.fack: the highest delivered position."""
        self.reordering_seen = False
        self._mult = 1
        """RACK.reo_wnd_mult: the reordering window, in quarters of the lowest round-trip time."""
        self._persist = _PERSIST
        self._dsack_round = -1

    def track(self, runs: list[Run]) -> None:
        """Begin to collect departures. `runs` is all data sent and not acknowledged."""
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
        """Add a departure, which is later than all before."""
        self._departures.append(departure)

    def delivered(self, run: Run, echo_age: float, min_rtt: float, timed_out: bool, now: float) -> bool:
        """Process the delivery of a run (RFC 8985 6.2 steps 2 and 3). Return True if data sent later has overtaken it.

        Args:
            run: the delivered run.
            echo_age: the age of the echoed timestamp, seconds; -1: there is none.
            min_rtt: the lowest round-trip time, seconds.
            timed_out: a timeout caused the retransmissions, so that perhaps only the ACK of an earlier transmission was
                lost.
            now: the stack's time, seconds.
        """
        overtaken = False
        sent_at = run.departure.at
        rtt = now - sent_at
        # An ACK that arrives earlier than the lowest round-trip time acknowledges an earlier transmission.
        earlier = run.sent > 1 and (rtt < min_rtt - ROUNDING or echo_age > rtt + 0.001)
        if run.end > self._fack:
            self._fack = run.end
        elif run.end < self._fack and (run.sent == 1 or (earlier and not timed_out)):
            # RFC 8985 6.2 step 3 considers only data sent once. If three segments overtake each delayed one, it is
            # always retransmitted before it is delivered, and the reordering would never be detected.
            self.reordering_seen = overtaken = True
        if earlier:
            return overtaken
        if sent_at > self._sent_at or (sent_at == self._sent_at and run.end > self._end):
            self._sent_at = sent_at
            self._end = run.end
            self.rtt = rtt
        return overtaken

    def delivered_in_order(self, run: Run, all_arrived: bool, now: float) -> None:
        """Process the in-order delivery of all data up to the end of `run`, if no data was retransmitted or SACKed. The
        effect is that of `delivered` and `detect`. `all_arrived`: no data is outstanding."""
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
        """Record reordering, after a DSACK for a segment that was retransmitted because later ones had overtaken it
        (RFC 8985 3.3.2)."""
        self.reordering_seen = True

    def saw_dsack(self, nxt: int, una: int) -> None:
        """Widen the reordering window after a DSACK, at most once per round trip (6.2 step 4)."""
        if self._dsack_round < 0 or una >= self._dsack_round:
            self._dsack_round = nxt
            self._mult += 1
            self._persist = _PERSIST

    def recovered(self) -> None:
        """Count the end of a recovery. After 16 of them the reordering window has its initial width again."""
        self._persist -= 1
        if self._persist <= 0:
            self._mult = 1
            self._persist = _PERSIST

    def window(self, impatient: bool, min_rtt: float, srtt: float) -> float:
        """Return RACK.reo_wnd, seconds. `impatient`: in recovery, or three segments are SACKed. Then the window is 0,
        unless reordering was seen."""
        if impatient and not self.reordering_seen:
            return 0.0
        return min(self._mult * min_rtt / 4, srtt)

    def detect(self, reo_wnd: float, now: float) -> tuple[list[Run], float]:
        """Return the runs that are lost by now, and the time of the next check; `inf`: none is needed (6.2 step 5)."""
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
        """Drop the first departure, and its list of runs, so that no reference cycle remains. Each run refers to its
        departure."""
        self._departures.popleft().track_no_more()

    def overdue(self, reo_wnd: float, now: float) -> list[Run]:
        """Return the runs lost at a retransmission timeout: all that left at least a round-trip time and a reordering
        window ago (RFC 8985 6.3)."""
        lost: list[Run] = []
        departures = self._departures
        while departures and departures[0].at + self.rtt + reo_wnd <= now:
            lost += [run for run in departures[0].runs or [] if run.state == IN_FLIGHT]
            self._forget_first()
        return lost

    def restore(self, runs: list[Run]) -> None:
        """Track runs again that were considered lost but are in flight. The ACK of an original transmission was
        attributed to its retransmission, so that the next ACK must determine the most recent delivery again."""
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
        """Drop all departures, because the connection is over."""
        while self._departures:
            self._forget_first()


def _sent_at(departure: Departure) -> float:
    return departure.at
