"""SEGMENT ARRIVES, for connections that have a TCB (RFC 9293 3.10.7.3 and 3.10.7.4).

With RFC 5961's acceptance of RST, SYN and ACK, and RFC 7323's timestamps. CLOSED, LISTEN and TIME_WAIT are the stack's.
"""

from __future__ import annotations

from typing import Final

from utcp.errors import ConnectionRefused, ConnectionReset
from utcp.tcp import event
from utcp.tcp.connection.ack import pass_on, process_ack
from utcp.tcp.connection.challenge import challenge
from utcp.tcp.connection.delayed_ack import schedule_ack
from utcp.tcp.connection.fast_path import timestamp_is_plain
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.rate_limit import TO_ACK, TO_KEEPALIVE, TO_RST, TO_SYN
from utcp.tcp.state import (
    ESTABLISHED,
    FIN_ACKED,
    FIN_RECEIVED,
    FIN_RECEIVED_AND_ACKED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RCVD,
    SYN_RECEIVED,
    SYN_SENT,
)
from utcp.tcp.transmit import Buffer
from utcp.wire import ACK, CWR, FIN, RST, SYN, URG, Segment
from utcp.wire.segment import CONGESTION_EXPERIENCED
from utcp.wire.seq import HALF, MASK, diff, lt

_TS_RECENT_LIFETIME: Final = 24 * 24 * 3600.0
"""RFC 7323 5.5: after 24 days a timestamp proves nothing."""

_KEEPALIVE_ANSWER_INTERVAL: Final = 0.1
"""The least time between answers to keepalive probes, seconds. Peers probe less often (Linux: 1 s or more)."""


def segment_arrives(tcb: Tcb, segment: Segment, now: float) -> None:
    """RFC 9293 3.10.7.3 (SYN_SENT) and 3.10.7.4 (the states after it)."""
    receive = tcb.receive_side
    tcb.count_segments(1)
    if tcb.state == SYN_SENT:
        _arrives_in_syn_sent(tcb, segment, now)
    elif (
        not tcb.send_side.syn_acked
        or segment.flags & (SYN | RST | ACK) != ACK
        or segment.seq != receive.rcv_nxt
        or len(segment.payload) >= (receive.rcv_adv - receive.rcv_nxt) & MASK
        or not timestamp_is_plain(tcb, segment)
    ):
        _arrives(tcb, segment, now)
    else:
        # Header prediction: what is next in order, or a pure ACK, is acceptable in every synchronized state.
        _accept(tcb, segment, True, now)


def _arrives_in_syn_sent(tcb: Tcb, segment: Segment, now: float) -> None:
    """RFC 9293 3.10.7.3. Text and FIN on a SYN-ACK are left for the peer to send again."""
    send = tcb.send_side
    flags = segment.flags
    if flags & ACK and (
        segment.ack != send.snd_nxt or segment.ack == send.iss
    ):  # first: an ACK of anything but our SYN
        if flags & RST:
            return
        # Not as an answer to a stranger: it must not be overtaken by the SYN that follows.
        if tcb.stack.reset_in_reply(tcb.remote, segment, now, to_stranger=False):
            _repeat_syn(tcb, now)
        return
    if flags & RST:  # second
        if flags & ACK:
            tcb.fail(ConnectionRefused(), now)
        return
    if not flags & SYN:  # fifth
        return
    tcb.negotiate(segment, now)
    if flags & ACK:  # fourth
        send.acknowledge(segment.ack)
        pass_on(tcb, segment, 1, 0, False, now)
        tcb.progress(now)
        tcb.receive_side.owe_ack()
        tcb.establish(now)
    else:  # simultaneous open: a SYN-ACK with our SYN's number
        tcb.on(SYN_RECEIVED, now)
        tcb.repeat_syn()
    tcb.touch()


def _repeat_syn(tcb: Tcb, now: float) -> None:
    """Send the SYN again behind a RST. Our SYN has met an older connection at the peer; the RST ends that connection,
    and the ports are free. Linux does the same. Here it happens once for each SYN that the timer has sent, so that
    forged ACKs cause no storm: in SYN_SENT this connection has sent nothing but SYNs.
    """
    if tcb.send_side.segs_out <= 2 * tcb.retransmits + 1:
        tcb.recovery.restart_retransmission(now)
        tcb.repeat_syn()


def _arrives(tcb: Tcb, segment: Segment, now: float) -> None:
    """RFC 9293 3.10.7.4, check by check."""
    receive = tcb.receive_side
    flags = segment.flags
    if flags & SYN and not _process_syn(tcb, segment, now):  # fourth, moved forward by RFC 5961 4
        return
    if tcb.timestamps and not flags & RST and not _paws_accepts(tcb, segment, now):
        return
    # First: the sequence number.
    offset = diff(segment.seq, receive.rcv_nxt)
    length = segment.length - (flags >> 1 & 1)
    window = receive.window
    text_fits = True
    if flags & SYN and not flags & RST:
        offset = 0  # the SYN-ACK of a simultaneous open: its SYN was taken before
    if window == 0:
        # MUST-66: at a closed window ACK and RST still count, and so does a FIN, which needs no buffer. A peer that
        # probes the window has SND.NXT one octet beyond it: so stand all its ACKs then.
        acceptable = offset == 0 or (offset == 1 and length == 0 and flags & (ACK | RST) != 0)
        text_fits = not segment.payload
    elif length == 0:
        acceptable = 0 <= offset < window
    else:
        acceptable = offset < window and offset + length > 0
    if not acceptable:
        if not flags & RST:
            if offset < 0 and flags & ACK and -offset <= receive.limit:
                _take_ack_of_old_segment(tcb, segment, now)
            _answer_unacceptable(tcb, segment, length, now)
        return
    # Second: RST.
    if flags & RST:
        _process_rst(tcb, offset, now)
        return
    # Fifth: ACK.
    if not flags & ACK:
        return
    acks_syn = (segment.ack - tcb.send_side.snd_una - 1) & MASK < tcb.send_side.flight_size
    if not tcb.send_side.syn_acked and not acks_syn:  # SYN_RCVD, and FIN_WAIT_1 entered from there
        tcb.stack.reset_in_reply(tcb.remote, segment, now)
        return
    if not tcb.send_side.syn_acked and tcb.awaits_user and tcb.stack.refuses(tcb.remote, now):
        tcb.refuse(now)
        return
    if flags & SYN:
        # Simultaneous open. The SYN-ACK that would acknowledge the peer's SYN is lost, or has not left this batch yet
        # and will not: RFC 9293's first check, to which this SYN is old, answers with an ACK.
        tcb.ack_now()
    _accept(tcb, segment, text_fits, now)


def _accept(tcb: Tcb, segment: Segment, text_fits: bool, now: float) -> None:
    """Fifth to eighth check, for an acceptable segment with ACK and without SYN or RST that matters."""
    tcb.heard(now)
    if not process_ack(tcb, segment, segment.seq, now):
        return
    receive = tcb.receive_side
    flags = segment.flags
    if tcb.ecn.agreed:
        _process_marks(tcb, segment)
    if (
        tcb.timestamps
        and segment.ts_val is not None
        and (receive.last_ack_sent - segment.seq) & MASK < HALF
        and ((segment.ts_val - receive.ts_recent) & MASK < HALF or not receive.is_reordered(segment.ts_val))
    ):
        receive.take_timestamp(segment.ts_val, now)
    expects_text = tcb.state in (ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2)
    if flags & URG and expects_text and receive.note_urgent(segment.seq, segment.urgent):  # sixth
        tcb.tell(event.URGENT)
    if not text_fits:
        tcb.ack_now()
    elif segment.payload or flags & FIN:
        _process_text(tcb, (segment.seq + (flags >> 1 & 1)) & MASK, segment.payload, bool(flags & FIN), now)
    if tcb.send_side.fin_acked:
        _fin_acknowledged(tcb, now)


def _fin_acknowledged(tcb: Tcb, now: float) -> None:
    """Handle the ACK of our FIN: FIN_WAIT_1 becomes FIN_WAIT_2, and a close by the user counts as delivered."""
    if tcb.state == FIN_WAIT_1:
        tcb.on(FIN_ACKED, now)
        if tcb.closed_by_user:
            tcb.wait_for_fin(now)
    tcb.end_if_delivered(now)


def _take_ack_of_old_segment(tcb: Tcb, segment: Segment, now: float) -> None:
    """Take the ACK field of a segment that is not acceptable because it begins before RCV.NXT, if it acknowledges
    something new.

    The peer sends such a segment when our ACK was lost: its FIN again in a simultaneous close, a window probe, text.
    RFC 9293 A.2 names the stalls that follow from not reading its ACK field, and leaves the cure to implementations.
    The caller bounds SEG.SEQ by the largest window that was offered, as RFC 5961 5.2 bounds SEG.ACK: a blind guess
    succeeds no more than twice as often.
    """
    send = tcb.send_side
    if not send.syn_acked or not 0 < (segment.ack - send.snd_una) & MASK <= send.flight_size:
        return
    tcb.heard(now)
    process_ack(tcb, segment, segment.seq, now)
    if send.fin_acked:
        _fin_acknowledged(tcb, now)


def _process_marks(tcb: Tcb, segment: Segment) -> None:
    """RFC 3168 6.1.3: a mark is echoed on every ACK until the peer says that it has slowed down.

    An ACK without data is sent as not ECT (6.1.4), so a mark on it says nothing about the peer's data and is ignored.
    """
    if segment.flags & CWR:
        tcb.ecn.slowed_down()
    if segment.ecn == CONGESTION_EXPERIENCED and segment.length:
        tcb.stack.counters.in_ce_pkts += 1
        tcb.ecn.marked()
        tcb.ack_now()


def _process_syn(tcb: Tcb, segment: Segment, now: float) -> bool:
    """A SYN on a connection that has seen one; whether the segment is worth reading on."""
    flags = segment.flags
    if flags & RST:
        return True
    if tcb.state == SYN_RCVD and segment.seq == tcb.receive_side.irs:
        if not flags & ACK:
            if tcb.passive:
                if not _asks_as_before(tcb, segment):
                    return False
                tcb.syn_repeated(segment)
            tcb.repeat_syn()
            return False
        if not tcb.passive:
            return True  # simultaneous open: its ACK is what we wait for
    if tcb.state == LAST_ACK and not flags & ACK and tcb.config.syn_in_last_ack == "reset":
        # The sender is in SYN_SENT on ports that this connection still holds. RST with the ACK of its SYN refuses
        # it at once; the connection itself is not touched, and a forged SYN kills nothing.
        tcb.stack.reset_in_reply(tcb.remote, segment, now)
        return False
    in_window = (segment.seq - tcb.receive_side.rcv_nxt) & MASK < tcb.receive_side.window
    if tcb.state == SYN_RCVD and tcb.passive and in_window:
        tcb.drop_half_open(now)  # RFC 9293 3.10.7.4, fourth: back to LISTEN
        return False
    tcb.stack.counters.syn_challenges += 1
    challenge(tcb, TO_SYN, now)  # RFC 5961 4.2, whatever the sequence number
    return False


def _asks_as_before(tcb: Tcb, syn: Segment) -> bool:
    """A repeated SYN has all the options that were agreed on. The answer to a shorter one would be longer than it."""
    return (
        (syn.window_scale is not None or not tcb.window_scaling)
        and (syn.ts_val is not None or not tcb.timestamps)
        and (syn.sack_permitted or not tcb.sack)
    )


def _paws_accepts(tcb: Tcb, segment: Segment, now: float) -> bool:
    """RFC 7323 5.3 R1, 3.2: no segment with an older timestamp, unless the path may have reordered it, or with none."""
    receive = tcb.receive_side
    if segment.ts_val is None:
        tcb.stack.counters.paws_drops += 1
        if _is_keepalive(tcb, segment):
            # illumos and Windows probe without timestamps, and reset a connection whose other end stays silent.
            _answer_keepalive(tcb, now)
        return False
    if (
        lt(segment.ts_val, receive.ts_recent)
        and not receive.is_reordered(segment.ts_val)
        and now - receive.ts_recent_at < _TS_RECENT_LIFETIME
    ):
        tcb.stack.counters.paws_drops += 1
        if segment.length:
            _answer_unacceptable(tcb, segment, segment.length, now)
        elif not _is_overtaken(tcb, segment):
            challenge(tcb, TO_ACK, now)
        return False
    return True


def _is_overtaken(tcb: Tcb, segment: Segment) -> bool:
    """Return whether an empty segment with an older timestamp is an ACK that later segments have overtaken. It has
    nothing new, and the peer would take an answer for a duplicate ACK. A keepalive probe is not such an ACK: its sender
    waits for the answer."""
    return (
        segment.flags & ACK != 0
        and (tcb.send_side.snd_una - segment.ack) & MASK < HALF
        and not _is_keepalive(tcb, segment)
    )


def _answer_unacceptable(tcb: Tcb, segment: Segment, length: int, now: float) -> None:
    """ACK what cannot be accepted (RFC 9293 3.10.7.4, first check).

    An empty segment may be an ACK like ours: two stacks could answer each other for ever, so those are rationed.
    Text and FIN are not, because their sender waits for this ACK. So does the sender of a keepalive probe, but an
    attacker can forge any number of probes.
    """
    if length:
        tcb.receive_side.note_duplicate((segment.seq + (segment.flags >> 1 & 1)) & MASK, len(segment.payload))
        tcb.ack_now()
    elif _is_keepalive(tcb, segment):
        # Its numbers are exact, so it is a sign of life, as an acceptable ACK is. Of two ends that probe, one does.
        tcb.heard(now)
        _answer_keepalive(tcb, now)
    else:
        challenge(tcb, TO_ACK, now)


def _answer_keepalive(tcb: Tcb, now: float) -> None:
    if tcb.take_answer(TO_KEEPALIVE, now, _KEEPALIVE_ANSWER_INTERVAL):
        tcb.ack_now()


def _is_keepalive(tcb: Tcb, segment: Segment) -> bool:
    """Whether a segment is a keepalive probe (RFC 9293 3.8.4), perhaps with one octet, or one of Linux's window probes.

    A segment that acknowledges what we never sent is not a probe. The peer disagrees with us about what was sent, and
    answers an ACK of ours that looked like a keepalive probe to it.
    """
    send = tcb.send_side
    return (
        segment.flags & (ACK | FIN) == ACK
        and len(segment.payload) <= 1
        and (segment.seq + 1) & MASK == tcb.receive_side.rcv_nxt
        and (segment.ack - send.snd_una) & MASK <= send.flight_size
    )


def _process_rst(tcb: Tcb, offset: int, now: float) -> None:
    """RFC 5961 3.2: an RST must hit RCV.NXT exactly; elsewhere in the window it is challenged."""
    if offset != 0:
        challenge(tcb, TO_RST, now)
    elif tcb.state == SYN_RCVD and tcb.passive:
        tcb.drop_half_open(now)
    elif tcb.state == SYN_RCVD:
        tcb.fail(ConnectionRefused(), now)
    else:
        tcb.stack.counters.estab_resets += 1
        tcb.fail(ConnectionReset(), now)


def _process_text(tcb: Tcb, seq: int, payload: Buffer, fin: bool, now: float) -> None:
    """Seventh and eighth check: text and FIN of an acceptable segment."""
    receive = tcb.receive_side
    if tcb.state not in (ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2):
        return  # the peer's FIN was taken: no text follows it
    if tcb.closed_by_user and payload and diff((seq + len(payload)) & MASK, receive.rcv_nxt) > 0:
        # SHLD-3: the user has closed and cannot read this; the peer learns that it was not read.
        tcb.stack.counters.aborts_on_data += 1
        tcb.send_reset(tcb.undelivered("the peer sent data after close()"), now, in_reply=True)
        return
    if payload:
        receive.note_text(now)
    advanced = receive.accept(seq, payload, fin)
    if advanced and receive.readable:
        if now >= receive.round_ends:
            receive.tune(now, tcb.rtt.srtt or 0.0)
        tcb.tell(event.READABLE)
    if receive.fin_reached:
        tcb.tell(event.PEER_CLOSED)
        if tcb.state == FIN_WAIT_2:
            tcb.enter_time_wait(FIN_RECEIVED, now)
        elif tcb.state == FIN_WAIT_1 and tcb.send_side.fin_acked:
            tcb.enter_time_wait(FIN_RECEIVED_AND_ACKED, now)
        else:
            tcb.on(FIN_RECEIVED, now)
    schedule_ack(tcb, len(payload), now)
