"""The receive side of a connection: RCV.*, the stream (FIN included), when and what to acknowledge, the window."""

from math import inf
from typing import Final

from utcp._compiled import mypyc_attr
from utcp.tcp.allowance import GUARANTEED, Allowance
from utcp.tcp.autotune import BufferTuning
from utcp.tcp.counters import Counters
from utcp.tcp.reassembly import Reassembly
from utcp.tcp.receive_queue import PIECE, SMALL, ReceiveQueue
from utcp.tcp.transmit import Buffer
from utcp.wire.options import MAX_WINDOW_SCALE
from utcp.wire.seq import HALF, MASK, diff

NONE: Final = 0
DELAYED: Final = 1
NOW: Final = 2

_SACK_BLOCKS: Final = 4
_LEAST_SACK_BLOCKS: Final = 2
"""Runs that every SACK has room for: beside timestamps and a DSACK."""

REORDERED: Final = 64
"""Ticks of the peer's timestamp clock by which a segment may be older than TS.Recent. A retransmission that fills a gap
makes TS.Recent new, and on a path that reorders, segments that left shortly before it may still be under way. PAWS
would drop them, their retransmissions would do the same to others, and each time the peer would reduce its window. The
duplicates that PAWS is for are older: in 64 ticks of a millisecond, sequence numbers wrap only at 268 Gbit/s."""

_PROMPT_DUPLICATES: Final = 4
"""Duplicate ACKs for one value of RCV.NXT that leave at once, each for a segment of its own, on a connection with SACK.
Fast retransmit needs three (RFC 5681 3.2). Later out-of-order segments share an ACK as long as they continue one run,
which the ACK's first SACK block tells."""

_QUICK_ACKS: Final = 16
"""So many full-sized segments are acknowledged one by one, at the start and after a pause: the peer's congestion window
is small then, and grows with every ACK (RFC 5681 3.1, 4.2)."""

_PAUSE: Final = 0.2
"""Seconds without text, beyond a round trip, after which the peer may have begun slow start anew (RFC 5681 4.1)."""


@mypyc_attr(acyclic=True)
class ReceiveSide:
    """Owns RCV.NXT, the right edge of the window, received data in and out of order, and the debt of ACKs.

    `limit` is the size of the buffer, in octets, at first; `maximum` is how far `tune` may let it grow.
    """

    __slots__ = (
        "_allowance",
        "_answer",
        "_answered_at",
        "_asked",
        "_counters",
        "_dsack",
        "_held",
        "_largest",
        "_last_sack",
        "_maximum",
        "_prompt_duplicates",
        "_queue",
        "_quick_acks",
        "_quick_answers",
        "_since_ack",
        "_slack",
        "_ts_first",
        "_tuning",
        "ack_due",
        "bytes_received",
        "data_segs_in",
        "delayed_ack_at",
        "duplicate_acks_due",
        "fin_reached",
        "fin_seq",
        "holding",
        "irs",
        "last_ack_sent",
        "last_data_at",
        "limit",
        "mss",
        "out_of_order",
        "rcv_adv",
        "rcv_nxt",
        "rcv_up",
        "readable",
        "round_ends",
        "sack",
        "sack_due",
        "shift",
        "ts_recent",
        "ts_recent_at",
    )

    def __init__(self, limit: int, maximum: int, counters: Counters, allowance: Allowance | None = None) -> None:
        self._allowance = Allowance() if allowance is None else allowance
        self.limit = limit
        """Octets held for an application that does not read: the largest window offered."""
        self._slack = limit
        """Octets beyond `limit` that may wait for the application. Each ACK rounds the window up to a multiple of the
        scale's unit (`offer_window`). A peer can use that to keep the window open, and so it is bounded here."""
        self._maximum = maximum
        self._counters = counters
        self.irs = 0
        self.rcv_nxt = 0
        self.rcv_adv = 0
        """The right edge of the window as the peer knows it: RCV.NXT + RCV.WND. It never moves left."""
        self.shift = 0
        """Our window scale (RFC 7323): what the peer shifts our window field by."""
        self.last_ack_sent = 0
        self.ack_due = NONE
        self.delayed_ack_at = inf
        """When the delayed ACK leaves, seconds; `inf`: the timer is off."""
        self.duplicate_acks_due = 0
        """ACKs owed for out-of-order segments. They leave ahead of data, which has no room for SACK blocks. Each
        segment has its own, because the sender counts them (RFC 5681 4.2). With SACK this holds of the first
        `_PROMPT_DUPLICATES`, and later ones that continue a run share one. It is at least 1 if there is a DSACK to
        send."""
        self.sack = False
        """Both sides offered SACK: duplicates are to be told (RFC 2883)."""
        self.holding = False
        """Something arrived out of order and is held."""
        self.sack_due = False
        """The next ACK has `sack_blocks` to tell."""
        self.ts_recent = 0
        """TS.Recent of RFC 7323 4.3, and when it was taken."""
        self.ts_recent_at = 0.0
        self._ts_first = 0
        """TSval of the peer's SYN."""
        self.mss = 536
        """The largest payload received, but no more than the MSS option allows: a full-sized segment of the peer."""
        self._largest = 536
        """The payload that our MSS option allows."""
        self.readable = 0
        self.bytes_received = 0
        self.data_segs_in = 0
        """Segments with text."""
        self.last_data_at: float | None = None
        """When text arrived last."""
        self.out_of_order = 0
        """Segments that arrived with text beyond RCV.NXT."""
        self.rcv_up = 0
        """RCV.UP as a stream offset: urgent data ends before it. 0: there was none."""
        self.fin_reached = False
        """The peer's FIN and all before it arrived."""
        self.round_ends = 0.0
        """Before this time `tune` has nothing to do."""
        self._queue = ReceiveQueue()
        self._held: Reassembly | None = None
        """What arrived out of order, by its place in the stream; None before anything did."""
        self._prompt_duplicates = 0
        """Out-of-order segments since RCV.NXT last moved that got an ACK of their own."""
        self._last_sack = 0.0
        """When the last SACK that segments may share left or is to leave: `next_sack`'s last answer."""
        self._dsack: tuple[int, int] | None = None
        """What arrived again, by its place in the stream."""
        self.fin_seq: int | None = None
        """The sequence number of the peer's FIN, once it has arrived, in order or not."""
        self._since_ack = 0
        self._quick_acks = _QUICK_ACKS
        self._quick_answers = False
        """True while the first text behind our own data is acknowledged at once."""
        self._asked = 0
        """Octets that we had sent at the last call of `acknowledges_at_once`, which was at `_answered_at`."""
        self._answered_at = 0.0
        self._answer = NONE
        """The ACK of the text of that call: NOW or DELAYED if it was the first text behind our data, else NONE."""
        self._tuning: BufferTuning | None = None

    # ------------------------------------------------------------------ what is counted

    def note_text(self, now: float) -> None:
        """An acceptable segment with text arrived."""
        self.data_segs_in += 1
        self.last_data_at = now

    # ------------------------------------------------------------------ opening

    def use_sack(self, sack: bool) -> None:
        """The handshake has settled whether the peer is told what is held out of order."""
        self.sack = sack

    def expect_mss(self, largest: int) -> None:
        """Note the largest payload that the handshake allows the peer to send in a segment, octets."""
        self._largest = largest
        self.mss = min(self.mss, largest)

    def synchronize(self, irs: int) -> None:
        """The peer's SYN has this number."""
        self.irs = irs
        self.rcv_nxt = (irs + 1) & MASK
        self.last_ack_sent = self.rcv_nxt
        self.rcv_adv = (self.rcv_nxt + min(self.limit, 65535)) & MASK

    def scale_for_buffer(self) -> int:
        """The window scale that lets the whole buffer be offered, however far it grows (RFC 7323 2.2)."""
        return min(((self._maximum - 1) // 65535).bit_length(), MAX_WINDOW_SCALE)

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
    def kept(self) -> int:
        """Octets of memory that received text takes."""
        kept = self.readable + len(self._queue.pieces) * PIECE
        return kept + self.held_octets if self.holding else kept

    @property
    def held_octets(self) -> int:
        """Octets of memory that text takes which is held out of order."""
        return 0 if self._held is None else self._held.kept

    def offer_window(self) -> int:
        """Move the right edge as far as the buffer and silly-window avoidance allow; the raw field to send.

        RFC 9293 3.8.6.2.2 (MUST-39): the edge moves by a segment or half the buffer at least, or stays. It is rounded
        up to the scale's unit: rounding down would move it left as RCV.NXT advances (RFC 7323 2.4). Behind the peer's
        FIN nothing comes, and the edge stays: a TIME_WAIT record goes on offering it.
        """
        limit = min(self._allowance.most, self.limit)
        edge = min(limit - self.readable, 65535 << self.shift)
        offered = (self.rcv_adv - self.rcv_nxt) & MASK
        if edge - offered >= min(limit // 2, self.mss) and not self.fin_reached:
            offered = edge
        field = min(65535, offered + (1 << self.shift) - 1 >> self.shift)
        self.rcv_adv = (self.rcv_nxt + (field << self.shift)) & MASK
        return field

    def offer_unscaled_window(self) -> int:
        """The window field of a SYN, which is never scaled (RFC 7323 2.2)."""
        return min(self.limit, 65535)

    def resize(self, size: int) -> None:
        """Hold `size` octets from now on, and do not grow any more. The window that was offered stays offered, so a
        smaller buffer takes effect as the peer sends."""
        self._slack = size + max(0, self.readable + self.window - size)  # what was offered is taken
        self.limit = self._maximum = size
        if self._update_is_due(self.readable):
            self.ack_due = NOW

    @property
    def quick_ack(self) -> bool:
        """The next full-sized segments are acknowledged one by one."""
        return self._quick_acks > 0

    def set_quick_ack(self, quick: bool) -> None:
        """True: acknowledge at once what waits for an ACK, the next 16 full-sized segments, and the first text behind
        our data. False: delay ACKs."""
        self._quick_acks = _QUICK_ACKS if quick else 0
        self._quick_answers = quick
        if quick and self.ack_due:
            self.ack_due = NOW

    def tune(self, now: float, rtt: float) -> None:
        """Text arrived in order: once in a round trip, see whether the buffer is to grow. It never shrinks.

        `rtt` is the latest estimate of the round-trip time in seconds, 0.0 where there is none.
        """
        if now < self.round_ends:
            return
        if rtt > 0.0 and now - self.round_ends > max(_PAUSE, 2 * rtt):  # no text came since the round was over
            self._quick_acks = _QUICK_ACKS
        read = self.bytes_received - self.readable
        tuning = self._tuning
        if tuning is None:
            self._tuning = tuning = BufferTuning()
        wanted = tuning.end_round(now, rtt, self.bytes_received, read, self.window)
        self.round_ends = tuning.round_ends
        if wanted > self.limit:
            self.limit = max(self.limit, min(wanted, self._maximum))

    # ------------------------------------------------------------------ arrival

    def accept(self, seq: int, payload: Buffer, fin: bool) -> bool:
        """Take an acceptable segment's text and FIN; whether RCV.NXT advanced.

        What lies outside the window or came before is trimmed. A FIN just beyond the right edge is taken: it needs no
        buffer, and refusing it at a closed window would make it come for ever.
        """
        size = len(payload)
        owed = self.ack_due
        offset = (seq - self.rcv_nxt) & MASK
        if offset >= HALF:  # begins before RCV.NXT: its front is old
            old = 0x100000000 - offset
            self.note_duplicate(seq, size)
            if old > size or (old == size and not fin):
                self.ack_due = NOW
                return False
            payload = bytes(payload[old:])  # not a view: it would keep what is not counted
            size -= old
            offset = 0
        if size >= self.mss:
            if size > self.mss and self.mss < self._largest:
                self.mss = min(size, self._largest)  # the first of its size: a stream, or a request to be answered
            elif self._quick_acks:
                self._quick_acks -= 1
                self.ack_due = NOW
        room = ((self.rcv_adv - self.rcv_nxt) & MASK) - offset
        if size and not offset and (self._allowance.full or self.readable > self.limit):
            room = min(room, self._last_room(size))
        if size > room:
            payload = bytes(payload[: max(room, 0)])
            size = len(payload)
            fin = False
            self.ack_due = NOW
        if fin:
            self.ack_due = NOW
        if self.fin_seq is not None:
            to_fin = (self.fin_seq - self.rcv_nxt) & MASK
            if offset + size > to_fin:  # there is no text after a FIN
                payload = bytes(payload[: max(0, to_fin - offset)])
                size = len(payload)
        elif fin:
            self.fin_seq = (self.rcv_nxt + offset + size) & MASK
        if offset:
            self._hold(offset, bytes(payload), owed)
            return False
        if size:
            if self.holding and self._held is not None:
                size = self._fill(bytes(payload), self._held)
            else:
                queue = self._queue
                if size < SMALL and queue.pieces:
                    queue.add_small(payload)
                else:
                    queue.pieces.append(payload)
            self.readable += size
            self.bytes_received += size
            self.rcv_nxt = (self.rcv_nxt + size) & MASK
            self._since_ack += size
            if self.duplicate_acks_due:  # what was owed for the old RCV.NXT would be no duplicate any more
                self.duplicate_acks_due = 1 if self.sack and self.sack_due else 0
            if self._since_ack >= 2 * self.mss:  # SHLD-19: at least every second full-sized segment
                self.ack_due = NOW
            elif self.ack_due == NONE:
                self.ack_due = DELAYED
        if self.fin_seq == self.rcv_nxt:
            self._take_fin()
            return True
        return size > 0

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

    def accept_stretch(
        self, text: Buffer, count: int, size: int, now: float, rtt: float, seq: int, ts_val: int | None
    ) -> None:
        """Take `count` segments that follow each other from RCV.NXT, which is `seq`, as `note_text`, `accept`, `tune`
        and `take_timestamp` would take each of them. They fit into the window, and need no decision.

        Args:
            text: the text of all.
            count: how many segments it is.
            size: octets of each, but for the last, which may have fewer.
            now: seconds.
            rtt: the smoothed round-trip time, seconds; 0: there is none.
            seq: SEQ of the first.
            ts_val: its timestamp, and that of the others; None: they have none, or the connection has none.
        """
        if ts_val is not None and (self.last_ack_sent - seq) & MASK < HALF:
            self.ts_recent = ts_val
            self.ts_recent_at = now
        self.data_segs_in += count
        self.last_data_at = now
        pieces = self._queue.pieces
        octets = len(text)
        if octets < SMALL and pieces:
            self._queue.add_small(text)
        else:
            pieces.append(text)
        part = size if now >= self.round_ends else octets  # the first segment of a round ends the round before it
        while octets:
            full = part // size
            if size >= self.mss:
                if size > self.mss and self.mss < self._largest:
                    self.mss = min(size, self._largest)
                    full -= 1
                if size >= self.mss and full > 0 and self._quick_acks:
                    self._quick_acks -= min(self._quick_acks, full)
                    self.ack_due = NOW
            self.readable += part
            self.bytes_received += part
            self.rcv_nxt = (self.rcv_nxt + part) & MASK
            self._since_ack += part
            if self._since_ack >= 2 * self.mss:
                self.ack_due = NOW
            elif self.ack_due == NONE:
                self.ack_due = DELAYED
            if now >= self.round_ends:
                self.tune(now, rtt)
            octets -= part
            part = octets

    def _take_fin(self) -> None:
        self.rcv_nxt = (self.rcv_nxt + 1) & MASK
        if self.rcv_adv == (self.rcv_nxt - 1) & MASK:
            self.rcv_adv = self.rcv_nxt  # the FIN stood at the closed edge: the window stays closed, not negative
        self.fin_reached = True
        if self.holding:
            self.drop_held()
        self.ack_due = NOW

    def _hold(self, offset: int, payload: bytes, owed: int) -> None:
        """Keep out-of-order text. `owed` is what was owed for the segments before it."""
        start = self.bytes_received + offset
        may_share = self.sack and self._prompt_duplicates >= _PROMPT_DUPLICATES
        if may_share and self._continues_run(start):
            if not self.duplicate_acks_due:
                self.duplicate_acks_due = 1
            if self.ack_due == NONE:
                self.ack_due = DELAYED
        elif may_share and owed == DELAYED and self.duplicate_acks_due:  # a SACK waits, and tells of this one too
            self.ack_due = NOW
        else:
            if not self.duplicate_acks_due and owed == NOW and self.rcv_nxt != self.last_ack_sent:
                # The segments before it in this batch have an ACK of their own, and those behind it are duplicates. A
                # delayed ACK has none: no more than one ACK leaves for a segment (RFC 5681 4.2).
                self.duplicate_acks_due = 1
            self.duplicate_acks_due += 1
            self._prompt_duplicates += 1
            self.ack_due = NOW
        if not payload:
            return
        if self._allowance.short and self.kept + len(payload) > GUARANTEED:
            self._counters.ofo_drops += 1
            return
        self._note_overlap(start, start + len(payload))
        self.out_of_order += 1
        if self._held is None:
            self._held = Reassembly()
        if self._held.hold(start, payload):
            self._counters.ofo_queued += 1
        else:
            self._counters.ofo_drops += 1
        self.holding = self.sack_due = True

    def _continues_run(self, start: int) -> bool:
        """Whether text at `start` continues the run that was added to last. If it does not, its SACK waits for no other
        segment: a SACK has room for three or four runs, and one that is left out passes for lost."""
        return self._held is not None and self._held.recent_end == start

    def _fill(self, payload: bytes, held: Reassembly) -> int:
        """Text in order while something behind it is held: what it joins up with follows it; all their octets."""
        end = self.bytes_received + len(payload)
        self._note_overlap(self.bytes_received, end)
        size = self._queue.extend([payload, *held.take(end)])
        self.holding = len(held) > 0
        self._prompt_duplicates = 0
        self.sack_due = self.holding or self._dsack is not None
        self.ack_due = NOW  # RFC 5681 4.2: a segment that fills all or part of a gap is acknowledged at once
        return size

    def _last_room(self, size: int) -> int:
        """Return how many octets of text in order may be taken although memory is full, or the buffer is. `size` octets
        have come, all of them within the window that was offered."""
        room = max(0, self.limit + self._slack - self.readable)
        if self._allowance.full:
            if self.kept + size > GUARANTEED and self.holding:
                self.prune()  # else a hole could stop the connection for good
            room = min(room, max(0, GUARANTEED - self.kept))
        if room < size:
            self._counters.rcvq_drops += 1
        return room

    def prune(self) -> None:
        """Drop what is held out of order, for want of memory. The peer sends it again: until it is acknowledged
        cumulatively, what a SACK has reported may be dropped (RFC 2018 8)."""
        if self._held is not None:
            self._counters.ofo_pruned += len(self._held)
        self.drop_held()

    def drop_held(self) -> None:
        """Drop what is held out of order."""
        if self._held is not None:
            self._held.clear()
        self.holding = False
        self.sack_due = self._dsack is not None

    # ------------------------------------------------------------------ duplicates (RFC 2883)

    def note_duplicate(self, seq: int, size: int) -> None:
        """A segment with `size` octets of text at `seq`, all or part of it before RCV.NXT, came: its ACK tells so."""
        if not self.sack:
            return
        start = self.bytes_received + diff(seq, (self.irs + 1 + self.bytes_received) & MASK)
        end = min(start + size, self.bytes_received)
        start = max(start, 0)
        if start < end:
            self._tell_duplicate(start, end)

    def _note_overlap(self, start: int, end: int) -> None:
        """Text came that may be held already; of several such parts the ACK tells the first."""
        if self.sack and self.holding and self._held is not None:
            overlap = self._held.overlap(start, end)
            if overlap is not None:
                self._tell_duplicate(overlap[0], overlap[1])

    def _tell_duplicate(self, start: int, end: int) -> None:
        """An ACK has room for one contiguous duplicate. Of those that come in one batch, it is the first, and what
        joins up with it; another is not told, which only keeps its sender from undoing something."""
        if self._dsack is None:
            self._dsack = (start, end)
            if start < self.bytes_received:
                self._counters.dsacks_sent += 1
            else:
                self._counters.dsacks_ofo_sent += 1
        elif start <= self._dsack[1] and end >= self._dsack[0]:
            self._dsack = (min(start, self._dsack[0]), max(end, self._dsack[1]))
        self.sack_due = True
        self.ack_due = NOW
        if not self.duplicate_acks_due:
            self.duplicate_acks_due = 1

    # ------------------------------------------------------------------ acknowledging

    def sack_blocks(self, number: int) -> tuple[tuple[int, int], ...]:
        """The SACK blocks of ACK `number`, from 0, of those that leave together. First what arrived again, if anything
        did, and the run it is in (RFC 2883 4); then what is held out of order, the most recent first (RFC 2018 4). The
        next ACK goes on with what this one may have no room for. The FIN's number is never inside."""
        dsack, held = self._dsack, self._held
        blocks = [] if dsack is None else [dsack]
        if held is not None:
            skipped = number * _LEAST_SACK_BLOCKS
            position = -1 if dsack is None else dsack[0]
            blocks += held.blocks(_SACK_BLOCKS - len(blocks), position, skipped if skipped < len(held) else 0)
        base = self.irs + 1
        return tuple([((base + start) & MASK, (base + end) & MASK) for start, end in blocks])

    def awaits_answer(self, sent: int) -> bool:
        """Whether text that arrives now may be the first behind our own octets, of which we have sent `sent`, or
        follows such text: a train with it is to be taken apart."""
        return sent > self._asked or self._answer != NONE

    def acknowledges_at_once(self, now: float, delay: float, sent: int, last_sent: float) -> bool:
        """Return whether the ACK of the text that just arrived leaves at once. Otherwise it waits for `delay` seconds
        from now on.

        `sent` counts the octets that we have sent, `last_sent` is when. The first text that follows octets of ours may
        be half an answer, from a peer whose Nagle algorithm (RFC 9293 3.7.4) holds the other half back until the ACK
        arrives. Its ACK leaves at once if the last ACK of such text waited in vain: no more ACKs leave than before, but
        they leave earlier. ACKs are delayed again once our next octets follow so soon that an ACK could have left with
        them.
        """
        first = sent > self._asked
        if not first and self._answer == NONE:
            self.delayed_ack_at = now + delay
            return False
        if first and self._answer == NOW and last_sent - self._answered_at < delay:
            self._quick_answers = False
        self._asked = sent
        self._answered_at = now
        self._answer = NONE if not first else NOW if self._quick_answers else DELAYED
        if self._answer == NOW:
            return True
        self.delayed_ack_at = now + delay
        return False

    @property
    def sack_delayed(self) -> bool:
        """Whether a SACK waits for more out-of-order segments. A segment with data cannot take its place."""
        return self.ack_due == DELAYED and self.duplicate_acks_due > 0

    def next_sack(self, now: float, interval: float) -> float:
        """Return when the delayed SACK is to leave: now, or after `interval` seconds if the last one left within them.
        So a SACK waits only where segments come so fast that several can share it."""
        at = now if now >= self._last_sack + interval else now + interval
        self._last_sack = at
        return at

    def delay_expired(self) -> None:
        """Send the delayed ACK with the next flush. Unless it is a SACK, it waited in vain for data to leave with."""
        if self.ack_due:
            if self._answer == DELAYED and not self.sack_delayed:
                self._quick_answers = True
            self.ack_due = NOW

    def delay_ack(self, deadline: float) -> None:
        """Send the ACK that is owed at `deadline`, unless another segment carries it before."""
        self.delayed_ack_at = deadline

    def stop_delaying(self) -> None:
        """Turn the timer of the delayed ACK off."""
        self.delayed_ack_at = inf

    def owe_ack(self) -> None:
        """The peer is to have an ACK with the next flush."""
        self.ack_due = NOW

    def begin_timestamps(self, ts_val: int, now: float) -> None:
        """The peer's SYN has this timestamp."""
        self._ts_first = ts_val
        self.take_timestamp(ts_val, now)

    def is_reordered(self, ts_val: int) -> bool:
        """Whether TSval is older than TS.Recent by REORDERED ticks at most, and not older than the peer's SYN. What is
        older than the SYN may be from an earlier connection."""
        age = (self.ts_recent - ts_val) & MASK
        return 0 < age <= REORDERED and age <= (self.ts_recent - self._ts_first) & MASK

    def take_timestamp(self, ts_val: int, now: float) -> None:
        """TS.Recent (RFC 7323 4.3): the caller has checked that the segment sets it."""
        self.ts_recent = ts_val
        self.ts_recent_at = now

    def acknowledged(self) -> None:
        """A segment with our current ACK and window left."""
        if self.duplicate_acks_due and self.sack_delayed:  # the segment has no SACK blocks; its ACK number is not new
            return
        self.ack_due = NONE
        self.delayed_ack_at = inf
        self.duplicate_acks_due = 0
        self._since_ack = 0
        self.last_ack_sent = self.rcv_nxt
        if self._dsack is not None:  # a duplicate is told once (RFC 2883 4)
            self._dsack = None
            self.sack_due = self.holding

    # ------------------------------------------------------------------ reading

    def read(self, limit: int) -> bytes:
        """Return up to `limit` octets of the stream (all that is there, if negative), and open the window accordingly.
        If that raises, all are still there."""
        rest = 0 if limit < 0 or limit >= self.readable else self.readable - limit
        most = min(self._allowance.most, self.limit)
        grown = most - rest - ((self.rcv_adv - self.rcv_nxt) & MASK)
        due = (grown >= self.mss or 2 * grown >= most) and self._update_is_due(rest)
        # Last: what raises must not lose the octets.
        pieces = self._queue.pieces
        piece = pieces[0] if len(pieces) == 1 and not rest else None
        if isinstance(piece, bytes):  # most of the time
            data = piece
            del pieces[:]  # no call: after one, a signal handler could raise an exception, and lose the octets
        else:
            data = self._queue.take(limit) if rest else self._queue.take_all()
        self.readable = rest
        if due:
            self.ack_due = NOW
        return data

    def _update_is_due(self, readable: int) -> bool:
        """Return whether the window has grown so much that the peer should get an ACK that it did not ask for
        (MUST-39), if `readable` octets wait for the application."""
        if self.fin_reached:
            return False
        limit = min(self._allowance.most, self.limit)
        offered = (self.rcv_adv - self.rcv_nxt) & MASK
        grown = min(limit - readable, 65535 << self.shift) - offered
        segments = 2 if offered >= self.mss else 1  # a sender that cannot send a full segment waits for us
        return grown >= min(limit // 2, segments * self.mss)

    def discard(self) -> None:
        """Nobody will read: drop what is held."""
        self._queue.pieces.clear()
        self.readable = 0
        if self.holding:
            self.drop_held()
