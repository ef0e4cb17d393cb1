"""What the timers of a connection bring about (RFC 9293 3.10.8, RFC 6298 5), and when it is given up (3.8.3)."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from utcp.errors import (
    FinTimedOut,
    KeepaliveTimedOut,
    LingerTimedOut,
    RetransmissionTimedOut,
    SynTimedOut,
    UserTimedOut,
)
from utcp.tcp import event
from utcp.tcp.path_mtu import MINIMUM, SUSPICIOUS
from utcp.tcp.state import CLOSED, CLOSING, LAST_ACK, SYN_RCVD, SYN_SENT
from utcp.tcp.timers import (
    DELAYED_ACK,
    FIN_WAIT_2,
    KEEPALIVE,
    LINGER,
    PERSIST,
    PROBE,
    REORDER,
    RETRANSMIT,
    USER_TIMEOUT,
)

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection

_R1: Final = 3
"""Retransmissions of one segment after which its user hears of it (RFC 9293 3.8.3, SHLD-10)."""


_ORPHAN_RATE: Final = 1000.0
"""Octets per second that a closed connection must deliver, once `Config.orphan_timeout` is over."""


def delivery_time(connection: Connection) -> float:
    """Return how many seconds delivery may take from the close of `connection` on."""
    if connection.linger is not None:
        return connection.linger
    orphan_timeout = connection.config.orphan_timeout
    return inf if orphan_timeout is None else orphan_timeout + connection.send_queue / _ORPHAN_RATE


def handle_timeout(connection: Connection, now: float) -> None:
    """Act on every timer that is due (RFC 9293 3.10.8, RFC 6298 5)."""
    expired = connection.timers.take_expired(now)
    observer = connection.stack.observer
    for timer in expired:
        if connection.state == CLOSED:
            return
        if observer is not None:
            observer.timer_expired(connection, timer, now)
        if timer == RETRANSMIT:
            if PROBE not in expired:  # else the probe goes first, and the timer starts anew (RFC 8985 7.3)
                _retransmission_timeout(connection, now)
        elif timer == PERSIST:
            if _exhausted(connection):
                _give_up(connection, now)
                return
            connection.retransmits += 1
            connection.probes += 1
            connection.probe_due = True
        elif timer == DELAYED_ACK:
            connection.receive_side.delay_expired()
        elif timer == KEEPALIVE:
            _keepalive_timeout(connection, now)
        elif timer == FIN_WAIT_2:
            connection.finish(None, now)
        elif timer == USER_TIMEOUT:
            if connection.state == SYN_RCVD and connection.passive:  # half open: it has no user yet
                connection.vanish(now)
            else:
                _time_out(connection, UserTimedOut(), now)
        elif timer == LINGER:
            _time_out(connection, FinTimedOut() if connection.linger is None else LingerTimedOut(), now)
        elif timer == PROBE:
            connection.tail_probe_due = True
        elif timer == REORDER:
            connection.recovery.on_reordering_timeout(now)
    connection.touch()


def _retransmission_timeout(connection: Connection, now: float) -> None:
    if _exhausted(connection):
        _give_up(connection, now)
        return
    connection.retransmits += 1
    if connection.retransmits == _R1:
        connection.tell(event.TROUBLE)
    connection.stack.counters.timeouts += 1
    connection.rtt.back_off()
    recovery = connection.recovery
    recovery.on_timeout(connection.retransmits == 1, now)
    length = recovery.board.first_length
    suspicious = connection.retransmits >= SUSPICIOUS and length > MINIMUM
    if suspicious and connection.path_mtu.black_hole_suspected(connection.retransmits, length, now):
        connection.use_mss(connection.path_mtu.size, now)


def _exhausted(connection: Connection) -> bool:
    """R2 is reached (RFC 9293 3.8.3)."""
    config = connection.config
    if connection.state == SYN_SENT:
        limit = config.syn_retries
    elif connection.state == SYN_RCVD:
        limit = config.syn_ack_retries
    elif _orphaned(connection):
        limit = config.fin_retries
    elif connection.user_timeout is not None:
        return False  # R2 is a time: its timer decides
    else:
        limit = config.retries
    return connection.retransmits >= limit


def _orphaned(connection: Connection) -> bool:
    """Nobody keeps the connection for its own sake any more: only delivery is left, and it is bounded."""
    return connection.closed_by_user or connection.state in (CLOSING, LAST_ACK)


def _give_up(connection: Connection, now: float) -> None:
    if connection.state == SYN_RCVD and connection.passive:
        connection.vanish(now)
    elif connection.state in (SYN_SENT, SYN_RCVD):
        _time_out(connection, SynTimedOut(), now)
    elif _orphaned(connection):
        _time_out(connection, FinTimedOut(), now)
    else:
        _time_out(connection, RetransmissionTimedOut(), now)


def _time_out(connection: Connection, error: OSError, now: float) -> None:
    connection.stack.counters.aborts_on_timeout += 1
    error.__cause__ = connection.soft_error
    connection.reset_peer(error, now)


def _keepalive_timeout(connection: Connection, now: float) -> None:
    """RFC 9293 3.8.4: probe only an idle connection (MUST-26), give up only after several (MUST-29)."""
    send = connection.send_side
    if send.flight_size or send.pending:
        due = now + connection.keepalive_idle
    else:
        due = connection.last_heard + connection.keepalive_idle
        if connection.keepalive_probes or now >= due:
            if connection.keepalive and connection.keepalive_probes >= connection.keepalive_count:
                _time_out(connection, KeepaliveTimedOut(), now)
            else:
                connection.probe_peer(now)
            return
    if connection.keepalive:  # else the timer stood for a probe that an ICMP message had called for
        connection.timers.set(KEEPALIVE, due)
