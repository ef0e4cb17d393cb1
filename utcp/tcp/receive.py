"""The receive side of a connection: RCV.*, reassembly (FIN included), when to acknowledge, the window to offer."""

from typing import Final

from utcp.tcp.counters import Counters
from utcp.tcp.transmit import Buffer
from utcp.wire.options import MAX_WINDOW_SCALE
from utcp.wire.seq import HALF, MASK, diff

NONE: Final = 0
DELAYED: Final = 1
NOW: Final = 2

_MAX_RUNS: Final = 256
"""Runs of out-of-order data held at once; a segment that would open another is dropped and comes again."""

_SACK_BLOCKS: Final = 4


class _Run:
    """Contiguous data that arrived before what precedes it: octets `start` to `end` (exclusive)."""

    __slots__ = ("end", "parts", "start")

    def __init__(self, start: int, end: int, parts: list[bytes]) -> None:
        self.start = start
        self.end = end
        self.parts = parts


class ReceiveSide:
    """Owns RCV.NXT, the right edge of the window, received data in and out of order, and the debt of ACKs."""

    __slots__ = (
        "_chunks",
        "_counters",
        "_fin_seq",
        "_limit",
        "_runs",
        "_since_ack",
        "ack_due",
        "bytes_received",
        "duplicate_acks_due",
        "fin_reached",
        "irs",
        "last_ack_sent",
        "mss",
        "out_of_order",
        "rcv_adv",
        "rcv_nxt",
        "rcv_up",
        "readable",
        "shift",
        "ts_recent",
        "ts_recent_at",
    )

    def __init__(self, limit: int, counters: Counters) -> None:
        self._limit = limit
        self._counters = counters
        self.irs = 0
        self.rcv_nxt = 0
        self.rcv_adv = 0
        """The right edge of the window as the peer knows it: RCV.NXT + RCV.WND. It never moves left."""
        self.shift = 0
        """Our window scale (RFC 7323): what the peer shifts our window field by."""
        self.last_ack_sent = 0
        self.ack_due = NONE
        self.duplicate_acks_due = 0
        """ACKs owed for out-of-order segments, one each: their sender counts them (RFC 5681 4.2)."""
        self.ts_recent = 0
        """TS.Recent of RFC 7323 4.3, and when it was taken."""
        self.ts_recent_at = 0.0
        self.mss = 536
        """The largest payload seen: what the peer calls a full-sized segment."""
        self.readable = 0
        self.bytes_received = 0
        self.out_of_order = 0
        """Segments that arrived with text beyond RCV.NXT."""
        self.rcv_up = 0
        """RCV.UP as a stream offset: urgent data ends before it. 0: there was none."""
        self.fin_reached = False
        """The peer's FIN and all before it arrived."""
        self._chunks: list[Buffer] = []
        self._runs: list[_Run] = []
        self._fin_seq: int | None = None
        self._since_ack = 0

    # ------------------------------------------------------------------ opening

    def synchronize(self, irs: int) -> None:
        """The peer's SYN has this number."""
        self.irs = irs
        self.rcv_nxt = (irs + 1) & MASK
        self.last_ack_sent = self.rcv_nxt
        self.rcv_adv = (self.rcv_nxt + min(self._limit, 65535)) & MASK

    def scale_for_buffer(self) -> int:
        """The window scale that lets the whole buffer be offered (RFC 7323 2.2)."""
        return min(((self._limit - 1) // 65535).bit_length(), MAX_WINDOW_SCALE)

    def scale_window(self) -> None:
        """Both sides scale: from here on the window field counts in units of ours."""
        self.shift = self.scale_for_buffer()

    # ------------------------------------------------------------------ the window

    @property
    def window(self) -> int:
        """RCV.WND in octets, as last offered."""
        return (self.rcv_adv - self.rcv_nxt) & MASK

    @property
    def window_field(self) -> int:
        """The window last offered, as a raw header field."""
        return min(65535, ((self.rcv_adv - self.rcv_nxt) & MASK) + (1 << self.shift) - 1 >> self.shift)

    @property
    def _room(self) -> int:
        """What the buffer still holds, as far as the window field can say it."""
        return min(self._limit - self.readable, 65535 << self.shift)

    def offer_window(self) -> int:
        """Move the right edge as far as the buffer and silly-window avoidance allow; the raw field to send.

        RFC 9293 3.8.6.2.2 (MUST-39): the edge moves by a segment or half the buffer at least, or stays. It is rounded
        up to the scale's unit: rounding down would move it left as RCV.NXT advances (RFC 7323 2.4). Behind the peer's
        FIN nothing comes, and the edge stays: a TIME_WAIT record goes on offering it.
        """
        edge = self._room
        offered = (self.rcv_adv - self.rcv_nxt) & MASK
        if edge - offered >= min(self._limit // 2, self.mss) and not self.fin_reached:
            offered = edge
        field = min(65535, offered + (1 << self.shift) - 1 >> self.shift)
        self.rcv_adv = (self.rcv_nxt + (field << self.shift)) & MASK
        return field

    def offer_unscaled_window(self) -> int:
        """The window field of a SYN, which is never scaled (RFC 7323 2.2)."""
        return min(self._limit, 65535)

    # ------------------------------------------------------------------ arrival

    def accept(self, seq: int, payload: bytes, fin: bool) -> bool:
        """Take an acceptable segment's text and FIN; whether RCV.NXT advanced.

        What lies outside the window or came before is trimmed. A FIN just beyond the right edge is taken: it needs no
        buffer, and refusing it at a closed window would make it come for ever.
        """
        size = len(payload)
        offset = (seq - self.rcv_nxt) & MASK
        if offset >= HALF:  # begins before RCV.NXT: its front is old
            old = 0x100000000 - offset
            if old > size or (old == size and not fin):
                self.ack_due = NOW
                return False
            payload = payload[old:]
            size -= old
            offset = 0
        if size > self.mss:
            self.mss = size
        room = ((self.rcv_adv - self.rcv_nxt) & MASK) - offset
        if size > room:
            payload = payload[: max(room, 0)]
            size = len(payload)
            fin = False
            self.ack_due = NOW
        if self._fin_seq is not None:
            to_fin = (self._fin_seq - self.rcv_nxt) & MASK
            if offset + size > to_fin:  # there is no text after a FIN
                payload = payload[: max(0, to_fin - offset)]
                size = len(payload)
        elif fin:
            self._fin_seq = (self.rcv_nxt + offset + size) & MASK
        if offset:
            self._hold(offset, payload)
            return False
        if size:
            self._append(payload)
            if self._runs:
                self._fill()
        if self._fin_seq == self.rcv_nxt:
            self._take_fin()
            return True
        if not size:
            return False
        if self._runs:
            self.ack_due = NOW  # RFC 5681 4.2: a segment that fills part of a gap is acknowledged at once
        return True

    def note_urgent(self, seq: int, pointer: int) -> bool:
        """A segment at `seq` has this urgent pointer; whether it reaches further than any before (MUST-32)."""
        reach = self.bytes_received + diff((seq + pointer) & MASK, self.rcv_nxt)
        if reach <= max(self.rcv_up, self.bytes_received - self.readable):
            return False
        self.rcv_up = reach
        return True

    @property
    def urgent_ahead(self) -> int:
        """Octets from the next one to read to the end of the urgent data; 0 when none is ahead (MUST-33)."""
        return max(0, self.rcv_up - (self.bytes_received - self.readable))

    def _append(self, payload: bytes) -> None:
        size = len(payload)
        self._chunks.append(payload)
        self.duplicate_acks_due = 0  # RCV.NXT moves: what was owed for the old one would be no duplicate any more
        self.readable += size
        self.bytes_received += size
        self.rcv_nxt = (self.rcv_nxt + size) & MASK
        self._since_ack += size
        if self.ack_due == NONE:
            self.ack_due = DELAYED
        if self._since_ack >= 2 * self.mss:  # SHLD-19: at least every second full-sized segment
            self.ack_due = NOW

    def _take_fin(self) -> None:
        self.rcv_nxt = (self.rcv_nxt + 1) & MASK
        if self.rcv_adv == (self.rcv_nxt - 1) & MASK:
            self.rcv_adv = self.rcv_nxt  # the FIN stood at the closed edge: the window stays closed, not negative
        self.fin_reached = True
        self._runs.clear()
        self.ack_due = NOW

    def _hold(self, offset: int, payload: bytes) -> None:
        """Keep out-of-order text, merged with the runs that it touches; the newest run comes first, for SACK."""
        self.ack_due = NOW
        if not self.duplicate_acks_due and self.rcv_nxt != self.last_ack_sent:
            self.duplicate_acks_due = 1  # the ACK of what came before; the ones behind it are duplicates
        self.duplicate_acks_due += 1
        if not payload:
            return
        self.out_of_order += 1
        base = self.rcv_nxt
        start, end = offset, offset + len(payload)
        parts = [payload]
        apart = []
        for run in self._runs:
            run_start, run_end = (run.start - base) & MASK, (run.end - base) & MASK
            if run_end < start or run_start > end:
                apart.append(run)
                continue
            if run_start <= start and run_end >= end:
                parts = run.parts
            elif run_start >= start and run_end <= end:
                continue
            elif run_start < start:
                parts = [*run.parts, b"".join(parts)[run_end - start :]]
            else:
                parts = [b"".join(parts)[: run_start - start], *run.parts]
            start, end = min(start, run_start), max(end, run_end)
        if len(apart) >= _MAX_RUNS:
            self._counters.ofo_drops += 1
            return
        self._counters.ofo_queued += 1
        self._runs = [_Run((base + start) & MASK, (base + end) & MASK, parts), *apart]

    def _fill(self) -> None:
        """Move the runs that RCV.NXT has reached into the stream."""
        progress = True
        while progress:
            progress = False
            for run in self._runs:
                ahead = (run.start - self.rcv_nxt) & MASK
                if ahead and ahead < HALF:
                    continue
                self._runs.remove(run)
                old = (self.rcv_nxt - run.start) & MASK
                text = b"".join(run.parts)[old:] if (run.end - self.rcv_nxt) & MASK < HALF else b""
                if text:
                    self._append(text)
                self.ack_due = NOW
                progress = True
                break

    # ------------------------------------------------------------------ acknowledging

    @property
    def holding(self) -> bool:
        """Something arrived out of order and is held."""
        return bool(self._runs)

    @property
    def sack_due(self) -> bool:
        return bool(self._runs)

    @property
    def sack_blocks(self) -> tuple[tuple[int, int], ...]:
        """What is held out of order, the most recent first (RFC 2018 4). The FIN's number is never inside."""
        return tuple((run.start, run.end) for run in self._runs[:_SACK_BLOCKS])

    def owe_ack(self) -> None:
        """The peer is to have an ACK with the next flush."""
        self.ack_due = NOW

    def take_timestamp(self, ts_val: int, now: float) -> None:
        """TS.Recent (RFC 7323 4.3): the caller has checked that the segment sets it."""
        self.ts_recent = ts_val
        self.ts_recent_at = now

    def acknowledged(self) -> None:
        """A segment with our current ACK and window left."""
        self.ack_due = NONE
        self.duplicate_acks_due = 0
        self._since_ack = 0
        self.last_ack_sent = self.rcv_nxt

    # ------------------------------------------------------------------ reading

    def read(self, limit: int) -> bytes:
        """Up to `limit` octets of the stream (all that is there, if negative); opens the window accordingly."""
        chunks = self._chunks
        if limit < 0 or limit >= self.readable:
            data = b"".join(chunks) if len(chunks) != 1 else bytes(chunks[0])
            chunks.clear()
            self.readable = 0
        else:
            data = self._read_some(limit)
            self.readable -= limit
        if self._update_is_due():
            self.ack_due = NOW
        return data

    def _read_some(self, size: int) -> bytes:
        chunks = self._chunks
        parts: list[Buffer] = []
        index = 0
        while size:
            chunk = chunks[index]
            if len(chunk) > size:
                parts.append(chunk[:size])
                chunks[index] = memoryview(chunk)[size:]
                break
            parts.append(chunk)
            size -= len(chunk)
            index += 1
        del chunks[:index]
        return b"".join(parts)

    def _update_is_due(self) -> bool:
        """The window has grown so much that the peer should hear of it without being asked (MUST-39)."""
        if self.fin_reached:
            return False
        offered = (self.rcv_adv - self.rcv_nxt) & MASK
        grown = self._room - offered
        segments = 2 if offered >= self.mss else 1  # a sender that cannot send a full segment waits for us
        return grown >= min(self._limit // 2, segments * self.mss)

    def discard(self) -> None:
        """Nobody will read: drop what is held."""
        self._chunks.clear()
        self._runs.clear()
        self.readable = 0
