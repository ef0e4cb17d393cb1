"""Out-of-order text, held in bounded memory until the text before it arrives (RFC 9293 SHLD-31)."""

from bisect import bisect_right
from itertools import islice
from typing import Final

from utcp.tcp.transmit import Buffer

_MAX_RUNS: Final = 1024
"""Largest number of runs. A segment that needs another run is dropped, and the peer retransmits it."""

_MAX_PIECES: Final = 4096
"""Number of pieces from which adjacent ones are joined, because each takes PIECE octets beyond its text."""

PIECE: Final = 160
"""Memory overhead of a piece, octets."""

RUN: Final = 256
"""Memory of a run without its pieces, octets."""

_JOINED: Final = 16384
"""Lowest size to which pieces are joined, octets."""


def join_pieces(pieces: list[Buffer], target: int) -> list[Buffer]:
    """Return the same octets in fewer pieces. Of two adjacent pieces, one has at least `target` octets. Pieces of that
    size are not changed, so that an octet is rarely copied twice."""
    joined: list[Buffer] = []
    small: list[Buffer] = []
    size = 0
    for piece in pieces:
        if len(piece) < target:
            small.append(piece)
            size += len(piece)
            if size < target:
                continue
        if small:
            joined.append(b"".join(small))
            small = []
            size = 0
        if len(piece) >= target:
            joined.append(piece)
    if small:
        joined.append(b"".join(small))
    return joined


def join_target(octets: int) -> int:
    """Return the size to which pieces of `octets` in total are joined, so that few pieces result at any size."""
    return max(_JOINED, octets >> 10)


class _Run:
    """Contiguous text: stream offsets `start` to `end` (exclusive)."""

    __slots__ = ("end", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end


class Reassembly:
    """Runs of text by stream offset.

    A segment costs a binary search, plus one step for each run that it merges with another. Text stays in the pieces of
    its segments, which are found by their start. `take` visits each piece once.
    """

    __slots__ = ("_octets", "_pieces", "_recent", "_runs", "_starts")

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        """The runs in order, neither overlapping nor adjacent."""
        self._starts: list[int] = []
        """The start of each run, for the binary search."""
        self._recent: dict[_Run, None] = {}
        """The same runs in order of their last change, the most recent last, for SACK."""
        self._pieces: dict[int, Buffer] = {}
        """Text by stream offset. The pieces of a run are adjacent and do not overlap."""
        self._octets = 0
        """Length of all pieces, octets."""

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self._runs)

    @property
    def kept(self) -> int:
        """Memory of all runs and pieces, octets."""
        return self._octets + len(self._pieces) * PIECE + len(self._runs) * RUN

    def hold(self, start: int, text: bytes) -> bool:
        """Hold `text` that begins at `start`. Return False if another run is needed and there are too many. Text that
        is already held is not replaced."""
        if len(self._pieces) >= _MAX_PIECES:
            self._join()
        runs, starts = self._runs, self._starts
        end = start + len(text)
        first = bisect_right(starts, start)
        if first and runs[first - 1].end >= start:
            first -= 1
        last = first
        position = start
        while last < len(runs) and starts[last] <= end:  # every run that overlaps or adjoins the text
            run = runs[last]
            if run.start > position:
                self._pieces[position] = text[position - start : run.start - start]
                self._octets += run.start - position
            position = max(position, run.end)
            last += 1
        if last == first and len(runs) >= _MAX_RUNS:
            return False
        if position < end:
            self._pieces[position] = text[position - start :]
            self._octets += end - position
            position = end
        if last == first:
            run = _Run(start, end)
            runs.insert(first, run)
            starts.insert(first, start)
        else:
            for run in runs[first:last]:
                del self._recent[run]
            run = runs[first]
            run.start = min(run.start, start)
            run.end = position
            starts[first] = run.start
            del runs[first + 1 : last]
            del starts[first + 1 : last]
        self._recent[run] = None
        return True

    def take(self, position: int) -> list[Buffer]:
        """Remove and return the text from `position` to the next hole, and remove all text before it."""
        count = bisect_right(self._starts, position)
        pieces = self._pieces
        taken: list[Buffer] = []
        for run in self._runs[:count]:
            del self._recent[run]
            place = run.start
            while place < run.end:
                piece = pieces.pop(place)
                size = len(piece)
                self._octets -= size
                if place >= position:
                    taken.append(piece)
                elif place + size > position:
                    taken.append(piece[position - place :])
                place += size
        del self._runs[:count]
        del self._starts[:count]
        return taken

    def overlap(self, start: int, end: int) -> tuple[int, int] | None:
        """Return the first contiguous part of `start` to `end` that is held; None: no part is held."""
        index = bisect_right(self._starts, start)
        if index and self._runs[index - 1].end > start:
            return start, min(end, self._runs[index - 1].end)
        if index < len(self._runs) and self._starts[index] < end:
            return self._starts[index], min(end, self._runs[index].end)
        return None

    @property
    def recent_end(self) -> int:
        """End of the run that changed last; -1: nothing is held."""
        return next(reversed(self._recent)).end if self._recent else -1

    def blocks(self, count: int, position: int, skipped: int = 0) -> list[tuple[int, int]]:
        """Return up to `count` runs: the one that contains `position`, then the others, the most recent first (RFC 2018
        4), without the `skipped` most recent ones."""
        blocks: list[tuple[int, int]] = []
        index = bisect_right(self._starts, position) - 1
        before = self._runs[index] if index >= 0 and self._runs[index].end > position else None
        if before is not None:
            blocks.append((before.start, before.end))
        for run in islice(reversed(self._recent), skipped, None):
            if len(blocks) >= count:
                break
            if run is not before:
                blocks.append((run.start, run.end))
        return blocks

    def clear(self) -> None:
        """Drop all text."""
        self._runs.clear()
        self._starts.clear()
        self._recent.clear()
        self._pieces.clear()
        self._octets = 0

    def _join(self) -> None:
        """Join pieces. At most three quarters of _MAX_PIECES remain, so that this happens rarely."""
        target = join_target(self._runs[-1].end - self._runs[0].start)
        pieces: dict[int, Buffer] = {}
        for run in self._runs:
            own: list[Buffer] = []
            place = run.start
            while place < run.end:
                piece = self._pieces[place]
                own.append(piece)
                place += len(piece)
            place = run.start
            for piece in join_pieces(own, target):
                pieces[place] = piece
                place += len(piece)
        self._pieces = pieces
