"""What was sent and is not acknowledged cumulatively: the scoreboard of RFC 6675, in stretches of equal fate.

Positions count octets of sequence space from the ISS on, SYN and FIN included, and do not wrap. A stretch (`Run`) left
at one time and has one fate, whatever number of segments it was; SACKed neighbours melt into one. So an ACK costs what
it changes, not what is in flight.
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
"""Acknowledged, or replaced by another run: it is in the scoreboard no longer."""


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
    """What left at one time, and what the sender knew when it did. Octets are of sequence space, times in seconds."""

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
        """When it left."""
        self.delivered = delivered
        """Octets known to be delivered by then in all, and when the last of them was learned of."""
        self.delivered_at = delivered_at
        self.first_sent_at = first_sent_at
        """When the flight began whose delivery this will measure."""
        self.in_flight = 0
        """Octets in flight once it had left, its own included (P.tx_in_flight)."""
        self.lost = lost
        """Octets taken for lost by then in all."""
        self.app_limited = app_limited
        """The application had sent all it had: what is measured may be its speed, not the path's."""
        self.mss = mss
        """Octets of each segment that left for the first time, but for the last one; 1: of any size."""
        self.runs: list[Run] | None = None
        """The stretches of sequence space that left, in order, and some that are dealt with; None: nobody asks by time
        what is missing."""

    def track(self) -> None:
        """Keep its runs from now on."""
        self.runs = []

    def track_no_more(self) -> None:
        """Nobody asks any more by time what is missing of it."""
        self.runs = None

    def left(self, in_flight: int) -> None:
        """The flush with it is over, and so many octets are in flight."""
        self.in_flight = in_flight

    def keep(self, run: Run) -> None:
        """A stretch of it became a run of its own."""
        runs = self.runs
        if runs is not None:
            if runs and runs[-1].start > run.start:
                insort(runs, run, key=_start)
            else:
                runs.append(run)


def _start(run: Run) -> int:
    return run.start


@mypyc_attr(acyclic=True)
class Scoreboard:
    """Owns the runs, which cover [`una`, `nxt`) without a gap, and how many octets stand in each state."""

    __slots__ = ("_head", "_lost_starts", "_runs", "in_flight", "lost", "nxt", "sacked", "una")

    def __init__(self) -> None:
        self.una = 0
        self.nxt = 0
        self.in_flight = 0
        self.sacked = 0
        self.lost = 0
        self._runs: list[Run] = []
        self._head = 0
        """Index of the first run; those before it are acknowledged."""
        self._lost_starts: list[int] | None = None
        """A heap with the start of each lost run, and of some that are not any more; None while nothing was lost."""

    @property
    def run_count(self) -> int:
        """How many runs there are."""
        return len(self._runs) - self._head

    def runs(self) -> list[Run]:
        """The runs in order."""
        return self._runs[self._head :]

    @property
    def first_length(self) -> int:
        """Octets of the first run, 0 without one."""
        if self.una == self.nxt:
            return 0
        return self._runs[self._head].end - self.una

    @property
    def resent_in_flight(self) -> int:
        """Octets in flight that were sent more than once."""
        return sum(run.end - run.start for run in self.runs() if run.state == IN_FLIGHT and run.sent > 1)

    # ------------------------------------------------------------------ sending

    def send(self, size: int, departure: Departure) -> None:
        """`size` octets from `nxt` on leave for the first time."""
        start = self.nxt
        self.nxt = end = start + size
        self.in_flight += size
        runs = self._runs
        if len(runs) > self._head:
            last = runs[-1]
            if (
                last.departure is departure
                and last.sent == 1
                and last.state == IN_FLIGHT
                and not (start - last.start) % departure.mss  # else the segments of one run would not be of one size
            ):
                last.end = end
                return
        run = Run(start, end, departure, 1, IN_FLIGHT)
        runs.append(run)
        if departure.runs is not None:
            departure.keep(run)

    def next_lost(self) -> Run | None:
        """The first run that is lost, None when none is."""
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
        """The index of the first run, not before index `low`, that begins at `position` or behind it."""
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
        """`size` octets from `start` on, within one run that is not SACKed, leave once more."""
        self._split(start + size)
        index = self._split(start)
        run = self._runs[index]
        if run.state == LOST:
            self.lost -= size
            self.in_flight += size
        again = Run(start, start + size, departure, run.sent + 1, IN_FLIGHT)
        run.state = GONE
        self._runs[index] = again
        departure.keep(again)

    def tail(self, size: int) -> int:
        """Where the last stretch of at most `size` octets begins that left together and is not SACKed."""
        run = self._runs[-1]
        return max(run.start, self.nxt - size)

    def _split(self, position: int) -> int:
        """Make a run begin at `position`; its index (that behind the last for `nxt`)."""
        runs = self._runs
        index = self._first_from(position, self._head)
        if index < len(runs) and runs[index].start == position:
            return index
        if position >= self.nxt:
            return len(runs)
        runs.insert(index, self._cut(runs[index - 1], position))
        return index

    def _cut(self, run: Run, position: int) -> Run:
        """Shorten `run` to end at `position`; what is behind it, as a new run."""
        rest = Run(position, run.end, run.departure, run.sent, run.state)
        run.end = position
        if run.state == IN_FLIGHT:
            run.departure.keep(rest)
        elif run.state == LOST:
            self._note_lost(position)
        return rest

    # ------------------------------------------------------------------ acknowledgement

    def acknowledge(self, position: int) -> list[Run]:
        """Move `una` to `position`; what this delivers, i.e. was not SACKed before."""
        runs, head = self._runs, self._head
        self.una = position
        if position == self.nxt and not head and not self.sacked:  # most flights are short, and acknowledged at once
            for run in runs:
                run.state = GONE
            self._runs = []
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
                if beyond and rest.state != SACKED:  # the peer took a part of a segment: a run begins with the next one
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
            runs.clear()
            self._lost_starts = None
            head = 0
        elif head >= 64 and head * 2 >= len(runs):
            del runs[:head]
            head = 0
        self._head = head
        return delivered

    def _account(self, run: Run) -> None:
        """Take a run out of the sum that it stands in."""
        size = run.end - run.start
        if run.state == IN_FLIGHT:
            self.in_flight -= size
        elif run.state == SACKED:
            self.sacked -= size
        else:
            self.lost -= size

    def sack(self, left: int, right: int) -> list[Run]:
        """The peer has [`left`, `right`), which lies in [`una`, `nxt`]; what this delivers.

        Only segments that lie wholly within the block count (RFC 2018 5). A segment that it covers in part does not:
        blocks of single octets would cut the flight to pieces, each of which takes memory and would be sent again in a
        segment of its own (CVE-2019-11478). The block is not refused for its ends, because a receiver may trim a
        segment to its window, and what lies between has arrived. An end at SND.NXT - 1 counts, because some peers
        leave our FIN out of their blocks.
        """
        runs = self._runs
        begin = self._first_from(left + 1, self._head) - 1
        first = runs[begin]
        if first.state == SACKED and first.end >= right:
            return []  # it was known: each block is told several times (RFC 2018 4)
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

    def lose(self, run: Run) -> None:
        """A run in flight is taken for lost."""
        size = run.end - run.start
        run.state = LOST
        self.in_flight -= size
        self.lost += size
        self._note_lost(run.start)

    def _note_lost(self, start: int) -> None:
        if self._lost_starts is None:
            self._lost_starts = []
        heappush(self._lost_starts, start)

    def lose_first(self, size: int) -> Run | None:
        """Take up to `size` octets from `una` on for lost, if they are in flight, and a FIN that left with them."""
        if self.una == self.nxt or self._runs[self._head].state != IN_FLIGHT:
            return None
        run = self._runs[self._head]
        if run.end - run.start > size + 1:
            self._split(run.start + size)
        self.lose(run)
        return run

    def forget_sacks(self) -> None:
        """The peer may have dropped what it had SACKed (RFC 2018 8): it is in flight again. When its parts left is not
        known any more, so it counts as sent more than once (Karn's rule)."""
        for run in self.runs():
            if run.state == SACKED:
                size = run.end - run.start
                self.sacked -= size
                self.in_flight += size
                run.state = IN_FLIGHT
                run.sent += 1
                run.departure.keep(run)

    def find_lost_again(self) -> list[Run]:
        """Nothing was lost after all: all that is taken for lost is in flight; those runs."""
        found = [run for run in self.runs() if run.state == LOST]
        for run in found:
            size = run.end - run.start
            run.state = IN_FLIGHT
            self.lost -= size
            self.in_flight += size
        self._lost_starts = None
        return found
