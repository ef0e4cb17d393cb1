"""A connection as its user has it: the calls of RFC 9293 3.10.1-3.10.6."""

from __future__ import annotations

from math import inf

from utcp.errors import InvalidState
from utcp.tcp import state
from utcp.tcp.allowance import MINIMUM
from utcp.tcp.connection.info import ConnectionInfo, info_of
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.connection.timeouts import delivery_time
from utcp.tcp.receive import NOW
from utcp.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RCVD,
    SYN_SENT,
    TIME_WAIT,
)
from utcp.tcp.transmit import Buffer


class Connection(Tcb):
    """One connection, from the user's side: made by `Stack.connect` and `Listener.accept`.

    `now` is the stack's time in seconds. Events are told as bits of `utcp.tcp.event` (`take_events`).
    """

    __slots__ = ()

    # ------------------------------------------------------------------ the stream

    def send(self, data: Buffer, *, force: bool = False, urgent: bool = False) -> int:
        """SEND (RFC 9293 3.10.2): queue `data`, and return how many octets were accepted.

        At most `send_space`, unless `force`. When that is less than `data`, the event WRITABLE follows. `data` is kept,
        not copied: it must not change. `urgent`: the peer is told that the stream is urgent up to the end of what was
        accepted (RFC 9293 3.8.5; new applications should not use it, SHLD-13).

        Raises InvalidState after `shutdown`, `close` or the end, and nothing is queued.
        """
        send = self.send_side
        if send.fin_queued or self.closed_by_user:
            raise InvalidState("cannot send after shutdown() or close()")
        if self.ended or self.state == CLOSED:
            raise InvalidState("cannot send: the connection has ended")
        self.stack.output[self] = None  # first: when one of the two fails, nothing is queued
        accepted = send.append(data, force)
        try:
            if urgent:
                send.mark_urgent()
            # Many may write before the next flush. Up to MINIMUM octets of each need not be charged until then.
            if send.queued // MINIMUM > (send.queued - accepted) // MINIMUM:
                self.stack.accounts.note(self)
        except BaseException as cause:  # the caller does not know that the octets are queued
            self.stack.break_off(self, cause, max(self.last_sent, self.last_heard))
            raise
        return accepted

    @property
    def send_space(self) -> int:
        """Octets that `send` accepts now."""
        return self.send_side.space

    def read(self, limit: int = -1) -> bytes:
        """RECEIVE (RFC 9293 3.10.3): up to `limit` octets of the stream, all that is there if negative; `b""` when
        nothing is. The window opens accordingly."""
        receive = self.receive_side
        data = receive.read(limit)
        try:
            if self.state == CLOSED or self.state == TIME_WAIT:  # no flush looks at it
                self.stack.accounts.note(self)
            elif receive.ack_due == NOW:
                self.stack.output[self] = None
            elif self not in self.stack.output:
                self.stack.accounts.note(self)
        except BaseException as cause:  # the octets are lost
            self.stack.break_off(self, cause, max(self.last_sent, self.last_heard))
            raise
        return data

    @property
    def readable(self) -> int:
        """Octets that `read` has."""
        return self.receive_side.readable

    @property
    def urgent_ahead(self) -> int:
        """Octets from the next one that `read` gives to the end of the peer's urgent data; 0: none is ahead."""
        return self.receive_side.urgent_ahead

    @property
    def at_eof(self) -> bool:
        """The peer has finished and all it sent has been read."""
        return self.receive_side.fin_reached and not self.receive_side.readable

    # ------------------------------------------------------------------ ends

    def shutdown(self, now: float) -> None:
        """Half-close: FIN goes out behind what is queued, reading goes on. A second call does nothing.

        Raises InvalidState when the connection has ended.
        """
        if self.send_side.fin_queued:
            return
        if self.ended or self.state == CLOSED:
            raise InvalidState("cannot shut down: the connection has ended")
        try:
            self.send_side.queue_fin()
            if self.state != SYN_SENT:  # there the FIN waits for the handshake, and so does the state
                self.on(state.CLOSE, now)
            self.touch()
        except BaseException as cause:
            self.stack.break_off(self, cause, now)
            raise

    def close(self, now: float) -> None:
        """CLOSE (RFC 9293 3.10.4), of both directions. The event ENDED follows once the peer has acknowledged our data
        and FIN, or with the error that prevented it. A second call does nothing.

        Unread data, and data that arrives later, is answered with RST (SHLD-3); `error` is then set if something of
        ours was not acknowledged. In SYN_SENT the connection is deleted (RFC 9293 3.10.4).
        """
        if self.closed_by_user:
            return
        self.closed_by_user = True
        if self.ended:
            self.discard_unread()
            return
        try:
            self._close(now)
            self.stack.settle(self, now)
        except BaseException as cause:
            self.stack.break_off(self, cause, now)
            raise

    def _close(self, now: float) -> None:
        if self.state == CLOSED or self.state == TIME_WAIT:  # both directions were over, but for this call
            self.end(self.error, now, delivered=self.send_side.fin_acked)
        elif self.state == SYN_SENT:
            self.fail(None, now)
        elif self.linger == 0:
            self.stack.counters.aborts_on_data += 1
            self.send_reset(None, now)
        elif self.receive_side.readable:
            self.stack.counters.aborts_on_close += 1
            self.send_reset(self.undelivered("closed with unread received data"), now, with_ack=True)
        else:
            self.shutdown(now)
            if not self.send_side.fin_acked:
                self.linger_at = now + delivery_time(self)
                self.touch()  # the flush schedules it
            if self.state == FIN_WAIT_2:
                self.wait_for_fin(now)
            self.stack.accounts.adopt_orphan(self)
            self.end_if_delivered(now)

    def abort(self, now: float) -> None:
        """ABORT (RFC 9293 3.10.5): RST to the peer, everything queued is dropped, ENDED without error. In CLOSING and
        LAST_ACK no RST is sent, unless the FIN waits for data or for the peer's window: the RFC enters these states
        only when it leaves (and Linux resets there as well)."""
        self.closed_by_user = True
        try:
            if self.state in (SYN_RCVD, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT) or (
                self.state in (CLOSING, LAST_ACK) and self.send_side.pending
            ):
                self.stack.counters.aborts_on_data += 1
                self.send_reset(None, now)
            elif self.state in (SYN_SENT, CLOSING, LAST_ACK):
                self.fail(None, now)
            else:
                self.end(None, now, delivered=self.send_side.fin_acked)
            self.stack.settle(self, now)
        except BaseException as cause:
            self.stack.break_off(self, cause, now)
            raise

    # ------------------------------------------------------------------ options

    def set_keepalive(self, enabled: bool, now: float) -> None:
        """Probe the peer when the connection is idle (RFC 9293 3.8.4), or do not.

        Where there is nothing to keep alive any more, in CLOSED and TIME_WAIT, it does nothing.
        """
        if self.state == CLOSED or self.state == TIME_WAIT:
            return
        if enabled:
            self.keepalive.start(now)
            self.stack.settle(self, now)
        else:
            self.keepalive.stop()

    def set_user_timeout(self, seconds: float | None) -> None:
        """R2 of this connection (RFC 9293 3.8.3, MUST-21) as a time, counted from now; None: `Config.retries` again."""
        self.user_timeout = seconds
        self.user_timeout_at = inf
        self.touch()

    def set_linger(self, seconds: float | None) -> None:
        """How long delivery may take after the close (SO_LINGER); 0: `close` resets the connection; None:
        `Config.orphan_timeout` decides."""
        self.linger = seconds

    def set_nodelay(self, nodelay: bool) -> None:
        """Turn Nagle's algorithm off, or on again (RFC 9293 3.7.4)."""
        self.nodelay = nodelay
        self.touch()  # what Nagle's algorithm holds back may leave now

    # ------------------------------------------------------------------ looking

    def take_events(self) -> int:
        """What happened since the last call, as bits of `utcp.tcp.event`."""
        events = self._events
        self._events = 0
        return events

    def info(self, now: float | None = None) -> ConnectionInfo:
        """The connection's variables (RFC 9293 3.10.6, STATUS), the last ones once it has ended. Times are counted up
        to `now`; None: up to when it last sent something new or heard of its peer."""
        return info_of(self, max(self.last_sent, self.last_heard) if now is None else now)
