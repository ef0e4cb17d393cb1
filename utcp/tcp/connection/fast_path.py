"""The fast path of received segments: in-order text and FIN, and cumulative ACKs, also of our SYN-ACK and FIN, while no
loss is suspected.

These are most segments of most connections. For them `takes_fast_path` has exactly the effect of `arrival.py`, with
fewer calls. All other segments are left to `arrival.py`. `tests/tcp/test_stretches.py` compares the two.
"""

from __future__ import annotations

from math import inf

from utcp.tcp.connection.ack import follow_window, process_ack
from utcp.tcp.connection.delayed_ack import may_be_half_an_answer
from utcp.tcp.connection.reset import refuse
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.event import CONNECTED, PEER_CLOSED, READABLE, WRITABLE
from utcp.tcp.receive import NOW
from utcp.tcp.state import (
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RCVD,
)
from utcp.tcp.transmit import Buffer
from utcp.wire import ACK, Segment
from utcp.wire.options import TIMESTAMPS_LENGTH
from utcp.wire.seq import HALF, MASK


def takes_fast_path(
    tcb: Tcb,
    seq: int,
    ack: int,
    fin: int,
    window: int,
    ts_val: int | None,
    ts_ecr: int | None,
    text: Buffer,
    now: float,
    count: int = 1,
    size: int = 0,
) -> bool:
    """Process a segment, or a train of `count` consecutive segments, if it needs no decision. Return False if nothing
    was done.

    The caller has made sure that the flags are ACK, perhaps with PSH and FIN, that there are no options but timestamps,
    and that there is no congestion mark. If the segment is processed, the connection is settled, or
    the next flush settles it.

    Args:
        tcb: the connection, in any state.
        seq: SEQ of the first segment.
        ack: the acknowledgement number.
        fin: not 0: the segment has FIN. Only if `count` is 1.
        window: the raw window field.
        ts_val: TSval; None: the segment has no timestamps.
        ts_ecr: TSecr, if `ts_val` is not None.
        text: the text of all segments.
        now: the stack's time, seconds.
        count: the number of segments.
        size: the text of each segment of a train, octets; the last one may have less.
    """
    send, receive, state = tcb.send_side, tcb.receive_side, tcb.state
    octets = len(text)
    advance = (ack - send.snd_una) & MASK
    if not tcb.timestamps:
        ts_val = None
    elif ts_val is None or (ts_val - receive.ts_recent) & MASK >= HALF:  # PAWS decides
        return False
    if (
        seq != receive.rcv_nxt
        or (ack != send.snd_nxt and advance > (send.snd_nxt - send.snd_una) & MASK)
        or octets >= (receive.rcv_adv - seq) & MASK
    ):
        return False
    recovery = tcb.recovery
    plain = advance and recovery.plain and not send.probe
    if state == ESTABLISHED:
        pass
    elif state == SYN_RCVD:
        if not plain or not tcb.passive:  # only the ACK of our SYN-ACK needs no decision
            return False
        if tcb.awaits_user and tcb.stack.refuses(tcb.remote, now):
            refuse(tcb, now)
            tcb.stack.settle(tcb, now)
            return True
    elif state in (FIN_WAIT_1, FIN_WAIT_2):
        if not send.syn_acked or (octets and tcb.closed_by_user):  # no user reads the text
            return False
    elif octets or fin or state not in (CLOSE_WAIT, CLOSING, LAST_ACK):  # nothing follows the peer's FIN
        return False
    if octets or fin:
        # `arrival.py` takes the text while text or a FIN is held, and while the buffer or the memory is full.
        if (
            receive.readable > receive.limit
            or receive.out_of_order.holding
            or receive.out_of_order.acks_due  # the text makes them superfluous
            or receive.fin_seq is not None
            or receive.allowance.full
            # The first segment of a train decides when the ACK leaves. Before there is a sample of the RTT, each
            # segment may end a round: `tune` measures with them.
            or (count > 1 and (may_be_half_an_answer(tcb, size) or (not tcb.rtt.srtt and now >= receive.round_ends)))
        ):
            return False
    elif not plain:
        return False
    events, needs_flush = 0, False
    last = seq  # SND.WL1: the window is from the last segment
    if count > 1:
        last = (seq + (count - 1) * size) & MASK
    if plain:  # the effect of `process_ack`, with the persist timer off
        acked = send.acknowledge(ack, last, window << send.shift)
        if tcb.retransmits or tcb.soft_error is not None or tcb.user_timeout is not None or tcb.persist.probes:
            tcb.progress(now)
        if recovery.on_plain_ack(advance, acked, now) or (acked and tcb.pacer.rate != inf):
            tcb.follow_congestion(now)
        if state == SYN_RCVD:
            tcb.establish(now)
            events |= CONNECTED
        if send.wanted and send.room_again():
            events |= WRITABLE
    elif advance:
        process_ack(tcb, Segment(0, 0, seq, ack, ACK, window, text, ts_val, ts_ecr), last, now)
    else:
        changed = send.update_window(last, ack, window << send.shift)
        if changed or not window:
            follow_window(tcb, changed, now)
    if octets:
        events |= READABLE
        if count > 1 and now >= receive.round_ends:  # the first segment of the train ends the round
            receive.accept_in_order(text[:size], 1, size, ts_val, now)
            receive.tune(now, tcb.rtt.srtt)
            receive.accept_in_order(text[size:], count - 1, size, ts_val, now)
        else:
            receive.accept_in_order(text, count, size or octets, ts_val, now)
            if now >= receive.round_ends and not fin:
                receive.tune(now, tcb.rtt.srtt)
        if receive.ack_due == NOW:
            needs_flush = True
        elif not fin and receive.delayed_ack_at == inf:
            half = (size or octets) + TIMESTAMPS_LENGTH < tcb.receive_mss
            receive.schedule_ack(now, tcb.config.delayed_ack, half, send.sent, tcb.last_sent)
            needs_flush = tcb.pacer.deadline == inf or receive.ack_due == NOW  # as in `delayed_ack.py`
    elif not fin and ts_val is not None and seq == receive.last_ack_sent:
        receive.take_timestamp(ts_val, now)
    if fin:
        events |= PEER_CLOSED
        needs_flush = True
    # The next flush processes the connection if there is something to send or a timer to set.
    needs_flush = needs_flush or ack != send.snd_nxt or send.queued != send.sent or send.fin_queued != send.fin_sent
    tcb.note_arrival(count, events, needs_flush, now)
    if fin:
        receive.take_fin(ts_val, now)
        tcb.fin_arrived(now)
    if state != ESTABLISHED:
        if advance and send.fin_acked:
            tcb.fin_acknowledged(now)
        tcb.stack.settle(tcb, now)
    elif not needs_flush and tcb not in tcb.stack.output:  # otherwise the flush settles it
        tcb.stack.settle(tcb, now)
    return True
