"""What a connection sends when it is asked: SYN, duplicate ACKs, retransmissions, window probes, data, FIN, ACK.

One pass per connection and flush, after everything that arrived has been processed: so one ACK answers a batch
(RFC 9293 3.10.7.4, MUST-58, MUST-59), and rides on data or FIN where there is any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from utcp.tcp.receive import NOW
from utcp.tcp.state import SYN_RCVD, SYN_SENT
from utcp.tcp.timers import DELAYED_ACK, PERSIST, RETRANSMIT, USER_TIMEOUT
from utcp.tcp.transmit import Buffer, Outbox
from utcp.wire import ACK, FIN, HEADER_LENGTH, PSH, SYN, URG, Segment, encode
from utcp.wire.header import HEADER, HEADER_WITH_TIMESTAMPS
from utcp.wire.options import ALIGNED_TIMESTAMPS, TIMESTAMPS_LENGTH
from utcp.wire.seq import MASK

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection

_PLAIN_OFFSET: Final = HEADER_LENGTH << 10
_TIMESTAMPS_OFFSET: Final = (HEADER_LENGTH + TIMESTAMPS_LENGTH) << 10


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
        and recovery.rtx_next == recovery.rtx_end
        and not connection.probe_due
        and not connection.keepalive_due
        and not receive.holding
        and not receive.duplicate_acks_due
    ):
        # Only a FIN or an ACK can be due: most of a connection's life, and nearly all of its end.
        _bare_fin_or_ack(connection, now, outbox)
        _set_timers(connection, now)
        return
    burst = _Burst(connection, now, outbox)
    if receive.duplicate_acks_due:
        burst.duplicate_acks()
    if recovery.pending:
        burst.retransmissions()
    if connection.probe_due:
        burst.window_probe()
    if send.unsent and not recovery.pending and send.syn_acked:
        burst.new_data()
    if _fin_may_go(connection):
        burst.fin()
    if receive.ack_due == NOW or connection.keepalive_due:
        burst.pure_ack()
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
    seq = send.snd_nxt
    if _fin_may_go(connection):
        flags = ACK | FIN
        send.advance(0, True, False)
        connection.rtt.begin(send.snd_nxt, now)
        connection.last_sent = now
    elif receive.ack_due == NOW:
        flags = ACK
    else:
        return
    header = _pack(
        connection, seq, receive.rcv_nxt, flags, receive.offer_window(), connection.ts_now(now), receive.ts_recent
    )
    _put(connection, header, None, len(header), now, outbox, -1)


def _pack(
    connection: Connection, seq: int, ack: int, flags: int, window: int, ts_val: int, ts_ecr: int, urgent: int = 0
) -> bytes:
    """A header without options other than timestamps."""
    if connection.timestamps:
        return HEADER_WITH_TIMESTAMPS.pack(
            connection.local_port,
            connection.remote_port,
            seq,
            ack,
            _TIMESTAMPS_OFFSET | flags,
            window,
            0,
            urgent,
            ALIGNED_TIMESTAMPS,
            ts_val,
            ts_ecr,
        )
    return HEADER.pack(
        connection.local_port, connection.remote_port, seq, ack, _PLAIN_OFFSET | flags, window, 0, urgent
    )


def _put(
    connection: Connection, header: bytes, payload: Buffer | None, size: int, now: float, outbox: Outbox, after: int
) -> int:
    """Put a segment, which carries our ACK, into a train that is not before `after`; the train's index."""
    receive = connection.receive_side
    if receive.ack_due:
        receive.acknowledged()
        connection.timers.stop(DELAYED_ACK)
    stack = connection.stack
    stack.counters.out_segs += 1
    if stack.observer is not None:
        stack.observer.segment_sent(connection.remote, [header] if payload is None else [header, payload], now)
    return outbox.add(connection.remote, header, payload, size, after)


class _Burst:
    """One pass over one connection: what all its segments share, and the train that the last one went into."""

    __slots__ = ("_ack", "_connection", "_now", "_outbox", "_train", "_ts_ecr", "_ts_val", "_window")

    def __init__(self, connection: Connection, now: float, outbox: Outbox) -> None:
        self._connection = connection
        self._now = now
        self._outbox = outbox
        self._train = -1
        receive = connection.receive_side
        self._window = -1  # offered with the first segment only: an edge that nobody is told of must not move
        self._ack = receive.rcv_nxt
        self._ts_val = connection.ts_now(now)
        self._ts_ecr = receive.ts_recent

    def duplicate_acks(self) -> None:
        """One ACK for each segment that arrived out of order (RFC 5681 4.2)."""
        header = self._ack_with_sack()
        for _ in range(self._connection.receive_side.duplicate_acks_due):
            self._put(header, None, len(header))

    def _ack_with_sack(self) -> bytes:
        """An ACK that tells what is held out of order (RFC 2018 4). Data segments do not: there is no room."""
        connection = self._connection
        receive = connection.receive_side
        self._window = receive.offer_window()
        ts = connection.timestamps
        return encode(
            Segment(
                connection.local_port,
                connection.remote_port,
                connection.send_side.snd_nxt,
                self._ack,
                ACK,
                self._window,
                ts_val=self._ts_val if ts else None,
                ts_ecr=self._ts_ecr if ts else None,
                sack_blocks=receive.sack_blocks if connection.sack else (),
            )
        )

    def retransmissions(self) -> None:
        """The range that is taken to be lost, as far as the congestion window allows; the first segment always."""
        connection = self._connection
        send, recovery = connection.send_side, connection.recovery
        while recovery.pending:
            seq = recovery.rtx_next
            lost = (recovery.rtx_end - seq) & MASK
            offset = send.offset_of(seq)
            size = min(connection.mss, send.sent - offset, lost)
            fin = send.fin_sent and offset + size == send.queued and lost > size
            in_flight = recovery.in_flight
            if size and in_flight and not recovery.forced and in_flight + size > recovery.window:
                connection.congestion_limited = True
                break
            connection.rtt.cancel(self._now)
            connection.note_retransmission(seq, size + fin, self._now)
            self._segment(seq, offset, size, fin)
            recovery.resent(size + fin)

    def window_probe(self) -> None:
        """One octet into a closed window (RFC 9293 3.8.6.1), or what fits into one that is too small to be worth it."""
        connection = self._connection
        send = connection.send_side
        connection.probe_due = False
        if send.probe:  # unanswered so far: the same octet again
            offset = send.offset_of(send.snd_una)
            size = send.sent - offset
            connection.rtt.cancel(self._now)
            connection.note_retransmission(send.snd_una, 1, self._now)
            self._segment(send.snd_una, offset, size, not size)
        elif send.pending and not send.flight_size:
            size = min(send.unsent, max(send.usable_window, 1), connection.mss)
            probing = send.usable_window <= 0
            self._first(size, not size, probing)

    def new_data(self) -> None:
        """Data, with the FIN on its last segment, as far as the windows, silly-window avoidance and Nagle allow.

        RFC 9293 3.8.6.2.1 (MUST-38), 3.7.4.
        """
        connection = self._connection
        send, recovery, mss = connection.send_side, connection.recovery, connection.mss
        connection.congestion_limited = False
        if not send.flight_size and self._now - connection.last_sent > connection.rtt.rto:
            connection.congestion.on_idle()
        while send.unsent:
            flight_size = send.flight_size
            usable = send.snd_wnd - flight_size
            size = min(send.unsent, mss)
            if size > usable:
                if usable <= 0 or usable < send.max_snd_wnd // 2:
                    return
                size = usable
            elif size < mss and flight_size and not connection.nodelay and not send.fin_queued:
                return
            in_flight = recovery.in_flight
            if in_flight and in_flight + size > recovery.window:
                connection.congestion_limited = True
                return
            self._first(size, send.fin_queued and size == send.unsent and size < usable)

    def fin(self) -> None:
        """FIN by itself: behind all data, but waiting for no congestion window."""
        self._first(0, True)

    def pure_ack(self) -> None:
        """An ACK by itself; as a keepalive probe it repeats an octet that the peer has (RFC 9293 3.8.4)."""
        connection = self._connection
        seq = connection.send_side.snd_nxt
        if connection.keepalive_due:
            connection.keepalive_due = False
            self._header((seq - 1) & MASK, ACK, None, 0)
        elif connection.receive_side.holding:
            header = self._ack_with_sack()
            self._put(header, None, len(header))
        else:
            self._header(seq, ACK, None, 0)

    def _first(self, size: int, fin: bool, probe: bool = False) -> None:
        """`size` octets, and the FIN if `fin`, for the first time; as a window probe if `probe`."""
        connection = self._connection
        send = connection.send_side
        seq, offset = send.snd_nxt, send.sent
        send.advance(size, fin, probe)
        connection.rtt.begin(send.snd_nxt, self._now)
        connection.last_sent = self._now
        self._segment(seq, offset, size, fin)

    def _segment(self, seq: int, offset: int, size: int, fin: bool) -> None:
        send = self._connection.send_side
        flags = ACK | FIN if fin else ACK
        if not size:
            self._header(seq, flags, None, 0)
            return
        if offset + size == send.queued:  # MUST-61: nothing more is queued
            flags |= PSH
        urgent = 0
        if offset < send.snd_up:  # MUST-62: the pointer stands behind the last urgent octet
            flags |= URG
            urgent = min(send.snd_up - offset, 65535)
        self._header(seq, flags, send.payload(offset, size), size, urgent)

    def _header(self, seq: int, flags: int, payload: Buffer | None, size: int, urgent: int = 0) -> None:
        connection = self._connection
        if self._window < 0:
            self._window = connection.receive_side.offer_window()
        header = _pack(connection, seq, self._ack, flags, self._window, self._ts_val, self._ts_ecr, urgent)
        self._put(header, payload, len(header) + size)

    def _put(self, header: bytes, payload: Buffer | None, size: int) -> None:
        self._train = _put(self._connection, header, payload, size, self._now, self._outbox, self._train)


def _send_syn(connection: Connection, now: float) -> None:
    """SYN or SYN-ACK, the first time, after a timeout, or because the peer sent its SYN again."""
    send, receive, recovery = connection.send_side, connection.receive_side, connection.recovery
    again = send.snd_nxt != send.iss
    lost = recovery.pending and recovery.rtx_next == send.iss
    if again and not lost and not connection.syn_again:
        return
    connection.syn_again = False
    if lost:
        recovery.resent(1)
    if again:
        connection.rtt.cancel(now)
        if lost or connection.passive:  # else it answers a SYN that crossed ours: nothing says that ours was lost
            connection.note_retransmission(send.iss, 1, now)
    else:
        send.advance_over_syn()
        connection.rtt.begin(send.snd_nxt, now)
        connection.last_sent = now
    opening = connection.state == SYN_SENT
    scaling = connection.config.window_scaling if opening else connection.window_scaling
    timestamps = connection.config.timestamps if opening else connection.timestamps
    segment = Segment(
        connection.local_port,
        connection.remote_port,
        send.iss,
        0 if opening else receive.rcv_nxt,
        SYN if opening else SYN | ACK,
        receive.offer_unscaled_window(),
        mss=connection.receive_mss,
        window_scale=receive.scale_for_buffer() if scaling else None,
        sack_permitted=connection.config.sack if opening else connection.sack,
        ts_val=connection.ts_now(now) if timestamps else None,
        ts_ecr=receive.ts_recent if timestamps else None,
    )
    receive.acknowledged()
    connection.stack.put(connection.remote, segment, now)


def _set_timers(connection: Connection, now: float) -> None:
    send, timers = connection.send_side, connection.timers
    if send.snd_nxt != send.snd_una and not send.probe:
        if not timers.is_set(RETRANSMIT):
            timers.set(RETRANSMIT, now + connection.rtt.rto)
        timers.stop(PERSIST)
    elif (send.pending or send.probe) and not timers.is_set(PERSIST):
        timers.set(PERSIST, now + connection.rtt.after(connection.probes))
    if (
        connection.user_timeout is not None
        and not timers.is_set(USER_TIMEOUT)
        and (send.snd_nxt != send.snd_una or send.pending)
    ):
        timers.set(USER_TIMEOUT, now + connection.user_timeout)
