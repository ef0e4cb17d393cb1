"""The receive side of a connection: RCV.* variables, the received stream and FIN, acknowledgements, and the window.

`out_of_order.py` has text beyond RCV.NXT, and duplicates.
"""

from math import inf
from typing import Final

from utcp._compiled import mypyc_attr
from utcp.config import Config
from utcp.tcp.allowance import GUARANTEED, Allowance
from utcp.tcp.autotune import BufferTuning
from utcp.tcp.counters import Counters
from utcp.tcp.out_of_order import ALL_IN_ORDER, OutOfOrder
from utcp.tcp.receive_queue import NO_PIECES, PIECE, ReceiveQueue
from utcp.tcp.transmit import Buffer
from utcp.wire.options import MAX_WINDOW_SCALE
from utcp.wire.seq import HALF, MASK, diff

NONE: Final = 0
DELAYED: Final = 1
NOW: Final = 2

REORDERED: Final = 64
"""Ticks of the peer's timestamp clock by which a segment may be older than TS.Recent.

A retransmission that fills a gap updates TS.Recent. On a path with reordering, segments that left shortly before it may
still be in flight. PAWS would drop them, their retransmissions would have the same effect on other segments, and the
peer would reduce its window each time. The duplicates that PAWS must reject are older: with a tick of 1 ms, sequence
numbers wrap within 64 ticks only above 268 Gbit/s."""

_QUICK_ACKS: Final = 16
"""Number of full-sized segments that are acknowledged one by one at the start and after a pause, because the peer's
congestion window is then small and grows with every ACK (RFC 5681 3.1, 4.2)."""

_PAUSE: Final = 0.2
"""Time without text, after which the peer may have restarted slow start, seconds (RFC 5681 4.1)."""


@mypyc_attr(acyclic=True)
class ReceiveSide(ReceiveQueue):
    """Owns RCV.NXT, the right edge of the window, the received text, and the ACKs that are due.

    Args:
        config: the configuration of the connection, with the sizes of the buffer.
        counters: the counters of the stack.
        allowance: the memory limits; None: no limits.
    """

    __slots__ = (
        "_answer",
        "_answered_at",
        "_asked",
        "_counters",
        "_largest",
        "_maximum",
        "_quick_acks",
        "_quick_answers",
        "_slack",
        "_ts_first",
        "_tuning",
        "ack_due",
        "allowance",
        "bytes_received",
        "data_segs_in",
        "delayed_ack_at",
        "fin_reached",
        "fin_seq",
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
        "shift",
        "ts_recent",
        "ts_recent_at",
    )

    def __init__(self, config: Config, counters: Counters, allowance: Allowance | None = None) -> None:
        self._pieces = NO_PIECES
        maximum = config.recv_buffer or config.max_recv_buffer
        limit = config.recv_buffer or min(config.initial_recv_buffer, maximum)
        self.allowance = Allowance() if allowance is None else allowance
        """The memory limits."""
        self.limit = limit
        """Size of the buffer, and the largest window offered, octets."""
        self._slack = limit
        """Number of readable octets allowed beyond `limit`. A peer can keep the window open, because each ACK rounds it
        up to the unit of the window scale (`acknowledge`). This limit bounds the effect."""
        self._maximum = maximum
        """Size up to which `tune` may grow the buffer, octets."""
        self._counters = counters
        self.irs = 0
        self.rcv_nxt = 0
        self.rcv_adv = 0
        """The right edge of the offered window: RCV.NXT + RCV.WND. It never moves left."""
        self.shift = min(((maximum - 1) // 65535).bit_length(), MAX_WINDOW_SCALE) if config.window_scaling else 0
        """Our window scale, bits: the peer shifts our window field by it. The buffer can be offered at its maximum size
        (RFC 7323 2.2). Before the handshake: the scale that our SYN offers. 0 without window scaling."""
        self.last_ack_sent = 0
        self.ack_due = NONE
        self.delayed_ack_at = inf
        """Expiry of the timer of the delayed ACK, seconds; `inf`: off."""
        self.sack = False
        """True if SACK was negotiated."""
        self.out_of_order = ALL_IN_ORDER
        """The text beyond RCV.NXT, the duplicates, and the ACKs due for them."""
        self.ts_recent = 0
        """TS.Recent (RFC 7323 4.3)."""
        self.ts_recent_at = 0.0
        """Time at which TS.Recent was set, seconds."""
        self._ts_first = 0
        """TSval of the peer's SYN."""
        self.mss = 536
        """Payload of a full-sized segment of the peer, octets: the largest received, at most what our MSS option
        allows."""
        self._largest = 536
        """The largest payload that our MSS option allows, octets."""
        self.readable = 0
        self.bytes_received = 0
        self.data_segs_in = 0
        """Number of received segments with text."""
        self.last_data_at = -inf
        """Time at which text last arrived, seconds; `-inf`: none has."""
        self.rcv_up = 0
        """RCV.UP as a stream offset, at which urgent data ends; 0: there was no urgent data."""
        self.fin_reached = False
        """True if the peer's FIN and everything before it have arrived."""
        self.round_ends = 0.0
        """Time before which `tune` does nothing, seconds."""
        self.fin_seq: int | None = None
        """Sequence number of the peer's FIN after its arrival, in order or out of order; None before."""
        self._quick_acks = _QUICK_ACKS
        self._quick_answers = False
        """True while the first text after data of ours is acknowledged at once."""
        self._asked = 0
        """Number of octets that we had sent when `schedule_ack` last looked at text that may be half of an answer."""
        self._answered_at = 0.0
        """Time of that text, seconds."""
        self._answer = NONE
        """The ACK chosen for it: NOW or DELAYED if it was the first text after data of ours, else NONE."""
        self._tuning: BufferTuning | None = None

    # ------------------------------------------------------------------ what is counted

    def note_text(self, now: float) -> None:
        """Record that an acceptable segment with text arrived."""
        self.data_segs_in += 1
        self.last_data_at = now

    # ------------------------------------------------------------------ opening

    def synchronize(
        self, irs: int, largest: int, sack: bool, scaling: bool, ts_val: int | None = None, now: float = 0.0
    ) -> None:
        """Set the variables that the peer's SYN determines.

        Args:
            irs: IRS, its sequence number.
            largest: the largest payload that the handshake allows in a segment of the peer, octets.
            sack: SACK was negotiated.
            scaling: window scaling was negotiated.
            ts_val: its TSval; None: timestamps were not negotiated.
            now: the stack's time, seconds.
        """
        self.irs = irs
        self.rcv_nxt = self.last_ack_sent = rcv_nxt = (irs + 1) & MASK
        self.rcv_adv = (rcv_nxt + min(self.limit, 65535)) & MASK
        self._largest = largest
        if largest < self.mss:
            self.mss = largest
        self.sack = sack
        if not scaling:
            self.shift = 0
        if ts_val is not None:
            self._ts_first = self.ts_recent = ts_val
            self.ts_recent_at = now

    # ------------------------------------------------------------------ the window

    @property
    def window(self) -> int:
        """RCV.WND as last offered, octets."""
        return (self.rcv_adv - self.rcv_nxt) & MASK

    @property
    def window_field(self) -> int:
        """The window last offered, as a raw header field."""
        return min(65535, ((self.rcv_adv - self.rcv_nxt) & MASK) + (1 << self.shift) - 1 >> self.shift)

    @property
    def kept(self) -> int:
        """Memory that received text takes, octets."""
        kept = self.readable + len(self._pieces) * PIECE
        return kept + self.out_of_order.kept if self.out_of_order.holding else kept

    def acknowledge(self) -> int:
        """Record that a segment leaves with our ACK and window. Return the raw window field, after moving the right
        edge as far as the buffer and silly-window avoidance allow.

        The edge moves by at least a segment or half the buffer, or not at all (RFC 9293 3.8.6.2.2, MUST-39). It is
        rounded up to the unit of the window scale, because rounding down would move it left as RCV.NXT advances (RFC
        7323 2.4). After the peer's FIN the edge stays, because no data follows; a TIME_WAIT record continues to offer
        it.
        """
        # A delayed SACK stays due, because the segment has no SACK blocks and no new ACK number.
        if self.ack_due and not (self.out_of_order.acks_due and self.ack_due == DELAYED):
            self.ack_due = NONE
            self.delayed_ack_at = inf
            self.last_ack_sent = self.rcv_nxt
            if self.out_of_order.acks_due:
                self.out_of_order.acknowledged()
        offered = (self.rcv_adv - self.rcv_nxt) & MASK
        growth = self.limit - self.readable - offered  # at most
        if growth >= self.mss or growth >= self.limit >> 1:
            offered = self._moved_edge(offered)
        shift = self.shift
        field = offered + (1 << shift) - 1 >> shift
        if field > 65535:
            field = 65535
        self.rcv_adv = (self.rcv_nxt + (field << shift)) & MASK
        return field

    def _moved_edge(self, offered: int) -> int:
        """Return the window to offer, octets: `offered`, or as much as the buffer takes if that is enough more."""
        limit = min(self.allowance.most, self.limit)
        edge = min(limit - self.readable, 65535 << self.shift)
        if edge - offered >= min(limit // 2, self.mss) and not self.fin_reached:
            return edge
        return offered

    def acknowledge_syn(self) -> None:
        """Record that our SYN leaves, which acknowledges the peer's. No other ACK is due."""
        self.ack_due = NONE
        self.delayed_ack_at = inf

    def resize(self, size: int) -> None:
        """Set the size of the buffer to `size` octets, and stop its growth. Because an offered window is never
        withdrawn, a smaller buffer takes effect only as the peer sends. The window scale does not change, so that a
        larger buffer is offered only up to 65535 units of it."""
        self._slack = size + max(0, self.readable + self.window - size)  # what was offered is taken
        self.limit = self._maximum = size
        if self._update_is_due(self.readable):
            self.ack_due = NOW

    @property
    def quick_ack(self) -> bool:
        """True while full-sized segments are acknowledged one by one."""
        return self._quick_acks > 0

    def set_quick_ack(self, quick: bool) -> None:
        """Turn quick ACKs on or off.

        On: a delayed ACK leaves at once, and so do the ACKs of the next 16 full-sized segments and of the first text
        after data of ours. Off: ACKs are delayed."""
        self._quick_acks = _QUICK_ACKS if quick else 0
        self._quick_answers = quick
        if quick and self.ack_due:
            self.ack_due = NOW

    def tune(self, now: float, rtt: float) -> None:
        """Grow the buffer if needed. Called when text has arrived in order; acts once per round trip. The buffer never
        shrinks.

        `rtt` is the smoothed round-trip time, seconds; 0.0: there is none.
        """
        if now < self.round_ends:
            return
        if rtt > 0.0 and now - self.round_ends > max(_PAUSE, 2 * rtt):  # no text arrived since the end of the round
            self._quick_acks = _QUICK_ACKS
        read = self.bytes_received - self.readable
        window = (self.rcv_adv - self.rcv_nxt) & MASK
        tuning = self._tuning
        if tuning is None:
            self._tuning = tuning = BufferTuning(now, rtt, self.bytes_received, read, window)
        else:
            wanted = tuning.end_round(now, rtt, self.bytes_received, read, window)
            if wanted > self.limit:
                self.limit = max(self.limit, min(wanted, self._maximum))
        self.round_ends = tuning.round_ends

    # ------------------------------------------------------------------ arrival

    def accept(self, seq: int, payload: Buffer, fin: bool) -> bool:
        """Process the text and FIN of an acceptable segment. Return whether RCV.NXT advanced.

        Text outside the window, and text received before, is trimmed. A FIN just beyond the right edge is accepted,
        because it needs no buffer, and the peer would otherwise retransmit it forever at a closed window.
        """
        size = len(payload)
        owed = self.ack_due
        offset = (seq - self.rcv_nxt) & MASK
        if offset >= HALF:  # the segment begins before RCV.NXT
            old = 0x100000000 - offset
            self.note_duplicate(seq, size)
            if old > size or (old == size and not fin):
                self.ack_due = NOW
                return False
            payload = bytes(payload[old:])  # a view would keep the trimmed part in memory, uncounted
            size -= old
            offset = 0
        if size >= self.mss:
            if size > self.mss and self.mss < self._largest:
                self.mss = min(size, self._largest)  # no quick ACK yet: the first of its size may be a lone request
            elif self._quick_acks:
                self._quick_acks -= 1
                self.ack_due = NOW
        room = ((self.rcv_adv - self.rcv_nxt) & MASK) - offset
        if size and not offset and (self.allowance.full or self.readable > self.limit):
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
            if offset + size > to_fin:  # no text follows a FIN
                payload = bytes(payload[: max(0, to_fin - offset)])
                size = len(payload)
        elif fin:
            self.fin_seq = (self.rcv_nxt + offset + size) & MASK
        if offset:
            self._hold(offset, bytes(payload), owed)
            return False
        if size:
            if self.out_of_order.holding:
                pieces = self.out_of_order.fill(self.bytes_received, self.bytes_received + size)
                size = self.extend([bytes(payload), *pieces])
                self.ack_due = NOW  # RFC 5681 4.2: a segment that fills all or part of a gap is acknowledged at once
            else:
                self.add(payload)
            self.readable += size
            self.bytes_received += size
            self.rcv_nxt = (self.rcv_nxt + size) & MASK
            if self.out_of_order.acks_due:
                self.out_of_order.limit_acks()
            if (self.rcv_nxt - self.last_ack_sent) & MASK >= 2 * self.mss:
                self.ack_due = NOW  # SHLD-19: an ACK for at least every second full-sized segment
            elif self.ack_due == NONE:
                self.ack_due = DELAYED
        if self.fin_seq == self.rcv_nxt:
            self.take_fin()
            return True
        return size > 0

    def note_urgent(self, seq: int, pointer: int) -> bool:
        """Process the urgent pointer of a segment at `seq`. Return whether it exceeds all previous ones (MUST-32)."""
        reach = self.bytes_received + diff((seq + pointer) & MASK, self.rcv_nxt)
        if reach <= max(self.rcv_up, self.bytes_received - self.readable):
            return False
        self.rcv_up = reach
        return True

    @property
    def urgent_ahead(self) -> int:
        """Number of octets from the next unread one to the end of the urgent data; 0: none is ahead (MUST-33)."""
        return max(0, self.rcv_up - (self.bytes_received - self.readable))

    def accept_in_order(self, text: Buffer, count: int, size: int, ts_val: int | None, now: float) -> None:
        """Process `count` consecutive segments from RCV.NXT on, with the effect of `note_text`, `accept` and
        `take_timestamp` for each of them. They fit into the window and need no decision.

        Args:
            text: the text of all segments.
            count: the number of segments.
            size: the text of each segment, octets; the last one may have less.
            ts_val: TSval of all segments; None: the connection has no timestamps.
            now: the stack's time, seconds.
        """
        rcv_nxt, last_ack_sent = self.rcv_nxt, self.last_ack_sent
        if ts_val is not None and rcv_nxt == last_ack_sent:
            self.ts_recent = ts_val
            self.ts_recent_at = now
        self.data_segs_in += count
        self.last_data_at = now
        if self._pieces:
            self.add(text)
        else:
            self._pieces = [text]
        octets = len(text)
        mss = self.mss
        if size >= mss:
            full = octets // size
            if size > mss and mss < self._largest:
                self.mss = mss = min(size, self._largest)
                full -= 1
            if size >= mss and full > 0 and self._quick_acks:
                self._quick_acks -= min(self._quick_acks, full)
                self.ack_due = NOW
        self.readable += octets
        self.bytes_received += octets
        self.rcv_nxt = rcv_nxt = (rcv_nxt + octets) & MASK
        if (rcv_nxt - last_ack_sent) & MASK >= 2 * mss:  # SHLD-19
            self.ack_due = NOW
        elif self.ack_due == NONE:
            self.ack_due = DELAYED

    def take_fin(self, ts_val: int | None = None, now: float = 0.0) -> None:
        """Take the peer's FIN at RCV.NXT. A FIN without text may also update TS.Recent: `ts_val` is its TSval, None if
        its text has done that."""
        fin_seq = self.rcv_nxt
        if ts_val is not None and fin_seq == self.last_ack_sent:
            self.ts_recent = ts_val
            self.ts_recent_at = now
        self.fin_seq = fin_seq
        self.rcv_nxt = (fin_seq + 1) & MASK
        if self.rcv_adv == fin_seq:
            self.rcv_adv = self.rcv_nxt  # the FIN was at the edge of a closed window, which must not become negative
        self.fin_reached = True
        if self.out_of_order.holding:
            self.out_of_order.drop()
        self.ack_due = NOW

    def _hold(self, offset: int, payload: bytes, owed: int) -> None:
        """Hold text beyond RCV.NXT and decide on its ACK. `owed` is `ack_due` before this segment."""
        start = self.bytes_received + offset
        part = self._out_of_order_part()
        if part.count_ack(start, owed == DELAYED, owed == NOW and self.rcv_nxt != self.last_ack_sent):
            self.ack_due = NOW
        elif self.ack_due == NONE:
            self.ack_due = DELAYED
        if not payload:
            return
        if self.allowance.short and self.kept + len(payload) > GUARANTEED:
            self._counters.ofo_drops += 1
        elif part.queue(start, payload):
            self.ack_due = NOW

    def _out_of_order_part(self) -> OutOfOrder:
        """Return `out_of_order`, which is made for the first segment that is not in order."""
        if self.out_of_order is ALL_IN_ORDER:
            self.out_of_order = OutOfOrder(self.sack, self._counters)
        return self.out_of_order

    def note_duplicate(self, seq: int, size: int) -> None:
        """Report text of `size` octets at `seq`, all or part of it before RCV.NXT, as a duplicate (RFC 2883)."""
        received = self.bytes_received
        start = received + diff(seq, (self.irs + 1 + received) & MASK)
        end = min(start + size, received)
        start = max(start, 0)
        if self.sack and start < end:
            self._out_of_order_part().note_duplicate(start, end)
            self.ack_due = NOW

    def _last_room(self, size: int) -> int:
        """Return the number of octets of in-order text that may be accepted although memory or the buffer is full.
        `size` octets have arrived, all within the offered window."""
        room = max(0, self.limit + self._slack - self.readable)
        if self.allowance.full:
            if self.kept + size > GUARANTEED and self.out_of_order.holding:
                self.out_of_order.prune()  # otherwise a hole could stall the connection forever
            room = min(room, max(0, GUARANTEED - self.kept))
        if room < size:
            self._counters.rcvq_drops += 1
        return room

    # ------------------------------------------------------------------ acknowledging

    def awaits_answer(self, sent: int) -> bool:
        """Return True if text that arrives now may be the first after data of ours, or follows such text, so that its
        train must be split. `sent` is the number of octets that we have sent."""
        return sent > self._asked or self._answer != NONE

    def schedule_ack(self, now: float, delay: float, half: bool, sent: int, last_sent: float) -> None:
        """Delay the ACK of the text that just arrived by `delay` seconds, or have the next flush send it if that is 0,
        or if the peer may wait for it.

        The first text after data of ours may be half of an answer, if the peer's Nagle algorithm (RFC 9293 3.7.4) holds
        the other half back until our ACK arrives. Its ACK leaves at once if the last delayed ACK of such text expired
        without data. The number of ACKs stays the same, but they leave earlier. ACKs are delayed again when our next
        data leaves so soon that it could have carried the ACK.

        Args:
            now: the stack's time, seconds.
            delay: the delay of ACKs, seconds.
            half: the text is not full-sized, so that it may be half of an answer.
            sent: the number of octets that we have sent.
            last_sent: when we last sent new data, seconds.
        """
        if not delay:
            self.ack_due = NOW
            return
        if not half:
            pass
        elif sent > self._asked:
            if self._answer == NOW and last_sent - self._answered_at < delay:
                self._quick_answers = False
            self._asked = sent
            self._answered_at = now
            if self._quick_answers:
                self._answer = self.ack_due = NOW
                return
            self._answer = DELAYED
        elif self._answer != NONE:
            self._answered_at = now
            self._answer = NONE
        self.delayed_ack_at = now + delay

    def space_sack(self, now: float, interval: float) -> None:
        """Have the next flush send the SACK that is due, or delay it, so that SACKs leave at least `interval` seconds
        apart."""
        at = self.out_of_order.next_sack(now, interval)
        if at > now:
            self.delayed_ack_at = at
        else:
            self.ack_due = NOW

    def delay_expired(self) -> None:
        """Have the next flush send the delayed ACK. Unless it is a SACK, its delay saved no segment."""
        if self.ack_due:
            if self._answer == DELAYED and not (self.ack_due == DELAYED and self.out_of_order.acks_due):
                self._quick_answers = True
            self.ack_due = NOW

    def stop_delaying(self) -> None:
        """Turn off the timer of the delayed ACK."""
        self.delayed_ack_at = inf

    def owe_ack(self) -> None:
        """Have the next flush send an ACK."""
        self.ack_due = NOW

    def is_reordered(self, ts_val: int) -> bool:
        """Return True if TSval is older than TS.Recent by at most REORDERED ticks, and not older than the peer's SYN.
        An older segment may belong to an earlier connection."""
        age = (self.ts_recent - ts_val) & MASK
        return 0 < age <= REORDERED and age <= (self.ts_recent - self._ts_first) & MASK

    def take_timestamp(self, ts_val: int, now: float) -> None:
        """Set TS.Recent (RFC 7323 4.3). The caller has checked the conditions."""
        self.ts_recent = ts_val
        self.ts_recent_at = now

    # ------------------------------------------------------------------ reading

    def read(self, limit: int) -> bytes:
        """Return up to `limit` octets of the stream, all readable ones if negative, and open the window accordingly. If
        this raises, no octet is lost."""
        rest = 0
        if 0 <= limit < self.readable:
            rest = self.readable - limit
        grown = self.limit - rest - ((self.rcv_adv - self.rcv_nxt) & MASK)  # at most
        due = False
        if grown >= self.mss or 2 * grown >= self.limit:
            due = self._update_is_due(rest)
        # The queue changes last, so that an exception before loses no octets.
        pieces = self._pieces
        if rest:
            data = self.take(limit)
        elif len(pieces) == 1 and isinstance(pieces[0], bytes):  # the usual case
            data = pieces[0]
            # No call: after one, a signal handler could raise an exception, and lose the octets.
            self._pieces = NO_PIECES
        else:
            data = self.take_all()
        self.readable = rest
        if due:
            self.ack_due = NOW
        return data

    def _update_is_due(self, readable: int) -> bool:
        """Return True if the window has grown enough for a window update (MUST-39), assuming that `readable` octets
        wait for the application."""
        if self.fin_reached:
            return False
        limit = min(self.allowance.most, self.limit)
        offered = (self.rcv_adv - self.rcv_nxt) & MASK
        grown = min(limit - readable, 65535 << self.shift) - offered
        segments = 2 if offered >= self.mss else 1  # with less than a segment offered, the sender waits for the update
        return grown >= min(limit // 2, segments * self.mss)

    def discard(self) -> None:
        """Drop all received data, because the user will not read it."""
        self._pieces = NO_PIECES
        self.readable = 0
        if self.out_of_order.holding:
            self.out_of_order.drop()
