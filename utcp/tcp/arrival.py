"""SEGMENT ARRIVES, for connections that have a TCB (RFC 9293 3.10.7.3 and 3.10.7.4).

With RFC 5961's acceptance of RST, SYN and ACK, and RFC 7323's timestamps. CLOSED, LISTEN and TIME_WAIT are the stack's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from utcp.errors import ConnectionRefused, ConnectionReset
from utcp.tcp import event
from utcp.tcp.rate_limit import TO_ACK, TO_DATA, TO_KEEPALIVE, TO_RST, TO_SYN
from utcp.tcp.receive import DELAYED
from utcp.tcp.spurious import NO_DSACK
from utcp.tcp.state import CLOSE_WAIT, CLOSING, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, LAST_ACK, SYN_RCVD, SYN_SENT
from utcp.tcp.timers import DELAYED_ACK, LINGER, PACING, PERSIST, PROBE, REORDER, RETRANSMIT, USER_TIMEOUT
from utcp.tcp.timers import FIN_WAIT_2 as FIN_WAIT_2_TIMER
from utcp.tcp.transmit import Buffer
from utcp.wire import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG, Segment
from utcp.wire.options import TIMESTAMPS_LENGTH
from utcp.wire.segment import CONGESTION_EXPERIENCED
from utcp.wire.seq import HALF, MASK, diff, lt

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection

_TS_RECENT_LIFETIME: Final = 24 * 24 * 3600.0
"""RFC 7323 5.5: after 24 days a timestamp proves nothing."""

_KEEPALIVE_ANSWER_INTERVAL: Final = 0.1
"""The least time between answers to keepalive probes, seconds. Peers probe less often (Linux: 1 s or more)."""

_SACK_INTERVAL: Final = 0.001
"""Seconds between SACKs that out-of-order segments may share: the shortest timer of an event loop. One SACK for each
segment would queue on a narrow path for ACKs, and the ACKs behind them would reach the sender bunched."""

_SACKS_SPACED_FROM: Final = 0.02
"""Seconds of smoothed round-trip time from which SACKs are spaced, so that none waits for more than a twentieth of it.
"""


def segment_arrives(connection: Connection, segment: Segment, now: float) -> None:
    """RFC 9293 3.10.7.3 (SYN_SENT) and 3.10.7.4 (the states after it)."""
    if (
        segment.payload
        and segment.flags | PSH == ACK | PSH
        and not segment.sack_blocks
        and segment.ecn != CONGESTION_EXPERIENCED
        and stretch_arrives(connection, segment, 1, len(segment.payload), now)
    ):
        return
    receive = connection.receive_side
    receive.note_segment()
    if connection.state == SYN_SENT:
        _arrives_in_syn_sent(connection, segment, now)
    elif (
        not connection.send_side.syn_acked
        or segment.flags & (SYN | RST | ACK) != ACK
        or segment.seq != receive.rcv_nxt
        or len(segment.payload) >= receive.window
        or not _timestamp_is_plain(connection, segment)
    ):
        _arrives(connection, segment, now)
    else:
        # Header prediction: what is next in order, or a pure ACK, is acceptable in every synchronized state.
        _accept(connection, segment, True, now)


def stretch_arrives(connection: Connection, segment: Segment, count: int, size: int, now: float) -> bool:
    """Header prediction for text. `segment` is `count` segments that came as a train: in order, with ACK and perhaps
    PSH, with no option but timestamps, of `size` octets each but for the last, which may be shorter. They are processed
    as if each had come by itself.

    False: nothing was done, because they need decisions.
    """
    send, receive = connection.send_side, connection.receive_side
    seq = segment.seq
    if (
        (connection.state != ESTABLISHED and connection.state != FIN_WAIT_2)
        or connection.closed_by_user
        or seq != receive.rcv_nxt
        or len(segment.payload) >= receive.window
        or not receive.expects_stretch(now, connection.rtt.srtt or 0.0)
        or (count > 1 and _may_be_half_an_answer(connection, size))  # only the first of them decides that
        or (segment.ack - send.snd_una) & MASK > send.flight_size
        or not _timestamp_is_plain(connection, segment)
    ):
        return False
    receive.note_segments(count)
    connection.last_heard = now
    connection.keepalive_probes = 0
    segment.seq = (seq + (count - 1) * size) & MASK  # SND.WL1: the window is that of the last one
    if not send.hears_nothing_new(segment.seq, segment.ack, segment.window):
        _process_ack(connection, segment, now)
    if connection.timestamps and segment.ts_val is not None and (receive.last_ack_sent - seq) & MASK < HALF:
        receive.take_timestamp(segment.ts_val, now)
    receive.accept_stretch(segment.payload, count, size, now, connection.rtt.srtt or 0.0)
    connection.tell(event.READABLE)
    _see_to_ack(connection, size, now)
    return True


def _timestamp_is_plain(connection: Connection, segment: Segment) -> bool:
    """The segment's timestamp needs no decision (RFC 7323 5.3 R1)."""
    return not connection.timestamps or (
        segment.ts_val is not None and (segment.ts_val - connection.receive_side.ts_recent) & MASK < HALF
    )


def _arrives_in_syn_sent(connection: Connection, segment: Segment, now: float) -> None:
    """RFC 9293 3.10.7.3. Text and FIN on a SYN-ACK are left for the peer to send again."""
    send = connection.send_side
    flags = segment.flags
    if flags & ACK and (
        segment.ack != send.snd_nxt or segment.ack == send.iss
    ):  # first: an ACK of anything but our SYN
        if flags & RST:
            return
        # Not as an answer to a stranger: it must not be overtaken by the SYN that follows.
        if connection.stack.reset_in_reply(connection.remote, segment, now, to_stranger=False):
            _repeat_syn(connection, now)
        return
    if flags & RST:  # second
        if flags & ACK:
            connection.finish(ConnectionRefused(), now)
        return
    if not flags & SYN:  # fifth
        return
    connection.negotiate(segment, now)
    if flags & ACK:  # fourth
        send.acknowledge(segment.ack)
        _acknowledged(connection, segment, 1, 0, False, now)
        connection.retransmits = 0
        connection.timers.stop(RETRANSMIT)
        connection.timers.stop(USER_TIMEOUT)
        connection.receive_side.owe_ack()
        connection.establish(now)
    else:  # simultaneous open: a SYN-ACK with our SYN's number
        connection.enter(SYN_RCVD, now)
        connection.syn_again = True
    connection.touch()


def _repeat_syn(connection: Connection, now: float) -> None:
    """Send the SYN again behind a RST. Our SYN has met an older connection at the peer; the RST ends that connection,
    and the ports are free. Linux does the same. Here it happens once for each SYN that the timer has sent, so that
    forged ACKs cause no storm: in SYN_SENT this connection has sent nothing but SYNs.
    """
    if connection.send_side.segs_out <= 2 * connection.retransmits + 1:
        connection.syn_again = True
        connection.timers.set(RETRANSMIT, now + connection.rtt.rto)
        connection.touch()


def _arrives(connection: Connection, segment: Segment, now: float) -> None:
    """RFC 9293 3.10.7.4, check by check."""
    receive = connection.receive_side
    flags = segment.flags
    if flags & SYN and not _process_syn(connection, segment, now):  # fourth, moved forward by RFC 5961 4
        return
    if connection.timestamps and not flags & RST and not _paws_accepts(connection, segment, now):
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
                _take_ack_of_old_segment(connection, segment, now)
            _answer_unacceptable(connection, segment, length, now)
        return
    # Second: RST.
    if flags & RST:
        _process_rst(connection, offset, now)
        return
    # Fifth: ACK.
    if not flags & ACK:
        return
    acks_syn = (segment.ack - connection.send_side.snd_una - 1) & MASK < connection.send_side.flight_size
    if not connection.send_side.syn_acked and not acks_syn:  # SYN_RCVD, and FIN_WAIT_1 entered from there
        connection.stack.reset_in_reply(connection.remote, segment, now)
        return
    if not connection.send_side.syn_acked and connection.listener is not None:
        limit = connection.stack.admission.refusal(connection.remote)
        if limit:
            connection.stack.refused(limit, connection.remote, now)
            connection.refuse(now)
            return
    if flags & SYN:
        # Simultaneous open. The SYN-ACK that would acknowledge the peer's SYN is lost, or has not left this batch yet
        # and will not: RFC 9293's first check, to which this SYN is old, answers with an ACK.
        connection.ack_now()
    _accept(connection, segment, text_fits, now)


def _accept(connection: Connection, segment: Segment, text_fits: bool, now: float) -> None:
    """Fifth to eighth check, for an acceptable segment with ACK and without SYN or RST that matters."""
    connection.last_heard = now
    connection.keepalive_probes = 0
    if not _process_ack(connection, segment, now):
        return
    receive = connection.receive_side
    flags = segment.flags
    if connection.ecn:
        _process_marks(connection, segment)
    if (
        connection.timestamps
        and segment.ts_val is not None
        and (receive.last_ack_sent - segment.seq) & MASK < HALF
        and not receive.is_reordered(segment.ts_val)
    ):
        receive.take_timestamp(segment.ts_val, now)
    expects_text = connection.state in (ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2)
    if flags & URG and expects_text and receive.note_urgent(segment.seq, segment.urgent):  # sixth
        connection.tell(event.URGENT)
    if not text_fits:
        connection.ack_now()
    elif segment.payload or flags & FIN:
        _process_text(connection, (segment.seq + (flags >> 1 & 1)) & MASK, segment.payload, bool(flags & FIN), now)
    if connection.send_side.fin_acked:
        _fin_acknowledged(connection, now)


def _fin_acknowledged(connection: Connection, now: float) -> None:
    """Handle the ACK of our FIN: FIN_WAIT_1 becomes FIN_WAIT_2, and a close by the user counts as delivered."""
    if connection.state == FIN_WAIT_1:
        connection.enter(FIN_WAIT_2, now)
        if connection.closed_by_user:
            connection.set_timer(FIN_WAIT_2_TIMER, now + connection.config.fin_wait_2_timeout)
    connection.end_if_delivered(now)


def _take_ack_of_old_segment(connection: Connection, segment: Segment, now: float) -> None:
    """Take the ACK field of a segment that is not acceptable because it begins before RCV.NXT, if it acknowledges
    something new.

    The peer sends such a segment when our ACK was lost: its FIN again in a simultaneous close, a window probe, text.
    RFC 9293 A.2 names the stalls that follow from not reading its ACK field, and leaves the cure to implementations.
    The caller bounds SEG.SEQ by the largest window that was offered, as RFC 5961 5.2 bounds SEG.ACK: a blind guess
    succeeds no more than twice as often.
    """
    send = connection.send_side
    if not send.syn_acked or not 0 < (segment.ack - send.snd_una) & MASK <= send.flight_size:
        return
    connection.last_heard = now
    connection.keepalive_probes = 0
    _process_ack(connection, segment, now)
    if send.fin_acked:
        _fin_acknowledged(connection, now)


def _process_marks(connection: Connection, segment: Segment) -> None:
    """RFC 3168 6.1.3: a mark is echoed on every ACK until the peer says that it has slowed down.

    An ACK without data is sent as not ECT (6.1.4), so a mark on it says nothing about the peer's data and is ignored.
    """
    if segment.flags & CWR:
        connection.ece = 0
    if segment.ecn == CONGESTION_EXPERIENCED and segment.length:
        connection.stack.counters.in_ce_pkts += 1
        connection.ece = ECE
        connection.ack_now()


def _process_syn(connection: Connection, segment: Segment, now: float) -> bool:
    """A SYN on a connection that has seen one; whether the segment is worth reading on."""
    flags = segment.flags
    if flags & RST:
        return True
    if connection.state == SYN_RCVD and segment.seq == connection.receive_side.irs:
        if not flags & ACK:
            if connection.passive:
                if not _asks_as_before(connection, segment):
                    return False
                connection.offers_mss = connection.offers_mss and segment.mss is not None
                if not flags & (ECE | CWR):  # the first one asked, and may have been lost for it (RFC 3168 6.1.1)
                    connection.ecn = False
            connection.syn_again = True
            connection.touch()
            return False
        if not connection.passive:
            return True  # simultaneous open: its ACK is what we wait for
    if connection.state == LAST_ACK and not flags & ACK and connection.config.syn_in_last_ack == "reset":
        # The sender is in SYN_SENT on ports that this connection still holds. RST with the ACK of its SYN refuses
        # it at once; the connection itself is not touched, and a forged SYN kills nothing.
        connection.stack.reset_in_reply(connection.remote, segment, now)
        return False
    in_window = (segment.seq - connection.receive_side.rcv_nxt) & MASK < connection.receive_side.window
    if connection.state == SYN_RCVD and connection.passive and in_window:
        connection.vanish(now)  # RFC 9293 3.10.7.4, fourth: back to LISTEN
        return False
    connection.stack.counters.syn_challenges += 1
    _challenge(connection, TO_SYN, now)  # RFC 5961 4.2, whatever the sequence number
    return False


def _asks_as_before(connection: Connection, syn: Segment) -> bool:
    """A repeated SYN has all the options that were agreed on. The answer to a shorter one would be longer than it."""
    return (
        (syn.window_scale is not None or not connection.window_scaling)
        and (syn.ts_val is not None or not connection.timestamps)
        and (syn.sack_permitted or not connection.sack)
    )


def _paws_accepts(connection: Connection, segment: Segment, now: float) -> bool:
    """RFC 7323 5.3 R1, 3.2: no segment with an older timestamp, unless the path may have reordered it, or with none."""
    receive = connection.receive_side
    if segment.ts_val is None:
        connection.stack.counters.paws_drops += 1
        if _is_keepalive(connection, segment):
            # illumos and Windows probe without timestamps, and reset a connection whose other end stays silent.
            _answer_keepalive(connection, now)
        return False
    if (
        lt(segment.ts_val, receive.ts_recent)
        and not receive.is_reordered(segment.ts_val)
        and now - receive.ts_recent_at < _TS_RECENT_LIFETIME
    ):
        connection.stack.counters.paws_drops += 1
        if segment.length:
            _answer_unacceptable(connection, segment, segment.length, now)
        elif not _is_overtaken(connection, segment):
            _challenge(connection, TO_ACK, now)
        return False
    return True


def _is_overtaken(connection: Connection, segment: Segment) -> bool:
    """Return whether an empty segment with an older timestamp is an ACK that later segments have overtaken. It has
    nothing new, and the peer would take an answer for a duplicate ACK. A keepalive probe is not such an ACK: its sender
    waits for the answer."""
    return (
        segment.flags & ACK != 0
        and (connection.send_side.snd_una - segment.ack) & MASK < HALF
        and not _is_keepalive(connection, segment)
    )


def _answer_unacceptable(connection: Connection, segment: Segment, length: int, now: float) -> None:
    """ACK what cannot be accepted (RFC 9293 3.10.7.4, first check).

    An empty segment may be an ACK like ours: two stacks could answer each other for ever, so those are rationed.
    Text and FIN are not, because their sender waits for this ACK. So does the sender of a keepalive probe, but an
    attacker can forge any number of probes.
    """
    if length:
        connection.receive_side.note_duplicate((segment.seq + (segment.flags >> 1 & 1)) & MASK, len(segment.payload))
        connection.ack_now()
    elif _is_keepalive(connection, segment):
        # Its numbers are exact, so it is a sign of life, as an acceptable ACK is. Of two ends that probe, one does.
        connection.last_heard = now
        connection.keepalive_probes = 0
        _answer_keepalive(connection, now)
    else:
        _challenge(connection, TO_ACK, now)


def _answer_keepalive(connection: Connection, now: float) -> None:
    if connection.may_answer(TO_KEEPALIVE, now, _KEEPALIVE_ANSWER_INTERVAL):
        connection.ack_now()


def _is_keepalive(connection: Connection, segment: Segment) -> bool:
    """Whether a segment is a keepalive probe (RFC 9293 3.8.4), perhaps with one octet, or one of Linux's window probes.

    A segment that acknowledges what we never sent is not a probe. The peer disagrees with us about what was sent, and
    answers an ACK of ours that looked like a keepalive probe to it.
    """
    send = connection.send_side
    return (
        segment.flags & (ACK | FIN) == ACK
        and len(segment.payload) <= 1
        and (segment.seq + 1) & MASK == connection.receive_side.rcv_nxt
        and (segment.ack - send.snd_una) & MASK <= send.flight_size
    )


def _challenge(connection: Connection, kind: int, now: float) -> None:
    """Send a challenge ACK, at most one per interval and kind of segment (RFC 5961 7)."""
    if connection.may_answer(kind, now, connection.config.challenge_ack_interval):
        connection.stack.counters.challenge_acks += 1
        connection.ack_now()


def _process_rst(connection: Connection, offset: int, now: float) -> None:
    """RFC 5961 3.2: an RST must hit RCV.NXT exactly; elsewhere in the window it is challenged."""
    if offset != 0:
        _challenge(connection, TO_RST, now)
    elif connection.state == SYN_RCVD and connection.passive:
        connection.vanish(now)
    elif connection.state == SYN_RCVD:
        connection.finish(ConnectionRefused(), now)
    else:
        connection.stack.counters.estab_resets += 1
        connection.finish(ConnectionReset(), now)


def _process_ack(connection: Connection, segment: Segment, now: float) -> bool:
    """Fifth check: ACK and window; whether the segment is worth reading on."""
    send = connection.send_side
    ack = segment.ack
    advance = (ack - send.snd_una) & MASK
    flight_size = send.flight_size
    if advance > flight_size:
        if advance < HALF or 0x100000000 - advance > max(send.max_snd_wnd, 1):
            # Of something never sent (RFC 9293), or older than any window allows (RFC 5961 5, MAY-12).
            _challenge(connection, TO_DATA if segment.length else TO_ACK, now)
            return False
        # An old ACK, overtaken by a newer one: its text and FIN count all the same, and so do its SACK blocks (RFC 6675
        # 5, RFC 2883 5).
        if segment.sack_blocks and connection.sack and not send.probe:
            _acknowledged(connection, segment, 0, 0, False, now)
            connection.touch()
        return True
    # RFC 7323 2.2: the window of a SYN is not scaled.
    window = segment.window if segment.flags & SYN else segment.window << send.shift
    changed = False
    if advance:
        syn_acked = send.syn_acked
        acked = send.acknowledge(ack)
        if connection.retransmits:
            connection.timeouts_over(now)
        connection.soft_error = None
        connection.probes = 0
        changed = send.update_window(segment.seq, ack, window)
        _acknowledged(connection, segment, advance, acked, False, now)
        if send.snd_una == send.snd_nxt:
            connection.timers.stop(RETRANSMIT)
            connection.timers.stop(REORDER)
        else:
            connection.timers.set(RETRANSMIT, now + connection.rtt.rto)
        connection.timers.stop(PROBE)
        connection.timers.stop(USER_TIMEOUT)
        if not syn_acked:
            connection.establish(now)
        _after_advance(connection, now)
    else:
        changed = send.update_window(segment.seq, ack, window)
        if (flight_size or connection.recovery.probe_under_way or segment.sack_blocks) and not send.probe:
            plain = not changed and not segment.payload and not segment.flags & FIN
            if plain or segment.sack_blocks or segment.flags & ECE:
                _acknowledged(connection, segment, 0, 0, plain, now)
    if changed and send.snd_wnd:
        connection.probes = 0
        connection.timers.stop(PERSIST)
        if send.probe:  # what the probe carried was refused by the closed window
            send.end_probe()
            connection.recovery.lose_first(now)
    elif not send.snd_wnd and not connection.closed_by_user:
        connection.retransmits = 0  # MUST-37, SHLD-17: a peer that answers may keep its window closed
    if send.pending or connection.recovery.pending or send.flight_size:
        connection.touch()
    elif advance and not connection.in_output:
        connection.stack.memory.note(connection)
    return True


def _acknowledged(
    connection: Connection, segment: Segment, advance: int, acked: int, duplicate: bool, now: float
) -> None:
    """Pass an ACK on to recovery: SND.UNA has moved by `advance`, `acked` octets of it payload. Of an old ACK only the
    SACK blocks count, because later ACKs had newer marks and timestamps."""
    recovery = connection.recovery
    newest = segment.ack == connection.send_side.snd_una
    ece = newest and connection.ecn and segment.flags & (ECE | SYN) == ECE
    if advance and not ece and not segment.sack_blocks and recovery.plain:
        recovery.on_plain_ack(advance, acked, now)
        if acked:
            _follow_congestion(connection)
        return
    blocks: list[tuple[int, int]] = []
    dsack = NO_DSACK
    if segment.sack_blocks and connection.sack:
        blocks, dsack = _blocks(connection, segment, recovery.board.una + advance)
        if not newest and not blocks and dsack == NO_DSACK:
            return
    echo_age = -1.0
    if newest and connection.timestamps and segment.ts_ecr:
        elapsed = (connection.ts_now(now) - segment.ts_ecr) & MASK
        if elapsed < HALF:
            echo_age = elapsed / 1000
    recovery.on_ack(advance, acked, blocks, dsack, duplicate, ece, echo_age, now)
    probe = recovery.mtu_probe_over()
    if probe is not None:
        connection.mtu_probe_over(probe.size, probe.arrived, now)
    _follow_congestion(connection)


def _blocks(connection: Connection, segment: Segment, una: int) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Return the SACK blocks as positions, where SND.UNA is `una`, and the DSACK: the stretch that was received twice.
    The first block is a DSACK if it lies below the ACK of its own segment, or within the second block (RFC 2883 5).

    Blocks beyond SND.NXT, and blocks older than any window allows, are left out."""
    send = connection.send_side
    oldest, nxt = una - send.max_snd_wnd, una + send.flight_size
    blocks: list[tuple[int, int]] = []
    for left_edge, right_edge in segment.sack_blocks:
        left, right = una + diff(left_edge, send.snd_una), una + diff(right_edge, send.snd_una)
        if not oldest <= left < right <= nxt:
            left = right = una  # ignored, but it keeps its place in the list
        blocks.append((left, right))
    left, right = blocks[0]
    if left < right and (
        right <= una + diff(segment.ack, send.snd_una)
        or (len(blocks) > 1 and blocks[1][0] <= left and right <= blocks[1][1])
    ):
        return [block for block in blocks[1:] if una <= block[0] < block[1]], (left, right)
    return [block for block in blocks if una <= block[0] < block[1]], NO_DSACK


def _follow_congestion(connection: Connection) -> None:
    """What the congestion controller has made of an ACK: the pacing rate, and how much data is kept at hand."""
    congestion = connection.congestion
    connection.pacer.set_rate(congestion.pacing_rate, connection.rtt.min_rtt)
    connection.send_side.grow(2 * congestion.cwnd)


def _after_advance(connection: Connection, now: float) -> None:
    """SND.UNA moved: room for the writer; what the ACK of our FIN brings about."""
    send = connection.send_side
    if send.wanted and send.room_again():
        connection.tell(event.WRITABLE)
    if not send.fin_acked:
        return
    connection.timers.stop(LINGER)
    if connection.state == CLOSING:
        connection.enter_time_wait(now)
    elif connection.state == LAST_ACK:
        connection.leave(now)


def _process_text(connection: Connection, seq: int, payload: Buffer, fin: bool, now: float) -> None:
    """Seventh and eighth check: text and FIN of an acceptable segment."""
    receive = connection.receive_side
    if connection.state not in (ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2):
        return  # the peer's FIN was taken: no text follows it
    if connection.closed_by_user and payload and diff((seq + len(payload)) & MASK, receive.rcv_nxt) > 0:
        # SHLD-3: the user has closed and cannot read this; the peer learns that it was not read.
        connection.stack.counters.aborts_on_data += 1
        connection.reset_peer(connection.undelivered("the peer sent data after close()"), now, in_reply=True)
        return
    if payload:
        receive.note_text(now)
    advanced = receive.accept(seq, payload, fin)
    if advanced and receive.readable:
        if now >= receive.round_ends:
            receive.tune(now, connection.rtt.srtt or 0.0)
        connection.tell(event.READABLE)
    if receive.fin_reached:
        connection.tell(event.PEER_CLOSED)
        if connection.state == ESTABLISHED:
            connection.enter(CLOSE_WAIT, now)
        elif connection.state == FIN_WAIT_1 and not connection.send_side.fin_acked:
            connection.enter(CLOSING, now)
        else:
            connection.enter_time_wait(now)
    _see_to_ack(connection, len(payload), now)


def _may_be_half_an_answer(connection: Connection, size: int) -> bool:
    """Return whether text of `size` octets may be the first part of an answer, whose second part Nagle's algorithm
    holds back until our ACK. A full-sized segment is not: nothing waits behind it."""
    return size + TIMESTAMPS_LENGTH < connection.receive_mss and connection.receive_side.awaits_answer(
        connection.send_side.sent
    )


def _see_to_ack(connection: Connection, size: int, now: float) -> None:
    """Schedule the ACK of text of `size` octets that arrived: now, later, or not at all."""
    receive = connection.receive_side
    if receive.ack_due == DELAYED and connection.config.delayed_ack:
        if connection.timers.is_set(DELAYED_ACK):
            if not connection.in_output:
                connection.stack.memory.note(connection)
            return
        delay = connection.config.delayed_ack
        deadline = now + delay
        if receive.duplicate_acks_due:  # the delayed ACK is a SACK
            spaced = (connection.rtt.srtt or 0.0) >= _SACKS_SPACED_FROM
            deadline = receive.next_sack(now, min(delay, _SACK_INTERVAL) if spaced else 0.0)
            if deadline <= now:
                connection.ack_now()
                return
        elif _may_be_half_an_answer(connection, size) and receive.acknowledges_at_once(
            now, delay, connection.send_side.sent, connection.last_sent
        ):
            connection.ack_now()
            return
        if connection.timers.is_set(PACING):  # data waits for it, and not for text that comes
            connection.set_timer(DELAYED_ACK, deadline)
            if not connection.in_output:
                connection.stack.memory.note(connection)
        else:  # the flush schedules it: by then a reply may have taken the ACK along
            connection.timers.set(DELAYED_ACK, deadline)
            connection.touch()
    elif receive.ack_due:
        connection.ack_now()
