"""The output of one connection in one flush: retransmissions, probes, data, FIN and ACK. Segments that differ only in
their sequence numbers leave as trains.
"""

from __future__ import annotations

from math import inf
from typing import Final

from utcp.tcp.connection.header import pack
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.recovery.recovery import OPEN
from utcp.tcp.recovery.scoreboard import Departure
from utcp.tcp.transmit import Buffer, Outbox
from utcp.wire import ACK, CWR, FIN, HEADER_LENGTH, PSH, URG, Segment, encode
from utcp.wire.options import TIMESTAMPS_LENGTH
from utcp.wire.segment import ECN_CAPABLE, NOT_ECT
from utcp.wire.seq import MASK
from utcp.wire.train import write_train

_VIEW_FROM: Final = 4096
"""Text of a segment from which gathering segments in the kernel is cheaper than a copy into one buffer, octets."""


def begin_flight(tcb: Tcb, now: float) -> None:
    """Prepare pacing and congestion control for data that leaves while nothing is in flight."""
    if tcb.pacer.rate != inf:
        tcb.pacer.refill(tcb.congestion.initial_window, now)
    idle = now - tcb.last_sent
    if idle > tcb.rtt.rto:
        tcb.congestion.on_idle(idle, tcb.rtt.rto)


class Burst:
    """The output of one connection in one flush."""

    __slots__ = ("_now", "_outbox", "_tcb", "_train", "departure", "held_back", "paced")

    def __init__(self, tcb: Tcb, now: float, outbox: Outbox) -> None:
        self._tcb = tcb
        self._now = now
        self._outbox = outbox
        self._train = 0
        self.departure: Departure | None = None
        self.held_back = False
        """True if the congestion window held back a segment."""
        self.paced = False
        """True if the pacing rate held back a segment."""

    def duplicate_acks(self) -> None:
        """Send the ACKs due for out-of-order segments (RFC 5681 4.2). The first carries the DSACK (RFC 2883)."""
        for number in range(self._tcb.receive_side.out_of_order.acks_due):
            self._ack_with_sack(number)

    def _ack_with_sack(self, number: int = 0) -> None:
        """Send ACK `number` of those that leave now, with SACK blocks (RFC 2018 4). Data segments have no room for
        them."""
        tcb = self._tcb
        send, receive, ts = tcb.send_side, tcb.receive_side, tcb.timestamps
        blocks = receive.out_of_order.sack_blocks(number, receive.irs + 1) if tcb.sack else ()
        header = encode(
            Segment(
                tcb.local_port,
                tcb.remote_port,
                send.acceptable_seq,
                receive.rcv_nxt,
                ACK | tcb.ecn.echo,
                receive.acknowledge(),
                ts_val=tcb.ts_now(self._now) if ts else None,
                ts_ecr=receive.ts_recent if ts else None,
                sack_blocks=blocks,
            )
        )
        send.note_empty()
        self._train = self._outbox.add(tcb.remote, header, None, len(header), self._now, self._train)

    def retransmissions(self) -> None:
        """Retransmit lost data, the earliest first, as far as the congestion window and the pacing rate allow."""
        tcb = self._tcb
        recovery = tcb.recovery
        while (run := recovery.board.next_lost()) is not None:
            size = min(tcb.mss, run.end - run.start)
            in_flight = recovery.in_flight
            if not recovery.forced and in_flight and in_flight + size > recovery.window:
                self.held_back = True
                return
            if not recovery.forced and not self._pacing_allows():
                return
            if run.start == recovery.board.una:
                recovery.restart_retransmission(self._now)
            self._again(run.start, run.end - run.start)

    def _again(self, start: int, size: int) -> None:
        """Retransmit up to a segment of the `size` octets at position `start`. A FIN fits into it in any case."""
        tcb = self._tcb
        send = tcb.send_side
        offset = start - 1  # position 0 is the SYN
        payload = min(tcb.mss, size, send.sent - offset)
        fin = send.fin_sent and payload < size and offset + payload == send.sent
        size = payload + fin
        seq = (send.iss + start) & MASK
        tcb.note_retransmission(seq, size, self._now)
        send.note_resent(payload)
        tcb.recovery.resent(start, size, self._depart())
        tcb.pacer.sent(size)
        receive = tcb.receive_side
        ack_owed = receive.ack_due
        self._segment(seq, offset, payload, fin)
        if ack_owed and start - tcb.recovery.board.una >= max(send.snd_wnd, 1):
            receive.owe_ack()  # the peer's window has shrunk, so that the peer drops this segment with its ACK

    def tail_loss_probe(self) -> None:
        """Send a tail loss probe regardless of the congestion window: new data, or else the last segment again (RFC
        8985 7.3)."""
        tcb = self._tcb
        send, recovery = tcb.send_side, tcb.recovery
        board = recovery.board
        if not recovery.probe_is_useful:
            return  # segments of the same batch have made the probe useless
        tcb.stack.counters.loss_probes += 1
        size = min(send.unsent, tcb.mss, max(send.usable_window, 0))
        resent = not size
        if size:
            self._first(size, send.fin_queued and size == send.unsent and size < send.usable_window)
        else:
            size = min(tcb.mss + send.fin_sent, board.nxt - board.una)
            start = board.tail(size)
            self._again(start, board.nxt - start)
        recovery.probe_sent(resent)
        recovery.restart_retransmission(self._now)

    def window_probe(self) -> None:
        """Send a zero-window probe of one octet (RFC 9293 3.8.6.1), or as much as fits into a window that silly-window
        avoidance considers too small."""
        tcb = self._tcb
        send = tcb.send_side
        if send.probe:  # the last probe is unanswered: send the same octet again
            board = tcb.recovery.board
            board.forget_sacks()  # a SACK of the octet is ignored, because it is outside the window
            self._again(board.una, board.nxt - board.una)
        elif send.pending and not send.flight_size:
            size = min(send.unsent, max(send.usable_window, 1), tcb.mss)
            probing = send.usable_window <= 0
            self._first(size, not size, probing)

    def new_data(self) -> None:
        """Send new data, with the FIN on its last segment, as far as the windows, silly-window avoidance (RFC 9293
        3.8.6.2.1, MUST-38) and Nagle's algorithm (3.7.4) allow."""
        tcb = self._tcb
        send, recovery, pacer, mss, now = tcb.send_side, tcb.recovery, tcb.pacer, tcb.mss, self._now
        if send.snd_nxt == send.snd_una:
            begin_flight(tcb, now)
        if tcb.mtu_search is not None:
            # Data must follow the probe, so that its loss is detected (RFC 8899 5.2, RFC 4821 7.4).
            probe = tcb.mtu_search.due(min(send.unsent, send.usable_window) - 3 * mss, now)
            if probe and self._mtu_probe_fits(probe):
                recovery.mtu_probe_leaves(probe)
                self._first(probe, False)
        while (unsent := send.queued - send.sent) > 0:
            if unsent > 2 * mss and self._trains_of_new_data():
                continue
            flight_size = (send.snd_nxt - send.snd_una) & MASK
            usable = send.snd_wnd - flight_size
            size = min(unsent, mss)
            if size > usable:
                if usable <= 0 or usable < send.max_snd_wnd // 2:
                    return
                size = usable
            elif (
                size < mss
                and flight_size
                and (
                    (not tcb.nodelay and not send.fin_queued)
                    or recovery.board.run_count >= tcb.stack.accounts.allowance.small_segments
                )
            ):
                return  # Nagle's algorithm waits for the ACK of the data in flight
            if recovery.board.in_flight and (in_flight := recovery.in_flight) and in_flight + size > recovery.window:
                self.held_back = True
                return
            if pacer.rate != inf and not self._pacing_allows():
                return
            self._first(size, send.fin_queued and size == unsent and size < usable)

    def _trains_of_new_data(self) -> bool:
        """Send as many full-sized segments as may leave now, if they are followed by more data and differ only in their
        sequence numbers. Segments below _VIEW_FROM must be in one piece of the queue. Return False if nothing was sent,
        because there are fewer than two such segments."""
        tcb = self._tcb
        send, recovery, mss = tcb.send_side, tcb.recovery, tcb.mss
        offset = send.sent
        if offset < send.snd_up or (recovery.reduced and tcb.ecn.agreed):
            return False
        length = mss + (HEADER_LENGTH + TIMESTAMPS_LENGTH if tcb.timestamps else HEADER_LENGTH)
        octets = min(send.unsent - 1, send.snd_wnd - send.flight_size)
        octets = min(octets, recovery.room)
        if mss < _VIEW_FROM:
            octets = min(octets, send.in_one_piece(offset))
            octets = min(octets, MASK - send.snd_nxt)  # sequence numbers must not wrap within a train
        count = octets // mss
        if count > 1:
            count = min(count, tcb.pacer.segments(mss, self._now))
        if count < 2:
            return False
        octets = count * mss
        seq = send.snd_nxt
        tcb.sent(octets, False, False, count, self.departure or self._depart(), self._now)
        if mss < _VIEW_FROM:
            self._copied(seq, offset, count, length)
        else:
            self._viewed(seq, offset, count, length)
        return True

    def _copied(self, seq: int, offset: int, count: int, length: int) -> None:
        """Send `count` full-sized segments from `seq` and stream `offset` on as copies, each `length` octets with its
        header."""
        tcb, outbox, now = self._tcb, self._outbox, self._now
        remote, mss = tcb.remote, tcb.mss
        ecn = ECN_CAPABLE if tcb.ecn.agreed else NOT_ECT
        header = pack(tcb, seq, ACK, now)
        piece, begin = tcb.send_side.piece(offset)
        while count:
            number = min(count, outbox.room(remote, length, self._train, ecn))
            train = write_train(header, seq, piece, begin, mss, number)
            self._train = outbox.add_train(remote, [train], number, length, now, self._train, ecn)
            count -= number
            seq += number * mss
            begin += number * mss

    def _viewed(self, seq: int, offset: int, count: int, length: int) -> None:
        """Send `count` large full-sized segments from `seq` and stream `offset` on as views, without a copy."""
        tcb, outbox = self._tcb, self._outbox
        remote, mss, send, now = tcb.remote, tcb.mss, tcb.send_side, self._now
        ecn = ECN_CAPABLE if tcb.ecn.agreed else NOT_ECT
        for _ in range(count):
            buffers: list[Buffer] = [pack(tcb, seq, ACK, now), *send.pieces(offset, mss)]
            self._train = outbox.add_train(remote, buffers, 1, length, now, self._train, ecn)
            seq = (seq + mss) & MASK
            offset += mss

    def _mtu_probe_fits(self, size: int) -> bool:
        """Return True if a path MTU probe fits into the window, and no loss is suspected or under repair."""
        recovery = self._tcb.recovery
        return (
            recovery.phase == OPEN
            and not recovery.mtu_probe_under_way
            and (not recovery.in_flight or recovery.in_flight + size <= recovery.window)
        )

    def _pacing_allows(self) -> bool:
        """Return True if the pacing rate lets a segment leave now. If not, set the pacing timer."""
        tcb = self._tcb
        pacer = tcb.pacer
        if pacer.may_send(tcb.mss, self._now):
            return True
        self.paced = True
        pacer.wait(tcb.mss)
        return False

    def _depart(self) -> Departure:
        """Return the departure that all segments of this flush share. The first segment creates it."""
        departure = self.departure
        if departure is None:
            self.departure = departure = self._tcb.recovery.depart(self._now)
        return departure

    def fin(self) -> None:
        """Send a FIN without data, regardless of the congestion window."""
        self._first(0, True)

    def pure_ack(self) -> None:
        """Send an ACK without data."""
        tcb = self._tcb
        if tcb.receive_side.out_of_order.sack_due:
            self._ack_with_sack()
        else:
            self._segment(tcb.send_side.acceptable_seq, 0, 0, False)
            tcb.send_side.note_empty()

    def keepalive_probe(self) -> None:
        """Send a keepalive probe (RFC 9293 3.8.4): an ACK with an old SEQ, which the peer must answer. Send none if a
        segment of the peer has arrived since the timer expired, or if data is in flight, which the peer will
        acknowledge."""
        tcb = self._tcb
        if tcb.keepalive.unanswered and not tcb.send_side.flight_size:
            tcb.stack.counters.keepalives += 1
            self._segment((tcb.send_side.snd_nxt - 1) & MASK, 0, 0, False)
            tcb.send_side.note_empty()

    def _first(self, size: int, fin: bool, probe: bool = False) -> None:
        """Send `size` octets, and the FIN if `fin`, for the first time. `probe`: they are a zero-window probe."""
        tcb = self._tcb
        send = tcb.send_side
        seq, offset = send.snd_nxt, send.sent
        departure = self.departure
        if departure is None:
            self.departure = departure = tcb.recovery.depart(self._now)
        tcb.sent(size, fin, probe, 1, departure, self._now)
        flags, ecn = ACK, NOT_ECT
        if tcb.ecn.agreed and size and not probe:  # RFC 3168 6.1.1-6.1.6: new data only, and no window probe
            ecn = ECN_CAPABLE
            if tcb.recovery.take_reduced():
                flags |= CWR
        self._segment(seq, offset, size, fin, flags, ecn)

    def _segment(self, seq: int, offset: int, size: int, fin: bool, flags: int = ACK, ecn: int = NOT_ECT) -> None:
        send = self._tcb.send_side
        payload: Buffer | None = None
        urgent = 0
        if fin:
            flags |= FIN
        if size:
            payload = send.payload(offset, size)
            if offset + size == send.queued:  # MUST-61: no more data is queued
                flags |= PSH
            if offset < send.snd_up:  # MUST-62: the pointer is the position after the last urgent octet
                flags |= URG
                urgent = min(send.snd_up - offset, 65535)
        tcb = self._tcb
        header, now = pack(tcb, seq, flags, self._now, urgent), self._now
        self._train = self._outbox.add(tcb.remote, header, payload, len(header) + size, now, self._train, ecn)
