"""What a connection sends when it is asked: SYN, FIN and ACK here, and what takes more deciding in `burst.py`.

One pass per connection and flush, after everything that arrived has been processed: so one ACK answers a batch
(RFC 9293 3.10.7.4, MUST-58, MUST-59), and rides on data or FIN where there is any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from utcp.tcp.burst import Burst, pack, put
from utcp.tcp.receive import NOW
from utcp.tcp.state import SYN_RCVD, SYN_SENT
from utcp.tcp.tail_loss import TailLossProbe
from utcp.tcp.timers import PERSIST, PROBE, REORDER, RETRANSMIT, USER_TIMEOUT
from utcp.tcp.transmit import Outbox
from utcp.wire import ACK, CWR, ECE, FIN, SYN, Segment

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection


def transmit(connection: Connection, now: float, outbox: Outbox) -> None:
    """Put everything that `connection` may send at `now` into `outbox`, and set the timers that follow from it."""
    send = connection.send_side
    if not send.syn_acked:
        _send_syn(connection, now)
        if connection.state == SYN_SENT:
            _set_timers(connection, now)
            return
    receive, recovery = connection.receive_side, connection.recovery
    if (
        send.queued == send.sent
        and not recovery.board.lost
        and not connection.probe_due
        and not connection.tail_probe_due
        and not connection.keepalive_due
        and not receive.sack_due
        and not receive.duplicate_acks_due
    ):
        # Only a FIN or an ACK can be due: most of a connection's life, and nearly all of its end.
        _bare_fin_or_ack(connection, now, outbox)
        _set_timers(connection, now)
        return
    burst = Burst(connection, now, outbox)
    if receive.duplicate_acks_due and receive.ack_due == NOW:
        burst.duplicate_acks()
    if connection.tail_probe_due:
        burst.tail_loss_probe()
    new_data_first = recovery.new_data_first and send.unsent and send.usable_window > 0
    if recovery.pending and not new_data_first:
        burst.retransmissions()
    if connection.probe_due:
        burst.window_probe()
    if send.unsent and send.syn_acked and (not recovery.pending or new_data_first):
        burst.new_data()
    if _fin_may_go(connection):
        burst.fin()
    if receive.ack_due == NOW:
        burst.pure_ack()
    if connection.keepalive_due:
        burst.keepalive_probe()
    burst.finish()
    _set_timers(connection, now)


def _fin_may_go(connection: Connection) -> bool:
    """A FIN waits for the data before it and for the peer's window, but for no congestion window. In SYN_RCVD it waits
    for the handshake; a close there has moved the state on already (RFC 9293 3.10.4)."""
    send = connection.send_side
    return (
        send.fin_queued
        and not send.fin_sent
        and not send.unsent
        and send.usable_window > 0
        and connection.state != SYN_RCVD
    )


def _bare_fin_or_ack(connection: Connection, now: float, outbox: Outbox) -> None:
    """A FIN that may go, else an ACK that is due."""
    send, receive = connection.send_side, connection.receive_side
    if _fin_may_go(connection):
        seq, flags = send.snd_nxt, ACK | FIN
        send.advance(0, True, False)
        departure = connection.recovery.depart(now)
        connection.recovery.sent(1, departure)
        connection.recovery.flushed(departure, False, True)
        connection.timers.stop(PROBE)
        connection.last_sent = now
    elif receive.ack_due == NOW:
        seq, flags = send.acceptable_seq, ACK
    else:
        return
    header = pack(
        connection,
        seq,
        receive.rcv_nxt,
        flags | connection.ece,
        receive.offer_window(),
        connection.ts_now(now),
        receive.ts_recent,
    )
    put(connection, header, None, len(header), now, outbox, -1)


def _send_syn(connection: Connection, now: float) -> None:
    """SYN or SYN-ACK, the first time, after a timeout, because the peer sent its SYN again, or behind a RST."""
    send, receive, recovery = connection.send_side, connection.receive_side, connection.recovery
    again = send.snd_nxt != send.iss
    lost = recovery.pending
    if again and not lost and not connection.syn_again:
        return
    connection.syn_again = False
    departure = recovery.depart(now)
    if again:
        recovery.resent(0, 1, departure)
        if lost or connection.passive:  # else it answers a SYN that crossed ours, or follows a RST: ours was not lost
            connection.note_retransmission(send.iss, 1, now)
    else:
        send.advance_over_syn()
        recovery.sent(1, departure)
        connection.last_sent = now
    opening = connection.state == SYN_SENT
    scaling = connection.config.window_scaling if opening else connection.window_scaling
    timestamps = connection.config.timestamps if opening else connection.timestamps
    if not opening:
        flags = SYN | ACK | (ECE if connection.ecn else 0)
    elif (
        connection.config.ecn == "request" and not connection.total_retransmits
    ):  # RFC 3168 6.1.1.1: a path may drop such SYNs
        flags = SYN | ECE | CWR
    else:
        flags = SYN
    segment = Segment(
        connection.local_port,
        connection.remote_port,
        send.iss,
        0 if opening else receive.rcv_nxt,
        flags,
        receive.offer_unscaled_window(),
        mss=connection.receive_mss if connection.offers_mss else None,
        window_scale=receive.scale_for_buffer() if scaling else None,
        sack_permitted=connection.config.sack if opening else connection.sack,
        ts_val=connection.ts_now(now) if timestamps else None,
        ts_ecr=receive.ts_recent if timestamps else None,
    )
    receive.acknowledged()
    send.note_segment(False)
    connection.stack.put(connection.remote, segment, now, to_stranger=connection.unproven)


def _set_timers(connection: Connection, now: float) -> None:
    send, timers, recovery = connection.send_side, connection.timers, connection.recovery
    if send.snd_nxt != send.snd_una and not send.probe:
        if not timers.is_set(RETRANSMIT):
            timers.set(RETRANSMIT, now + connection.rtt.rto)
        timers.stop(PERSIST)
        timers.set(REORDER, recovery.reorder_at)
        if not (recovery.probe_is_useful and send.syn_acked):
            timers.stop(PROBE)
        elif not timers.is_set(PROBE):
            one_segment = send.flight_size < 2 * connection.mss  # what a peer need not acknowledge at once
            delay = TailLossProbe.delay(connection.rtt.srtt, one_segment, connection.config.max_ack_delay)
            # RFC 8985 7.2: no later than the retransmission timeout, which it goes before.
            timers.set(PROBE, min(now + delay, timers.deadlines[RETRANSMIT]))
    elif (send.pending or send.probe) and not timers.is_set(PERSIST):
        timers.set(PERSIST, now + connection.rtt.after(connection.probes))
    if (
        connection.user_timeout is not None
        and not timers.is_set(USER_TIMEOUT)
        and (send.snd_nxt != send.snd_una or send.pending)
    ):
        timers.set(USER_TIMEOUT, now + connection.user_timeout)
