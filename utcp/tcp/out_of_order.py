"""Text beyond RCV.NXT, duplicates, and the ACKs that report both, with SACK blocks (RFC 2018, RFC 2883, RFC 5681 4.2).

Positions are stream offsets.
"""

from typing import Final

from utcp.tcp.counters import Counters
from utcp.tcp.reassembly import Reassembly
from utcp.tcp.transmit import Buffer
from utcp.wire.seq import MASK

_SACK_BLOCKS: Final = 4
_LEAST_SACK_BLOCKS: Final = 2
"""Number of SACK blocks that fit beside timestamps and a DSACK."""

_PROMPT_DUPLICATES: Final = 4
"""With SACK, number of duplicate ACKs for one RCV.NXT that leave at once, one for each out-of-order segment. Fast
retransmit needs three (RFC 5681 3.2). Later out-of-order segments share an ACK while they continue one run, because the
first SACK block then reports all of them."""


class OutOfOrder(Reassembly):
    """Owns the out-of-order text, the duplicate to report, and the number of ACKs that are due for them.

    Args:
        sack: SACK was negotiated. Then duplicates are reported as well (RFC 2883).
        counters: the counters of the stack.
    """

    __slots__ = ("_counters", "_dsack", "_last_sack", "_prompt_acks", "_sack", "acks_due", "holding", "segments")

    def __init__(self, sack: bool, counters: Counters) -> None:
        super().__init__()
        self._sack = sack
        self._counters = counters
        self.holding = False
        """True while out-of-order text is held."""
        self.segments = 0
        """Number of received segments with text beyond RCV.NXT."""
        self.acks_due = 0
        """Number of ACKs due for out-of-order segments. They leave before data, because data segments have no room for
        SACK blocks. Each segment gets its own ACK, because the sender counts them (RFC 5681 4.2). With SACK only the
        first `_PROMPT_DUPLICATES` do; later segments that continue a run share one. At least 1 if a DSACK is due."""
        self._prompt_acks = 0
        """Number of out-of-order segments with an ACK of their own since a gap was last filled."""
        self._last_sack = 0.0
        """Departure time of the last shared SACK, seconds: the last result of `next_sack`."""
        self._dsack: tuple[int, int] | None = None
        """The duplicate text to report; None: nothing to report."""

    # ------------------------------------------------------------------ text

    def count_ack(self, start: int, ack_delayed: bool, ack_of_text_due: bool) -> bool:
        """Count the ACK that is due for a segment at `start` beyond RCV.NXT. Return True if it leaves at once.

        Args:
            start: the position of the segment.
            ack_delayed: an ACK was due before, and is delayed.
            ack_of_text_due: an ACK of new text in order was due before, and leaves at once.
        """
        if self._sack and self._prompt_acks >= _PROMPT_DUPLICATES:
            if start == self.recent_end:
                # Only a segment that continues the most recent run may wait. A SACK has room for only three or four
                # runs, and the sender considers a run without a block lost.
                self.acks_due = self.acks_due or 1
                return False
            if ack_delayed and self.acks_due:  # the delayed SACK reports this segment too
                return True
        if ack_of_text_due and not self.acks_due:
            # The in-order segments of this batch get an ACK of their own, so that this one's ACK is a duplicate. Not
            # for a delayed ACK, because at most one ACK leaves for a segment (RFC 5681 4.2).
            self.acks_due = 1
        self.acks_due += 1
        self._prompt_acks += 1
        return True

    def queue(self, start: int, text: bytes) -> bool:
        """Hold the text of a segment, unless there are too many runs. Return True if a part of it is a duplicate, whose
        ACK leaves at once."""
        duplicate = self._note_overlap(start, start + len(text))
        self.segments += 1
        if self.hold(start, text):
            self._counters.ofo_queued += 1
        else:
            self._counters.ofo_drops += 1
        self.holding = True
        return duplicate

    def fill(self, start: int, end: int) -> list[Buffer]:
        """Remove and return the text that follows the text from `start` to `end`, which has arrived in order."""
        self._note_overlap(start, end)
        pieces = self.take(end)
        self.holding = len(self) > 0
        self._prompt_acks = 0
        return pieces

    def prune(self) -> None:
        """Drop all text, because memory is short. The peer retransmits it, because SACKed data may be dropped until it
        is acknowledged cumulatively (RFC 2018 8)."""
        self._counters.ofo_pruned += len(self)
        self.drop()

    def drop(self) -> None:
        """Drop all text."""
        self.clear()
        self.holding = False

    # ------------------------------------------------------------------ duplicates (RFC 2883)

    def _note_overlap(self, start: int, end: int) -> bool:
        """Report the first part of arriving text that is already held. Return False if no part is, or without SACK."""
        overlap = self.overlap(start, end) if self._sack else None
        if overlap is None:
            return False
        if self._dsack is None:
            self._counters.dsacks_ofo_sent += 1
        self._report(overlap[0], overlap[1])
        return True

    def note_duplicate(self, start: int, end: int) -> None:
        """Report text that was received in order before."""
        if self._dsack is None:
            self._counters.dsacks_sent += 1
        self._report(start, end)

    def _report(self, start: int, end: int) -> None:
        """Report a duplicate with the next ACK, which has room for one contiguous block.

        The first duplicate of a batch and those adjacent to it are reported. Others are not, so that the sender misses
        a chance to undo a reduction."""
        if self._dsack is None:
            self._dsack = (start, end)
        elif start <= self._dsack[1] and end >= self._dsack[0]:
            self._dsack = (min(start, self._dsack[0]), max(end, self._dsack[1]))
        self.acks_due = self.acks_due or 1

    # ------------------------------------------------------------------ acknowledging

    @property
    def sack_due(self) -> bool:
        """True if the next ACK carries SACK blocks."""
        return self.holding or self._dsack is not None

    def sack_blocks(self, number: int, base: int) -> tuple[tuple[int, int], ...]:
        """Return the SACK blocks of ACK `number`, counted from 0, of those that leave together. `base` is the sequence
        number of the first octet of the stream.

        The DSACK comes first, followed by the run that contains it (RFC 2883 4), then the out-of-order runs, the most
        recent first (RFC 2018 4). The next ACK continues with the runs for which this one may have no room. The
        sequence number of the FIN is never included."""
        dsack = self._dsack
        blocks = [] if dsack is None else [dsack]
        skipped = number * _LEAST_SACK_BLOCKS
        position = -1 if dsack is None else dsack[0]
        blocks += self.blocks(_SACK_BLOCKS - len(blocks), position, skipped if skipped < len(self) else 0)
        return tuple([((base + start) & MASK, (base + end) & MASK) for start, end in blocks])

    def next_sack(self, now: float, interval: float) -> float:
        """Return when the SACK leaves: now, or after `interval` seconds if the last one left less than `interval` ago.
        So a SACK waits only if segments arrive fast enough to share it."""
        at = now if now >= self._last_sack + interval else now + interval
        self._last_sack = at
        return at

    def limit_acks(self) -> None:
        """Keep at most one ACK, because RCV.NXT has moved, so that the ACKs due would not be duplicates."""
        self.acks_due = 1 if self._sack and self.sack_due else 0

    def acknowledged(self) -> None:
        """Record that an ACK leaves. A duplicate is reported once (RFC 2883 4)."""
        self.acks_due = 0
        self._dsack = None


ALL_IN_ORDER: Final = OutOfOrder(False, Counters())
"""The object of all connections that have received everything in order and once. It never changes, because
`ReceiveSide` makes another one for the first other segment."""
