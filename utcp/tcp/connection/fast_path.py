"""The fast path of received segments: in-order text, and cumulative ACKs while no loss is suspected.

These are most segments of most connections. For them `takes_fast_path` has exactly the effect of `arrival.py`, with
fewer calls. All other segments are left to `arrival.py`. `tests/tcp/test_stretches.py` compares the two.
"""

from __future__ import annotations

from math import inf

from utcp.tcp import event
from utcp.tcp.connection.ack import follow_congestion, process_ack
from utcp.tcp.connection.delayed_ack import may_be_half_an_answer, schedule_ack
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.state import CLOSE_WAIT, ESTABLISHED, FIN_WAIT_2
from utcp.wire import ACK, PSH, Segment
from utcp.wire.segment import CONGESTION_EXPERIENCED
from utcp.wire.seq import HALF, MASK


def takes_fast_path(tcb: Tcb, segment: Segment, now: float, count: int = 1, size: int = 0) -> bool:
    """Process a segment, or a train of `count` consecutive segments, if it needs no decision. Return False if nothing
    was done.

    Args:
        tcb: the connection, in any state.
        segment: the segment; for a train, the first header with the text of all segments.
        now: the stack's time, seconds.
        count: the number of segments.
        size: the text of each segment of a train, octets; the last one may have less.
    """
    send, receive, state = tcb.send_side, tcb.receive_side, tcb.state
    text = segment.payload
    octets = len(text)
    seq, ack = segment.seq, segment.ack
    advance = (ack - send.snd_una) & MASK
    if (
        (state != ESTABLISHED and state != (FIN_WAIT_2 if octets else CLOSE_WAIT))
        or segment.flags | PSH != ACK | PSH
        or seq != receive.rcv_nxt
        or advance > (send.snd_nxt - send.snd_una) & MASK
        or octets >= (receive.rcv_adv - receive.rcv_nxt) & MASK
        or segment.sack_blocks
        or segment.ecn == CONGESTION_EXPERIENCED
        # `timestamp_is_plain`, here without the call, which each segment would pay for
        or (tcb.timestamps and (segment.ts_val is None or (segment.ts_val - receive.ts_recent) & MASK >= HALF))
    ):
        return False
    recovery, rtt = tcb.recovery, tcb.rtt
    plain = advance and recovery.plain and not send.probe
    if octets:
        if count == 1:
            size = octets
        elif may_be_half_an_answer(tcb, size):  # the first segment of the train decides when the ACK leaves
            return False
        # `arrival.py` takes the text while text or a FIN is held, and while the buffer or the memory is full. It also
        # takes each segment that may end a round before there is a sample of the RTT: `tune` measures with them.
        if (
            tcb.closed_by_user
            or receive.readable > receive.limit
            or receive.holding
            or receive.fin_seq is not None
            or (not rtt.srtt and now >= receive.round_ends)
            or tcb.stack.accounts.allowance.full
        ):
            return False
    elif not plain:
        return False
    tcb.heard_in_order(count, now)
    last = (seq + (count - 1) * size) & MASK  # SND.WL1, because the window is from the last segment
    if plain:  # the effect of `process_ack`, without SYN or FIN in flight, and with the persist timer off
        window = segment.window << send.shift
        acked = send.acknowledge(ack)
        if tcb.retransmits or tcb.soft_error is not None or tcb.user_timeout is not None or tcb.persist.probes:
            tcb.progress(now)
        send.update_window(last, ack, window)
        if recovery.on_plain_ack(advance, acked, now) or tcb.pacer.rate != inf:
            follow_congestion(tcb)
        if send.wanted and send.room_again():
            tcb.tell(event.WRITABLE)
        if not window and not tcb.closed_by_user:
            tcb.answered()
        if send.snd_una != send.snd_nxt or send.queued > send.sent:
            tcb.touch()
    elif not send.hears_nothing_new(last, ack, segment.window):
        process_ack(tcb, segment, last, now)
    ts_val = segment.ts_val if tcb.timestamps else None
    if octets:
        receive.accept_stretch(text, count, size, now, rtt.srtt or 0.0, seq, ts_val)
        tcb.tell(event.READABLE)
        schedule_ack(tcb, size, now)
    elif ts_val is not None and (receive.last_ack_sent - seq) & MASK < HALF:
        receive.take_timestamp(ts_val, now)
    return True


def timestamp_is_plain(tcb: Tcb, segment: Segment) -> bool:
    """Return True if PAWS accepts the segment's timestamp without further checks (RFC 7323 5.3 R1)."""
    return not tcb.timestamps or (
        segment.ts_val is not None and (segment.ts_val - tcb.receive_side.ts_recent) & MASK < HALF
    )
