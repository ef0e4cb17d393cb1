"""Text that arrived before what precedes it, held until its turn comes, in bounded memory (RFC 9293 SHLD-31)."""

from bisect import bisect_right
from itertools import islice
from typing import Final

from utcp.tcp.transmit import Buffer

_MAX_RUNS: Final = 1024
"""Runs held at once; a segment that would open another is dropped and comes again."""

_MAX_PIECES: Final = 4096
"""Pieces held before neighbours are joined: each takes PIECE more than its text."""

PIECE: Final = 160
"""Octets that a piece takes beyond its text."""

RUN: Final = 256
"""Octets that a run takes beyond its pieces."""

_JOINED: Final = 16384
"""What pieces are joined to at least."""


def join_pieces(pieces: list[Buffer], target: int) -> list[Buffer]:
    """The same octets in fewer pieces: of two neighbours, one has `target` octets or more. Such pieces stay as they
    are, so that an octet is seldom copied twice."""
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
    """What to join so many octets to: few pieces result, however large the buffer is."""
    return max(_JOINED, octets >> 10)


class _Run:
    """Text without a hole: the octets `start` to `end` (exclusive) of the stream."""

    __slots__ = ("end", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end


class Reassembly:
    """Runs of text by their place in the stream, counted in octets from its beginning.

    A segment costs a binary search and, over all segments, one step for each run that it closes up with another. Its
    text stays in the pieces it came in, found by where they start; they are walked once, when their turn comes.
    """

    __slots__ = ("_octets", "_pieces", "_recent", "_runs", "_starts")

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        """In order, neither overlapping nor touching each other."""
        self._starts: list[int] = []
        """Where each of them starts, for the binary search."""
        self._recent: dict[_Run, None] = {}
        """The same runs, the one that was added to last at the end: the order in which SACK tells them."""
        self._pieces: dict[int, Buffer] = {}
        """Text by its place. The pieces of a run follow each other without overlap."""
        self._octets = 0
        """Of all pieces together."""

    def __len__(self) -> int:
        """How many runs are held."""
        return len(self._runs)

    @property
    def kept(self) -> int:
        """Octets of memory that all of it takes."""
        return self._octets + len(self._pieces) * PIECE + len(self._runs) * RUN

    def hold(self, start: int, text: bytes) -> bool:
        """Keep `text`, which begins at `start`; False when there is no room for another run. What is held stays."""
        if len(self._pieces) >= _MAX_PIECES:
            self._join()
        runs, starts = self._runs, self._starts
        end = start + len(text)
        first = bisect_right(starts, start)
        if first and runs[first - 1].end >= start:
            first -= 1
        last = first
        position = start
        while last < len(runs) and starts[last] <= end:  # every run that the text overlaps or touches
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
        """The text from `position` on up to the next hole. It and all that lies before is no longer held."""
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
        """The first part of `start` to `end` that is held without a hole; None if nothing of it is."""
        index = bisect_right(self._starts, start)
        if index and self._runs[index - 1].end > start:
            return start, min(end, self._runs[index - 1].end)
        if index < len(self._runs) and self._starts[index] < end:
            return self._starts[index], min(end, self._runs[index].end)
        return None

    @property
    def recent_end(self) -> int:
        """Where the run ends that was added to last; -1 if nothing is held."""
        return next(reversed(self._recent)).end if self._recent else -1

    def blocks(self, count: int, position: int, skipped: int = 0) -> list[tuple[int, int]]:
        """Up to `count` runs, the most recent first (RFC 2018 4), without the `skipped` most recent ones; before all
        others the one that has `position`."""
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
        """Hold nothing any more."""
        self._runs.clear()
        self._starts.clear()
        self._recent.clear()
        self._pieces.clear()
        self._octets = 0

    def _join(self) -> None:
        """Fewer and larger pieces: at most three quarters of what may be held are left, so this happens seldom."""
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
