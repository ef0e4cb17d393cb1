"""SEGMENT ARRIVES for connections with a TCB (RFC 9293 3.10.7.3 and 3.10.7.4), with the acceptance of RST, SYN and ACK
by RFC 5961, and timestamps by RFC 7323. `Stack` and `Listener` handle CLOSED, LISTEN and TIME_WAIT.
"""

from __future__ import annotations

from typing import Final

from utcp.errors import ConnectionRefused, ConnectionReset
from utcp.tcp import event
from utcp.tcp.connection.ack import pass_on, process_ack
from utcp.tcp.connection.challenge import challenge
from utcp.tcp.connection.delayed_ack import schedule_ack
from utcp.tcp.connection.reset import refuse, send_reset, undelivered
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.rate_limit import TO_ACK, TO_KEEPALIVE, TO_RST, TO_SYN
from utcp.tcp.state import (
    ESTABLISHED,
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
"""Time after which TS.Recent is invalid, seconds: 24 days (RFC 7323 5.5)."""

_KEEPALIVE_ANSWER_INTERVAL: Final = 0.1
"""Shortest time between answers to keepalive probes, seconds. Peers probe less often (Linux: 1 s or more)."""


def segment_arrives(tcb: Tcb, segment: Segment, now: float) -> None:
    """Process a segment in SYN_SENT (RFC 9293 3.10.7.3) or a later state (3.10.7.4)."""
    receive = tcb.receive_side
    tcb.count_segment()
    if tcb.state == SYN_SENT:
        _arrives_in_syn_sent(tcb, segment, now)
    elif (
        not tcb.send_side.syn_acked
        or segment.flags & (SYN | RST | ACK) != ACK
        or segment.seq != receive.rcv_nxt
        or len(segment.payload) >= (receive.rcv_adv - receive.rcv_nxt) & MASK
        or not _timestamp_is_plain(tcb, segment)
    ):
        _arrives(tcb, segment, now)
    else:
        # Header prediction: the next segment in order, or a pure ACK, is acceptable in every synchronized state.
        _accept(tcb, segment, True, now)


def _arrives_in_syn_sent(tcb: Tcb, segment: Segment, now: float) -> None:
    """Process a segment in SYN_SENT (RFC 9293 3.10.7.3). Text and FIN on a SYN-ACK are ignored, because the peer
    retransmits them."""
    send = tcb.send_side
    flags = segment.flags
    if flags & ACK and (
        segment.ack != send.snd_nxt or segment.ack == send.iss
    ):  # first: an ACK of anything but our SYN
        if flags & RST:
            return
        # Not sent as to an unverified sender, because such answers leave last, and the SYN must follow the RST.
        if tcb.stack.reset_in_reply(tcb.remote, segment, now, unverified=False):
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
        send.acknowledge(segment.ack, segment.seq, segment.window)
        pass_on(tcb, segment, 1, 0, False, now)
        tcb.progress(now)
        tcb.receive_side.owe_ack()
        tcb.establish(now)
        tcb.note_arrival(0, event.CONNECTED, True, now)  # `segment_arrives` has counted it
    else:  # simultaneous open: a SYN-ACK with our SYN's number
        tcb.on(SYN_RECEIVED, now)
        tcb.repeat_syn()


def _repeat_syn(tcb: Tcb, now: float) -> None:
    """Send the SYN again behind an RST. Our SYN found an older connection at the peer; the RST ends that connection and
    frees the ports. Linux does the same.

    This happens once for each SYN that the timer has sent, so that forged ACKs cause no storm. In SYN_SENT all segments
    sent by this connection are SYNs.
    """
    if tcb.send_side.segs_out <= 2 * tcb.retransmits + 1:
        tcb.recovery.restart_retransmission(now)
        tcb.repeat_syn()


def _arrives(tcb: Tcb, segment: Segment, now: float) -> None:
    """Process a segment by the checks of RFC 9293 3.10.7.4."""
    receive = tcb.receive_side
    flags = segment.flags
    if flags & SYN and not _process_syn(tcb, segment, now):  # fourth, but RFC 5961 4 requires it first
        return
    if tcb.timestamps and not flags & RST and not _paws_accepts(tcb, segment, now):
        return
    # First: the sequence number.
    offset = diff(segment.seq, receive.rcv_nxt)
    length = segment.length - (flags >> 1 & 1)
    window = receive.window
    text_fits = True
    if flags & SYN and not flags & RST:
        offset = 0  # the SYN-ACK of a simultaneous open, whose SYN was processed before
    if window == 0:
        # At a closed window ACK and RST are still processed (MUST-66), and so is a FIN, because it needs no buffer.
        # After a zero-window probe the SND.NXT of the peer, and SEQ of its ACKs, is one octet beyond the window.
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
        refuse(tcb, now)
        return
    if flags & SYN:
        # Simultaneous open. Our SYN-ACK is lost or has not left yet, and will not be sent now. For the first check of
        # RFC 9293 this SYN is old, so it is answered with an ACK.
        tcb.ack_now()
    _accept(tcb, segment, text_fits, now)


def _accept(tcb: Tcb, segment: Segment, text_fits: bool, now: float) -> None:
    """Perform the fifth to eighth check for an acceptable segment that has an ACK, no RST, and no SYN to process."""
    tcb.note_received(now)
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
        tcb.report(event.URGENT)
    if not text_fits:
        tcb.ack_now()
    elif segment.payload or flags & FIN:
        _process_text(tcb, (segment.seq + (flags >> 1 & 1)) & MASK, segment.payload, bool(flags & FIN), now)
    if tcb.send_side.fin_acked:
        tcb.fin_acknowledged(now)


def _take_ack_of_old_segment(tcb: Tcb, segment: Segment, now: float) -> None:
    """Process the ACK field of a segment that is unacceptable because it begins before RCV.NXT, if the ACK is new.

    The peer sends such a segment when our ACK was lost: a FIN retransmitted in a simultaneous close, a window probe, or
    text. RFC 9293 A.2 describes the stalls that follow if the ACK field is ignored, and leaves the solution to
    implementations. The caller limits SEG.SEQ by the largest offered window, as RFC 5961 5.2 limits SEG.ACK, so that a
    blind attacker succeeds at most twice as often.
    """
    send = tcb.send_side
    if not send.syn_acked or not 0 < (segment.ack - send.snd_una) & MASK <= send.flight_size:
        return
    tcb.note_received(now)
    process_ack(tcb, segment, segment.seq, now)
    if send.fin_acked:
        tcb.fin_acknowledged(now)


def _process_marks(tcb: Tcb, segment: Segment) -> None:
    """Process CWR and a congestion mark. A mark is echoed on every ACK until the peer sends CWR (RFC 3168 6.1.3).

    A mark on an ACK without data is ignored, because such ACKs are sent as not ECT (6.1.4).
    """
    if segment.flags & CWR:
        tcb.ecn.slowed_down()
    if segment.ecn == CONGESTION_EXPERIENCED and segment.length:
        tcb.stack.counters.in_ce_pkts += 1
        tcb.ecn.marked()
        tcb.ack_now()


def _process_syn(tcb: Tcb, segment: Segment, now: float) -> bool:
    """Process a SYN on a connection that has received one before. Return whether the other checks follow."""
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
            return True  # simultaneous open: the segment acknowledges our SYN
    if tcb.state == LAST_ACK and not flags & ACK and tcb.config.syn_in_last_ack == "reset":
        # The peer is in SYN_SENT on ports that this connection still uses. An RST with the ACK of the SYN refuses the
        # new connection at once. This connection does not change, so that a forged SYN cannot end it.
        tcb.stack.reset_in_reply(tcb.remote, segment, now)
        return False
    in_window = (segment.seq - tcb.receive_side.rcv_nxt) & MASK < tcb.receive_side.window
    if tcb.state == SYN_RCVD and tcb.passive and in_window:
        tcb.drop_half_open(now)  # RFC 9293 3.10.7.4, fourth: back to LISTEN
        return False
    tcb.stack.counters.syn_challenges += 1
    challenge(tcb, TO_SYN, now)  # RFC 5961 4.2, for any sequence number
    return False


def _asks_as_before(tcb: Tcb, syn: Segment) -> bool:
    """Return True if a repeated SYN has all negotiated options. Otherwise our SYN-ACK would be longer than the SYN."""
    return (
        (syn.window_scale is not None or not tcb.window_scaling)
        and (syn.ts_val is not None or not tcb.timestamps)
        and (syn.sack_permitted or not tcb.sack)
    )


def _timestamp_is_plain(tcb: Tcb, segment: Segment) -> bool:
    """Return True if PAWS accepts the segment's timestamp without further checks (RFC 7323 5.3 R1)."""
    return not tcb.timestamps or (
        segment.ts_val is not None and (segment.ts_val - tcb.receive_side.ts_recent) & MASK < HALF
    )


def _paws_accepts(tcb: Tcb, segment: Segment, now: float) -> bool:
    """Return False, after a possible answer, if PAWS rejects the segment (RFC 7323 5.3 R1, 3.2): it has no timestamp,
    or an older one that reordering does not explain."""
    receive = tcb.receive_side
    if segment.ts_val is None:
        tcb.stack.counters.paws_drops += 1
        if _is_keepalive(tcb, segment):
            # illumos and Windows send probes without timestamps, and reset the connection if they are not answered.
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
    """Return True if an empty segment with an older timestamp is an ACK that later segments have overtaken.

    Such an ACK has nothing new, and the peer would count our answer as a duplicate ACK. A keepalive probe is excluded,
    because its sender waits for an answer."""
    return (
        segment.flags & ACK != 0
        and (tcb.send_side.snd_una - segment.ack) & MASK < HALF
        and not _is_keepalive(tcb, segment)
    )


def _answer_unacceptable(tcb: Tcb, segment: Segment, length: int, now: float) -> None:
    """Answer an unacceptable segment with an ACK (RFC 9293 3.10.7.4, first check).

    Answers to empty segments are rate-limited, because such a segment may itself be an answer like ours, and two stacks
    could answer each other forever. Answers to text and FIN are not, because the sender waits for the ACK. The sender
    of a keepalive probe waits as well, but an attacker can forge any number of probes.
    """
    if length:
        tcb.receive_side.note_duplicate((segment.seq + (segment.flags >> 1 & 1)) & MASK, len(segment.payload))
        tcb.ack_now()
    elif _is_keepalive(tcb, segment):
        # Its sequence numbers are exact, so it proves that the peer is alive, as an acceptable ACK does. If both ends
        # use keepalive, only one of them then sends probes.
        tcb.note_received(now)
        _answer_keepalive(tcb, now)
    else:
        challenge(tcb, TO_ACK, now)


def _answer_keepalive(tcb: Tcb, now: float) -> None:
    if tcb.take_answer(TO_KEEPALIVE, now, _KEEPALIVE_ANSWER_INTERVAL):
        tcb.ack_now()


def _is_keepalive(tcb: Tcb, segment: Segment) -> bool:
    """Return True if a segment is a keepalive probe (RFC 9293 3.8.4), with or without one octet, or a window probe of
    Linux.

    A segment that acknowledges octets we never sent is not a probe. The state of the peer differs from ours, and it
    answers an ACK of ours that it considers a keepalive probe.
    """
    send = tcb.send_side
    return (
        segment.flags & (ACK | FIN) == ACK
        and len(segment.payload) <= 1
        and (segment.seq + 1) & MASK == tcb.receive_side.rcv_nxt
        and (segment.ack - send.snd_una) & MASK <= send.flight_size
    )


def _process_rst(tcb: Tcb, offset: int, now: float) -> None:
    """Process an RST with SEQ = RCV.NXT. Elsewhere in the window it gets a challenge ACK (RFC 5961 3.2)."""
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
    """Process text and FIN of an acceptable segment (seventh and eighth check)."""
    receive = tcb.receive_side
    if tcb.state not in (ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2):
        return  # the peer's FIN has arrived, and no text follows it
    if tcb.closed_by_user and payload and diff((seq + len(payload)) & MASK, receive.rcv_nxt) > 0:
        # SHLD-3: the user has closed and cannot read this text, so the connection is reset.
        tcb.stack.counters.aborts_on_data += 1
        send_reset(tcb, undelivered(tcb, "the peer sent data after close()"), now, in_reply=True)
        return
    if payload:
        receive.note_text(now)
    advanced = receive.accept(seq, payload, fin)
    if advanced and receive.readable:
        if now >= receive.round_ends and not receive.fin_reached:
            receive.tune(now, tcb.rtt.srtt)
        tcb.report(event.READABLE)
    if receive.fin_reached:
        tcb.report(event.PEER_CLOSED)
        tcb.fin_arrived(now)
    schedule_ack(tcb, len(payload), now)
