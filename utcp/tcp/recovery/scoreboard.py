"""The scoreboard of RFC 6675: the state of all octets sent and not acknowledged cumulatively.

Positions count octets of sequence space from the ISS on, SYN and FIN included, and do not wrap. A `Run` is a range of
positions with one departure and one state, and may consist of many segments. Adjacent SACKed runs are merged. So the
cost of an ACK depends on the changes it makes, not on the amount of data in flight.
"""

from __future__ import annotations

from bisect import insort
from heapq import heappop, heappush
from typing import Final

from utcp._compiled import mypyc_attr

IN_FLIGHT: Final = 0
SACKED: Final = 1
LOST: Final = 2
GONE: Final = 3
"""The run was acknowledged, or replaced by another run. It is no longer in the scoreboard."""


class Run:
    """Positions `start` to `end` (exclusive), sent `sent` times, last with `departure`."""

    __slots__ = ("departure", "end", "sent", "start", "state")

    def __init__(self, start: int, end: int, departure: Departure, sent: int, state: int) -> None:
        self.start = start
        self.end = end
        self.departure = departure
        self.sent = sent
        self.state = state


class Departure:
    """The data of a connection that left in one flush, and the state of the sender at that time. Octets are of sequence
    space, times in seconds."""

    __slots__ = ("app_limited", "at", "delivered", "delivered_at", "first_sent_at", "in_flight", "lost", "mss", "runs")

    def __init__(
        self,
        at: float,
        delivered: int,
        delivered_at: float,
        first_sent_at: float,
        lost: int = 0,
        app_limited: bool = False,
        mss: int = 1,
    ) -> None:
        self.at = at
        """Time of departure, seconds."""
        self.delivered = delivered
        """Total of octets delivered at that time (P.delivered)."""
        self.delivered_at = delivered_at
        """Time of the last delivery before it, seconds (P.delivered_time)."""
        self.first_sent_at = first_sent_at
        """Beginning of the flight whose delivery rate this measures, seconds (P.first_send_time)."""
        self.in_flight = 0
        """Octets in flight after the departure, its own included (P.tx_in_flight)."""
        self.lost = lost
        """Total of octets considered lost at that time (P.lost)."""
        self.app_limited = app_limited
        """True if the application had no more data, so that the measured rate may be the application's."""
        self.mss = mss
        """Size of each segment sent for the first time, octets; the last one may be smaller. 1: any size."""
        self.runs: list[Run] | None = None
        """The runs of the departure, in order, and some that are no longer in flight; None: RACK does not track it."""

    def track(self) -> None:
        """Collect the runs from now on."""
        self.runs = []

    def track_no_more(self) -> None:
        """Drop the list of runs, because RACK no longer tracks the departure."""
        self.runs = None

    def left(self, in_flight: int) -> None:
        """Correct the octets in flight after the departure."""
        self.in_flight = in_flight

    def keep(self, run: Run) -> None:
        """Add a run of the departure, if RACK tracks it."""
        runs = self.runs
        if runs is not None:
            if runs and runs[-1].start > run.start:
                insort(runs, run, key=_start)
            else:
                runs.append(run)


def _start(run: Run) -> int:
    return run.start


_NO_RUNS: Final[list[Run]] = []
"""The list of all empty scoreboards, which never changes: the first run brings a list of its own."""


@mypyc_attr(acyclic=True)
class Scoreboard:
    """Owns the runs, which cover [`una`, `nxt`) without gaps, and the number of octets in each state."""

    __slots__ = ("_head", "_lost_starts", "_runs", "in_flight", "lost", "nxt", "sacked", "una")

    def __init__(self) -> None:
        self.una = 0
        self.nxt = 0
        self.in_flight = 0
        self.sacked = 0
        self.lost = 0
        self._runs = _NO_RUNS
        self._head = 0
        """Index of the first run that is not acknowledged."""
        self._lost_starts: list[int] | None = None
        """Heap of the start of each lost run, and of some runs that were lost before; None: nothing was lost."""

    @property
    def run_count(self) -> int:
        """Number of runs."""
        return len(self._runs) - self._head

    def runs(self) -> list[Run]:
        """Return the runs in order."""
        return self._runs[self._head :]

    @property
    def first_length(self) -> int:
        """Length of the first run, octets; 0: there is none."""
        if self.una == self.nxt:
            return 0
        return self._runs[self._head].end - self.una

    @property
    def resent_in_flight(self) -> int:
        """Octets in flight that were retransmitted."""
        return sum(run.end - run.start for run in self.runs() if run.state == IN_FLIGHT and run.sent > 1)

    # ------------------------------------------------------------------ sending

    def send(self, size: int, departure: Departure) -> None:
        """Add `size` octets from `nxt` on, which leave for the first time."""
        start = self.nxt
        self.nxt = end = start + size
        self.in_flight = departure.in_flight = self.in_flight + size
        runs = self._runs
        if runs and runs[-1].departure is departure:
            last = runs[-1]
            if (
                last.sent == 1
                and last.state == IN_FLIGHT
                and not (start - last.start) % departure.mss  # the segments of a run must have the same size
            ):
                last.end = end
                return
        run = Run(start, end, departure, 1, IN_FLIGHT)
        if runs:
            runs.append(run)
        else:
            self._runs = [run]
        if departure.runs is not None:
            departure.keep(run)

    def next_lost(self) -> Run | None:
        """Return the first lost run; None: there is none."""
        heap = self._lost_starts
        while heap:
            index = self._first_from(heap[0], self._head)
            if index < len(self._runs):
                run = self._runs[index]
                if run.start == heap[0] and run.state == LOST:
                    return run
            heappop(heap)
        return None

    def _first_from(self, position: int, low: int) -> int:
        """Return the index of the first run, from index `low` on, that begins at `position` or later."""
        runs = self._runs
        high = len(runs)
        while low < high:
            middle = (low + high) >> 1
            if runs[middle].start < position:
                low = middle + 1
            else:
                high = middle
        return low

    def resend(self, start: int, size: int, departure: Departure) -> None:
        """Record the retransmission of `size` octets from `start` on, within one run that is not SACKed."""
        self._split(start + size)
        index = self._split(start)
        run = self._runs[index]
        if run.state == LOST:
            self.lost -= size
            self.in_flight += size
        departure.in_flight = self.in_flight
        again = Run(start, start + size, departure, run.sent + 1, IN_FLIGHT)
        run.state = GONE
        self._runs[index] = again
        departure.keep(again)

    def tail(self, size: int) -> int:
        """Return the start of the last `size` octets, or of the last run if that is shorter."""
        run = self._runs[-1]
        return max(run.start, self.nxt - size)

    def _split(self, position: int) -> int:
        """Split a run so that one begins at `position`. Return the index of that run, for `nxt` the number of runs."""
        runs = self._runs
        index = self._first_from(position, self._head)
        if index < len(runs) and runs[index].start == position:
            return index
        if position >= self.nxt:
            return len(runs)
        runs.insert(index, self._cut(runs[index - 1], position))
        return index

    def _cut(self, run: Run, position: int) -> Run:
        """Shorten `run` to end at `position`. Return the rest as a new run."""
        rest = Run(position, run.end, run.departure, run.sent, run.state)
        run.end = position
        if run.state == IN_FLIGHT:
            run.departure.keep(rest)
        elif run.state == LOST:
            self._note_lost(position)
        return rest

    # ------------------------------------------------------------------ acknowledgement

    def acknowledge(self, position: int) -> list[Run]:
        """Move `una` to `position`. Return the runs that this delivers, that is, those not SACKed before."""
        runs, head = self._runs, self._head
        self.una = position
        if position == self.nxt and not head and not self.sacked:  # shortcut for the ACK of a whole flight
            for run in runs:
                run.state = GONE
            self._runs = _NO_RUNS
            self._lost_starts = None
            self.in_flight = self.lost = 0
            return runs
        delivered: list[Run] = []
        while head < len(runs):
            run = runs[head]
            if run.end > position:
                if run.start >= position:
                    break
                rest = self._cut(run, position)
                runs[head] = rest
                beyond = (position - run.start) % run.departure.mss
                if beyond and rest.state != SACKED:  # the ACK is within a segment; the next segment begins a run
                    edge = position + run.departure.mss - beyond
                    if edge < rest.end:
                        runs.insert(head + 1, self._cut(rest, edge))
                self._account(run)
                if run.state != SACKED:
                    delivered.append(run)
                run.state = GONE
                break
            self._account(run)
            if run.state != SACKED:
                delivered.append(run)
            run.state = GONE
            head += 1
        if head == len(runs):
            self._runs = _NO_RUNS
            self._lost_starts = None
            head = 0
        elif head >= 64 and head * 2 >= len(runs):
            del runs[:head]
            head = 0
        self._head = head
        return delivered

    def _account(self, run: Run) -> None:
        """Subtract a run from the number of octets in its state."""
        size = run.end - run.start
        if run.state == IN_FLIGHT:
            self.in_flight -= size
        elif run.state == SACKED:
            self.sacked -= size
        else:
            self.lost -= size

    def sack(self, left: int, right: int) -> list[Run]:
        """Process a SACK block [`left`, `right`) within [`una`, `nxt`]. Return the runs that this delivers.

        Only segments wholly within the block count (RFC 2018 5). Otherwise blocks of single octets could split the
        flight into pieces, each of which takes memory and would be retransmitted in a segment of its own
        (CVE-2019-11478). A block with partial segments at its ends is still used, because a receiver may trim a segment
        to its window, and the segments between the ends have arrived. An end at SND.NXT - 1 counts, because some peers
        omit our FIN from their blocks.
        """
        runs = self._runs
        begin = self._first_from(left + 1, self._head) - 1
        first = runs[begin]
        if first.state == SACKED and first.end >= right:
            return []  # known before, because each block is reported several times (RFC 2018 4)
        if first.start < left and first.state != SACKED:
            left = min(left + (first.start - left) % first.departure.mss, first.end)
        last = runs[self._first_from(right, begin) - 1]
        if right < last.end and last.state != SACKED and right != self.nxt - 1:
            right -= (right - last.start) % last.departure.mss
        if left >= right:
            return []
        if first.start < left and first.state != SACKED:
            begin = self._split(left)
        end = self._first_from(right, begin)
        if runs[end - 1].end > right and runs[end - 1].state != SACKED:
            end = self._split(right)
        delivered = []
        for run in runs[begin:end]:
            if run.state != SACKED:
                self._account(run)
                run.state = GONE
                self.sacked += run.end - run.start
                delivered.append(run)
        if begin > self._head and runs[begin - 1].state == SACKED:
            begin -= 1
        if end < len(runs) and runs[end].state == SACKED:
            end += 1
        whole = Run(runs[begin].start, runs[end - 1].end, runs[begin].departure, 1, SACKED)
        for run in runs[begin:end]:
            run.state = GONE
        runs[begin:end] = [whole]
        return delivered

    # ------------------------------------------------------------------ loss

    def mark_lost(self, run: Run) -> None:
        """Mark a run in flight as lost."""
        size = run.end - run.start
        run.state = LOST
        self.in_flight -= size
        self.lost += size
        self._note_lost(run.start)

    def _note_lost(self, start: int) -> None:
        if self._lost_starts is None:
            self._lost_starts = []
        heappush(self._lost_starts, start)

    def mark_first_lost(self, size: int) -> Run | None:
        """Mark up to `size` octets from `una` on, and a FIN that left with them, as lost if they are in flight. Return
        their run; None: nothing was marked."""
        if self.una == self.nxt or self._runs[self._head].state != IN_FLIGHT:
            return None
        run = self._runs[self._head]
        if run.end - run.start > size + 1:
            self._split(run.start + size)
        self.mark_lost(run)
        return run

    def forget_sacks(self) -> None:
        """Mark all SACKed runs as in flight again, because the peer may have dropped SACKed data (RFC 2018 8). They
        count as retransmitted (Karn's rule), because the departures of their parts are no longer known."""
        for run in self.runs():
            if run.state == SACKED:
                size = run.end - run.start
                self.sacked -= size
                self.in_flight += size
                run.state = IN_FLIGHT
                run.sent += 1
                run.departure.keep(run)

    def find_lost_again(self) -> list[Run]:
        """Mark all lost runs as in flight again, because nothing was lost. Return these runs."""
        found = [run for run in self.runs() if run.state == LOST]
        for run in found:
            size = run.end - run.start
            run.state = IN_FLIGHT
            self.lost -= size
            self.in_flight += size
        self._lost_starts = None
        return found
