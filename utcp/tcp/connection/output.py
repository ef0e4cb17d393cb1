"""The output of a connection in a flush: SYN, FIN and ACK here, all other segments in `burst.py`.

A flush processes each connection once, after all received segments, so that one ACK answers a batch (RFC 9293 3.10.7.4,
MUST-58, MUST-59), and data or a FIN carries it if possible.
"""

from __future__ import annotations

from math import inf

from utcp.tcp.connection.burst import Burst, begin_flight
from utcp.tcp.connection.header import pack
from utcp.tcp.connection.tcb import KEEPALIVE_PROBE, TAIL_LOSS_PROBE, WINDOW_PROBE, Tcb
from utcp.tcp.receive import NOW
from utcp.tcp.state import SYN_RCVD, SYN_SENT
from utcp.tcp.transmit import Buffer, Outbox
from utcp.wire import ACK, CWR, ECE, FIN, PSH, SYN
from utcp.wire.segment import ECN_CAPABLE, NOT_ECT, encode_syn
from utcp.wire.seq import MASK


def transmit(tcb: Tcb, now: float, outbox: Outbox) -> None:
    """Put all segments that the connection may send at `now` into `outbox`, and set its timers."""
    send = tcb.send_side
    if (send.syn_acked or not _sends_only_syn(tcb, now, outbox)) and not _sends_one_segment(tcb, now, outbox):
        _burst(tcb, now, outbox)
    flight_size = (send.snd_nxt - send.snd_una) & MASK
    persist = tcb.persist
    if flight_size and not send.probe:
        tcb.recovery.set_timers(now, flight_size < 2 * tcb.mss, tcb.config.max_ack_delay)
        if persist.deadline != inf:
            persist.stop()
    elif not flight_size and send.queued == send.sent and send.fin_queued == send.fin_sent:
        return  # nothing waits for an ACK or for the window
    elif persist.deadline == inf:
        tcb.start_persist(now + tcb.rtt.after(persist.probes))
    if tcb.user_timeout is not None:
        tcb.start_user_timeout(now)


def _burst(tcb: Tcb, now: float, outbox: Outbox) -> None:
    send, receive, recovery = tcb.send_side, tcb.receive_side, tcb.recovery
    burst, probes = Burst(tcb, now, outbox), tcb.take_probes()
    if receive.out_of_order.acks_due and receive.ack_due == NOW:
        burst.duplicate_acks()
    if probes & TAIL_LOSS_PROBE:
        burst.tail_loss_probe()
    new_data_first = False
    if recovery.board.lost:
        new_data_first = recovery.new_data_first and send.unsent > 0 and send.usable_window > 0
        if not new_data_first:
            burst.retransmissions()
    if probes & WINDOW_PROBE:
        burst.window_probe()
    if send.queued > send.sent and send.syn_acked and (not recovery.board.lost or new_data_first):
        burst.new_data()
    if send.fin_queued != send.fin_sent and send.queued == send.sent and _fin_may_go(tcb, send.flight_size):
        burst.fin()
    if receive.ack_due == NOW:
        burst.pure_ack()
    if probes & KEEPALIVE_PROBE:
        burst.keepalive_probe()
    idle = not (burst.held_back or burst.paced) and send.queued == send.sent
    recovery.flushed(burst.departure, burst.held_back, idle)


def _fin_may_go(tcb: Tcb, flight_size: int) -> bool:
    """Return True if the FIN behind the data that was sent may leave. It waits for the peer's window, but not for the
    congestion window. In SYN_RCVD it waits for the handshake, unless the user's close has changed the state already
    (RFC 9293 3.10.4)."""
    return flight_size < tcb.send_side.snd_wnd and tcb.state != SYN_RCVD


def _sends_one_segment(tcb: Tcb, now: float, outbox: Outbox) -> bool:
    """Send at most one segment: all data that waits, with the FIN behind it, or a FIN, or an ACK. Return False if
    nothing was done, because there may be more to send, or because a rule of `Burst` may hold the data back."""
    send, receive, recovery = tcb.send_side, tcb.receive_side, tcb.recovery
    out_of_order = receive.out_of_order
    if recovery.board.lost or out_of_order.holding or out_of_order.acks_due or tcb.probes_due:
        return False
    size = send.queued - send.sent
    seq, offset, flags, ecn = send.snd_nxt, send.sent, ACK, NOT_ECT
    payload: Buffer | None = None
    flight_size = (seq - send.snd_una) & MASK
    if size:
        if (
            size > tcb.mss
            or size >= send.snd_wnd - flight_size
            or send.snd_up > offset
            or (recovery.reduced and tcb.ecn.agreed)  # the segment must carry CWR
            or tcb.mtu_search is not None
            or (flight_size and not _follows_at_once(tcb, size, now))
        ):
            return False
        if not flight_size:
            begin_flight(tcb, now)
        payload = send.payload(offset, size)
        flags |= PSH
        if tcb.ecn.agreed:
            ecn = ECN_CAPABLE
        fin = send.fin_queued
    elif send.fin_queued != send.fin_sent and _fin_may_go(tcb, flight_size):
        fin = True
    else:
        if receive.ack_due == NOW:
            header = pack(tcb, send.acceptable_seq, ACK, now)
            outbox.add(tcb.remote, header, None, len(header), now)
            send.note_empty()
        return True
    if fin:
        flags |= FIN
    departure = recovery.depart(now)
    tcb.sent(size, fin, False, 1, departure, now)
    recovery.flushed(departure, False, True)
    header = pack(tcb, seq, flags, now)
    outbox.add(tcb.remote, header, payload, len(header) + size, now, 0, ecn)
    return True


def _follows_at_once(tcb: Tcb, size: int, now: float) -> bool:
    """Return True if a segment with `size` octets may certainly follow those in flight, by Nagle's algorithm, the
    congestion window and the pacing rate."""
    recovery = tcb.recovery
    return (
        tcb.nodelay
        and tcb.send_side.syn_acked
        and recovery.in_flight + size <= recovery.window
        and recovery.board.run_count < tcb.stack.accounts.allowance.small_segments
        and tcb.pacer.may_send(tcb.mss, now)
    )


def _sends_only_syn(tcb: Tcb, now: float, outbox: Outbox) -> bool:
    """Send a SYN or SYN-ACK, if one is due: for the first time, after a timeout, after the peer repeated its SYN, or
    behind an RST. Return True if nothing else may leave in this flush."""
    send, receive, recovery = tcb.send_side, tcb.receive_side, tcb.recovery
    again = send.snd_nxt != send.iss
    lost = recovery.board.lost > 0
    if again and not lost and not tcb.resend_syn:
        return tcb.state == SYN_SENT
    departure = recovery.depart(now)
    if again:
        recovery.resent(0, 1, departure)
        send.note_empty()
        if lost or tcb.passive:  # otherwise it answers a SYN that crossed ours, or follows an RST: ours was not lost
            tcb.note_retransmission(send.iss, 1, now)
    else:
        send.advance_over_syn()
        recovery.sent(1, departure)
    if tcb.resend_syn:
        tcb.syn_leaves()
    config, opening = tcb.config, tcb.state == SYN_SENT
    if not opening:
        flags = SYN | ACK | (ECE if tcb.ecn.agreed else 0)
    elif config.ecn == "request" and not tcb.total_retransmits:  # not again: a path may drop it (RFC 3168 6.1.1.1)
        flags = SYN | ECE | CWR
    else:
        flags = SYN
    data = encode_syn(
        tcb.local_port,
        tcb.remote_port,
        send.iss,
        0 if opening else receive.rcv_nxt,
        flags,
        min(receive.limit, 65535),  # never scaled (RFC 7323 2.2)
        tcb.receive_mss if tcb.offers_mss else None,
        receive.shift if (config.window_scaling if opening else tcb.window_scaling) else None,
        config.sack if opening else recovery.sack,
        (int(now * 1000) + tcb.ts_offset) & MASK if (config.timestamps if opening else tcb.timestamps) else None,
        receive.ts_recent,
    )
    if receive.ack_due:
        receive.acknowledge_syn()
    outbox.add(tcb.remote, data, None, len(data), now)
    return opening or tcb.state == SYN_RCVD
