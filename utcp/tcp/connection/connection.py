"""The user interface of a connection: the calls of RFC 9293 3.10.1-3.10.6."""

from __future__ import annotations

from math import inf
from typing import Final

from utcp.errors import InvalidState
from utcp.tcp import state
from utcp.tcp.allowance import MINIMUM
from utcp.tcp.connection.info import ConnectionInfo, info_of
from utcp.tcp.connection.keepalive import NOT_STARTED, Keepalive
from utcp.tcp.connection.reset import send_reset, undelivered
from utcp.tcp.connection.tcb import Tcb
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

_ORPHAN_RATE: Final = 1000.0
"""Delivery rate that a closed connection must reach after `Config.orphan_timeout`, octets per second."""


class Connection(Tcb):
    """A connection, with the calls of its user. Made by `Stack.connect` and returned by `Listener.accept`.

    `now` is the stack's time in seconds. `take_events` returns events as bits of `utcp.tcp.event`.
    """

    __slots__ = ()

    # ------------------------------------------------------------------ the stream

    def send(self, data: Buffer, *, force: bool = False, urgent: bool = False) -> int:
        """Queue `data` (SEND, RFC 9293 3.10.2) and return the number of octets accepted.

        If fewer octets than `data` has are accepted, the event WRITABLE follows.

        Args:
            data: the octets. They are kept without a copy, so they must not change.
            force: accept all of `data`, even beyond the send buffer.
            urgent: mark the stream as urgent up to the last accepted octet (RFC 9293 3.8.5). New applications should
                not use it (SHLD-13).

        Raises:
            InvalidState: the user called `shutdown` or `close`, or the connection has ended. Nothing is queued.
        """
        send = self.send_side
        if send.fin_queued or self.closed_by_user:
            raise InvalidState("cannot send after shutdown() or close()")
        if self.ended or self.state == CLOSED:
            raise InvalidState("cannot send: the connection has ended")
        self.stack.output[self] = None  # first, so that nothing is queued if either line raises
        accepted = send.append(data, force)
        try:
            if urgent:
                send.mark_urgent()
            # Many connections may send before the next flush, which charges up to MINIMUM octets of each. More are
            # charged here.
            if send.queued % MINIMUM < accepted:
                self.stack.accounts.note(self)
        except BaseException as cause:  # the octets are queued, but the caller receives an exception
            self.stack.break_off(self, cause, max(self.last_sent, self.last_received))
            raise
        return accepted

    def read(self, limit: int = -1) -> bytes:
        """Return up to `limit` octets of the stream (RECEIVE, RFC 9293 3.10.3), and open the window accordingly. A
        negative `limit` returns all readable octets. The result is `b""` if none is readable."""
        receive = self.receive_side
        data = receive.read(limit)
        try:
            if self.state == CLOSED or self.state == TIME_WAIT:  # no flush charges it
                self.stack.accounts.note(self)
            elif receive.ack_due == NOW:
                self.stack.output[self] = None
            elif self not in self.stack.output:
                self.stack.accounts.note(self)
        except BaseException as cause:  # the octets are lost, because they are no longer in the queue
            self.stack.break_off(self, cause, max(self.last_sent, self.last_received))
            raise
        return data

    @property
    def readable(self) -> int:
        """Number of octets that `read` can return now."""
        return self.receive_side.readable

    @property
    def urgent_ahead(self) -> int:
        """Number of octets from the next unread one to the end of the peer's urgent data; 0: none is ahead."""
        return self.receive_side.urgent_ahead

    @property
    def at_eof(self) -> bool:
        """True if the peer's FIN has arrived and everything before it has been read."""
        return self.receive_side.fin_reached and not self.receive_side.readable

    # ------------------------------------------------------------------ ends

    def shutdown(self, now: float) -> None:
        """Close the sending direction: send a FIN behind the queued data. Reading continues.

        A second call does nothing.

        Raises:
            InvalidState: the connection has ended.
        """
        if self.send_side.fin_queued:
            return
        if self.ended or self.state == CLOSED:
            raise InvalidState("cannot shut down: the connection has ended")
        try:
            self.send_side.queue_fin()
            if self.state != SYN_SENT:  # in SYN_SENT the FIN and the transition wait for the handshake
                self.on(state.CLOSE, now)
            self.stack.output[self] = None
        except BaseException as cause:
            self.stack.break_off(self, cause, now)
            raise

    def close(self, now: float) -> None:
        """Close both directions (CLOSE, RFC 9293 3.10.4). A second call does nothing.

        The event ENDED follows when the peer has acknowledged our data and FIN, or with the error that prevented this.
        Unread data, and data that arrives later, is answered with RST (SHLD-3). In this case `error` is set if any of
        our data was unacknowledged. In SYN_SENT the connection is deleted (RFC 9293 3.10.4).
        """
        if self.closed_by_user:
            return
        self.closed_by_user = True
        if self.ended:
            self.discard_unread()
            return
        before, send = self.state, self.send_side
        try:
            if before in (CLOSED, TIME_WAIT):  # both directions have ended; only this call was missing
                self.discard_unread()
                self.end(None, now, delivered=send.fin_acked)
            elif before == SYN_SENT:
                self.fail(None, now)
            elif self.linger == 0:
                self.stack.counters.aborts_on_data += 1
                send_reset(self, None, now)
            elif self.receive_side.readable:
                self.stack.counters.aborts_on_close += 1
                send_reset(self, undelivered(self, "closed with unread received data"), now, with_ack=True)
            else:
                if not send.fin_queued:
                    send.queue_fin()
                    self.on(state.CLOSE, now)
                self.stack.accounts.adopt_orphan(self)
                if not send.fin_acked:
                    if self.linger is not None:
                        self.linger_at = now + self.linger
                    elif self.config.orphan_timeout is not None:
                        self.linger_at = now + self.config.orphan_timeout + (send.queued - send.acked) / _ORPHAN_RATE
                    self.stack.output[self] = None
                    return  # the flush sends the FIN and schedules the timer
                if before == FIN_WAIT_2:
                    self.wait_for_fin(now)
                self.end(None, now, delivered=True)
            self.stack.settle(self, now)
        except BaseException as cause:
            self.stack.break_off(self, cause, now)
            raise

    def abort(self, now: float) -> None:
        """Abort the connection (RFC 9293 3.10.5): send RST, drop the queued data, and end without an error.

        In CLOSING and LAST_ACK an RST leaves only while the FIN waits behind data or for the peer's window, because the
        RFC enters these states only when the FIN leaves. Linux sends the RST as well."""
        self.closed_by_user = True
        try:
            if self.state in (SYN_RCVD, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT) or (
                self.state in (CLOSING, LAST_ACK) and self.send_side.pending
            ):
                self.stack.counters.aborts_on_data += 1
                send_reset(self, None, now)
            elif self.state in (SYN_SENT, CLOSING, LAST_ACK):
                self.fail(None, now)
            else:
                self.discard_unread()
                self.end(None, now, delivered=self.send_side.fin_acked)
            self.stack.settle(self, now)
        except BaseException as cause:
            self.stack.break_off(self, cause, now)
            raise

    # ------------------------------------------------------------------ options

    def set_keepalive(self, enabled: bool, now: float) -> None:
        """Turn keepalive (RFC 9293 3.8.4) on or off. In CLOSED and TIME_WAIT this does nothing."""
        if self.state == CLOSED or self.state == TIME_WAIT:
            return
        keepalive = self._own_keepalive(now)
        if enabled:
            keepalive.start(now)
            self.stack.settle(self, now)
        else:
            keepalive.stop()

    def configure_keepalive(
        self, now: float, *, idle: float | None = None, interval: float | None = None, count: int | None = None
    ) -> None:
        """Change the settings of keepalive that are not None (`Config.keepalive_idle`, `keepalive_interval`,
        `keepalive_count`), seconds and a number. They apply from the next start of the timer on."""
        self._own_keepalive(now).configure(idle, interval, count)

    def _own_keepalive(self, now: float) -> Keepalive:
        if self.keepalive is NOT_STARTED:
            self.keepalive = Keepalive(self.config, now)
        return self.keepalive

    def set_user_timeout(self, seconds: float | None) -> None:
        """Set R2 of this connection (RFC 9293 3.8.3, MUST-21) as a time that starts now, seconds; None: R2 is
        `Config.retries` again."""
        self.user_timeout = seconds
        self.user_timeout_at = inf
        self.touch()

    def set_linger(self, seconds: float | None) -> None:
        """Set how long delivery may take after `close`, seconds (SO_LINGER); 0: `close` resets the connection; None:
        `Config.orphan_timeout` applies."""
        self.linger = seconds

    def set_nodelay(self, nodelay: bool) -> None:
        """Turn Nagle's algorithm off or on (RFC 9293 3.7.4)."""
        self.nodelay = nodelay
        self.touch()  # data that Nagle's algorithm held back may leave now

    # ------------------------------------------------------------------ looking

    def take_events(self) -> int:
        """Return the events since the last call, as bits of `utcp.tcp.event`."""
        events = self.events
        self.events = 0
        return events

    def info(self, now: float | None = None) -> ConnectionInfo:
        """Return the connection's variables (STATUS, RFC 9293 3.10.6), or their last values after the end.

        Durations end at `now`; None: when the connection last sent new data or last received an acceptable segment."""
        return info_of(self, max(self.last_sent, self.last_received) if now is None else now)
