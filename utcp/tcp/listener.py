"""A port that accepts connections (passive OPEN, RFC 9293 3.10.1), and SEGMENT ARRIVES in LISTEN (3.10.7.2)."""

from __future__ import annotations

from collections import deque
from typing import Final

from utcp.tcp.connection import Connection
from utcp.tcp.connection.arrival import segment_arrives
from utcp.tcp.connection.context import Accepting, Context
from utcp.tcp.connection.reset import refuse
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.receive import ReceiveSide
from utcp.tcp.syn_cookies import LIFETIME, read_stamp, stamp
from utcp.tcp.time_wait import ConnectionKey, TimeWait
from utcp.tcp.transmit import Remote
from utcp.wire import ACK, CWR, ECE, RST, SYN, Segment
from utcp.wire.segment import encode_syn
from utcp.wire.seq import MASK, gt

_ISN_STEP_OVER_OLD: Final = 65535 + 2
"""Distance of the new ISN from the old SND.NXT, if the generated ISN is not above the old SND.NXT."""


class Listener(Accepting[Tcb]):
    """The LISTEN state of one local port: half-open connections, and established connections that wait for `accept`.

    While `backlog` connections wait to be accepted, a SYN gets no answer, and its sender repeats it. While
    `syn_backlog` handshakes are under way, or as many as memory allows, a SYN is answered with a cookie and leaves no
    state (RFC 4987; `Config.syn_cookies`). Because handshakes under way may still complete, up to
    `backlog + syn_backlog` connections may wait to be accepted.
    """

    __slots__ = (
        "_stack",
        "_window",
        "_window_scale",
        "backlog",
        "context",
        "half_open",
        "local_port",
        "queue",
        "stopped",
        "syn_backlog",
    )

    def __init__(self, stack: Context[Tcb], local_port: int, backlog: int, syn_backlog: int, context: object) -> None:
        self._stack: Context[Tcb] | None = stack
        self.local_port = local_port
        self.backlog = backlog
        self.syn_backlog = syn_backlog
        self.context = context
        self.half_open: dict[Tcb, None] = {}  # a dict keeps the order, so that the same calls produce the same bytes
        self.queue: deque[Connection] = deque()
        self.stopped = False
        """True after `stop()`. The listener accepts no further SYN."""
        typical = ReceiveSide(stack.config, stack.counters)
        self._window = min(typical.limit, 65535)
        self._window_scale = typical.shift

    @property
    def full(self) -> bool:
        """True if a SYN opens no connection now."""
        return (
            len(self.queue) >= self.backlog
            or len(self.half_open) >= self.syn_backlog
            or (self._stack is not None and self._stack.accounts.floods)
        )

    @property
    def closed(self) -> bool:
        return self._stack is None

    def accept(self) -> Connection | None:
        """Return the connection that has waited longest, and hand it to the caller; None if no connection waits."""
        if not self.queue:
            return None
        connection = self.queue[0]
        connection.accept()
        del self.queue[0]  # no call: after one, a signal handler could raise an exception, and lose the connection
        return connection

    def stop(self) -> None:
        """Stop listening. From now on a SYN, or the ACK of a cookie, is answered with RST. Handshakes under way
        continue, and `accept` returns their connections until `close`. A second call does nothing."""
        if self._stack is not None and not self.stopped:
            self.stopped = True
            self._stack.forget_listener(self.local_port)

    def close(self, now: float) -> None:
        """Stop listening and reset all connections that were not accepted. Half-open connections are reset as well,
        because their peers may be ESTABLISHED. Accepted connections do not change. A second call does nothing."""
        stack = self._stack
        if stack is None:
            return
        self.stop()
        self._stack = None
        for half_open in list(self.half_open):
            try:
                refuse(half_open, now)
                stack.settle(half_open, now)
            except BaseException as cause:
                if not stack.contain(half_open, cause, now):
                    raise
        for connection in list(self.queue):
            try:
                connection.accept()
                connection.abort(now)
            except BaseException as cause:
                if not stack.contain(connection, cause, now):
                    raise
        self.queue.clear()

    # ------------------------------------------------------------------ for the stack

    def completed(self, tcb: Tcb) -> None:
        if isinstance(tcb, Connection):
            self.queue.append(tcb)
        self.half_open.pop(tcb, None)

    def has_waiting(self, tcb: Tcb) -> bool:
        return tcb in self.queue

    def dropped(self, tcb: Tcb) -> None:
        self.half_open.pop(tcb, None)

    # ------------------------------------------------------------------ what arrives

    def segment_arrives(self, stack: Context[Tcb], segment: Segment, key: ConnectionKey, now: float) -> None:
        """Process a segment in LISTEN (SEGMENT ARRIVES, RFC 9293 3.10.7.2)."""
        flags = segment.flags
        if flags & RST:
            return
        if flags & ACK:
            if flags & SYN or not self._completes(stack, segment, key, now):
                stack.reset_in_reply(key[0], segment, now)
        elif flags & SYN and segment.src_port:
            counters = stack.counters
            if len(self.queue) >= self.backlog:
                self._overflow(stack, key[0], now)
                return
            if stack.refuses(key[0], now):
                counters.listen_drops += 1
                return
            cookies = stack.config.syn_cookies
            overflow = len(self.half_open) >= self.syn_backlog or stack.accounts.floods
            if cookies == "always" or (overflow and cookies == "overflow"):
                if overflow:
                    counters.tcp_req_q_full_do_cookies += 1
                    if stack.observer is not None:
                        stack.observer.syn_flooded(self.local_port, key[0], True, now)
                self._answer_with_cookie(stack, segment, key, now)
            elif overflow:
                counters.listen_drops += 1
                if stack.observer is not None:
                    stack.observer.syn_flooded(self.local_port, key[0], False, now)
            else:
                self.open(stack, segment, key, now)

    def open(
        self, stack: Context[Tcb], syn: Segment, key: ConnectionKey, now: float, displaced: TimeWait | None = None
    ) -> None:
        """Open a connection for `syn`. `displaced` is the TIME_WAIT record of the previous incarnation, if there is
        one; the new ISN is above its sequence numbers."""
        iss, ts_offset = stack.sequence_numbers.initial(*key, now)
        if displaced is not None and not gt(iss, displaced.snd_nxt):
            iss = (displaced.snd_nxt + _ISN_STEP_OVER_OLD) & MASK
        receive_mss = stack.unverified_receive_mss(key[0], now)
        connection = Connection(
            stack, key, stack.config, iss, ts_offset, now, None, receive_mss, passive=True, displaced=displaced
        )
        try:
            stack.half_opened(connection, self)
            self.half_open[connection] = None
            connection.open_passively(syn, now)
        except BaseException as cause:
            if not stack.contain(connection, cause, now):
                raise

    def _overflow(self, stack: Context[Tcb], remote: Remote, now: float) -> None:
        """Count and report a dropped handshake, because `backlog` connections wait to be accepted."""
        stack.counters.listen_overflows += 1
        stack.counters.listen_drops += 1
        if stack.observer is not None:
            stack.observer.listen_overflowed(self.local_port, remote, now)

    def _answer_with_cookie(self, stack: Context[Tcb], syn: Segment, key: ConnectionKey, now: float) -> None:
        """Send a SYN-ACK whose ISN and timestamp encode the parameters of `syn`. It has only options that `syn` has."""
        config = stack.config
        mss = stack.default_mss if syn.mss is None else syn.mss
        iss = stack.cookies.make(key, syn.seq, mss, now)
        stack.counters.syncookies_sent += 1
        remote, remote_port, local_port = key
        flags, sack, ts_val = SYN | ACK, False, None
        scale: int | None = None
        if syn.ts_val is not None and config.timestamps:  # the timestamp encodes the other options
            sack = config.sack and syn.sack_permitted
            scale = syn.window_scale if config.window_scaling else None
            ecn = config.ecn != "off" and syn.flags & (ECE | CWR) == ECE | CWR
            if ecn:
                flags |= ECE
            ts_now = (int(now * 1000) + stack.sequence_numbers.initial(remote, remote_port, local_port, now)[1]) & MASK
            ts_val = stamp(ts_now, scale, sack, ecn)
        data = encode_syn(
            local_port,
            remote_port,
            iss,
            (syn.seq + 1) & MASK,
            flags,
            self._window,
            None if syn.mss is None else stack.unverified_receive_mss(remote, now),
            None if scale is None else self._window_scale,
            sack,
            ts_val,
            syn.ts_val,
        )
        stack.put_octets(remote, data, now, unverified=True)

    def _completes(self, stack: Context[Tcb], segment: Segment, key: ConnectionKey, now: float) -> bool:
        """Process an ACK that may complete the handshake of a cookie. Return False if it must be answered with RST.

        Because the client already considers the connection established, its ACK is accepted beyond `backlog`, up to
        `backlog + syn_backlog`, like the ACK of a handshake with state. Beyond that, a segment with text is dropped,
        because its sender retransmits it. A pure ACK is answered with RST, because it is not retransmitted, and the
        client of a server that sends first would wait forever.
        """
        cookies = stack.cookies
        if not cookies.outstanding(now):
            return False
        counters = stack.counters
        irs, iss = (segment.seq - 1) & MASK, (segment.ack - 1) & MASK
        mss = cookies.mss_of(key, irs, iss, now)
        syn = None if mss is None else self._remembered_syn(stack, segment, key, mss, now)
        if syn is None:
            counters.syncookies_failed += 1
            # A marked segment may follow a missing one: it has text, or acknowledges a duplicate SYN-ACK. It gets no
            # RST, because the client retransmits the missing segment.
            return cookies.is_marked(key, iss, now)
        if len(self.queue) + len(self.half_open) >= self.backlog + self.syn_backlog:
            self._overflow(stack, key[0], now)
            return bool(segment.payload)
        if stack.refuses(key[0], now):
            counters.listen_drops += 1
            return bool(segment.payload)
        counters.syncookies_recv += 1
        ts_offset = stack.sequence_numbers.initial(*key, now)[1]
        receive_mss = stack.receive_mss(key[0], stack.config)
        connection = Connection(stack, key, stack.config, iss, ts_offset, now, None, receive_mss, passive=True)
        try:
            stack.half_opened(connection, self)
            self.half_open[connection] = None
            connection.open_from_cookie(syn, now)
            segment_arrives(connection, segment, now)
            stack.settle(connection, now)
        except BaseException as cause:
            if not stack.contain(connection, cause, now):
                raise
        return True

    def _remembered_syn(
        self, stack: Context[Tcb], segment: Segment, key: ConnectionKey, mss: int, now: float
    ) -> Segment | None:
        """Return the SYN of a cookie, reconstructed from the cookie and the echoed timestamp; None if the echoed
        timestamp is older than the cookie's lifetime. It has no window, which the ACK carries."""
        seq, config = (segment.seq - 1) & MASK, stack.config
        if not config.timestamps or segment.ts_val is None or segment.ts_ecr is None:
            return Segment(segment.src_port, segment.dst_port, seq, 0, SYN, mss=mss)
        ts_now = int(now * 1000) + stack.sequence_numbers.initial(*key, now)[1]
        if (ts_now - segment.ts_ecr) & MASK > (LIFETIME + 1) * 1000:
            return None
        scale, sack, ecn = read_stamp(segment.ts_ecr)
        return Segment(
            segment.src_port,
            segment.dst_port,
            seq,
            0,
            SYN | ECE | CWR if ecn else SYN,
            ts_val=segment.ts_val,
            mss=mss,
            window_scale=scale if config.window_scaling else None,
            sack_permitted=sack,
        )
