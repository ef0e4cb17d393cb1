"""Timeouts of a connection (RFC 9293 3.10.8, RFC 6298 5), and the limits of retransmission (3.8.3)."""

from __future__ import annotations

from typing import Final

from utcp.errors import (
    FinTimedOut,
    KeepaliveTimedOut,
    LingerTimedOut,
    RetransmissionTimedOut,
    SynTimedOut,
    UserTimedOut,
)
from utcp.tcp import event
from utcp.tcp.connection.reset import send_reset
from utcp.tcp.connection.tcb import TAIL_LOSS_PROBE, WINDOW_PROBE, Tcb
from utcp.tcp.path_mtu import MINIMUM, SUSPICIOUS
from utcp.tcp.state import CLOSED, CLOSING, LAST_ACK, SYN_RCVD, SYN_SENT
from utcp.tcp.timers import (
    DELAYED_ACK,
    FIN_WAIT_2,
    KEEPALIVE,
    LINGER,
    PACING,
    PERSIST,
    PROBE,
    REORDER,
    RETRANSMIT,
    USER_TIMEOUT,
)

_R1: Final = 3
"""R1: number of retransmissions of one segment after which the user receives TROUBLE (RFC 9293 3.8.3, SHLD-10)."""


def handle_timeout(tcb: Tcb, now: float) -> None:
    """Handle every expired timer (RFC 9293 3.10.8, RFC 6298 5)."""
    if tcb.state == CLOSED:  # an exception has interrupted its end
        return
    expired = [timer for timer, deadline in enumerate(tcb.deadlines()) if deadline <= now]
    _stop(tcb, expired, now)
    observer = tcb.stack.routine_observer
    for timer in expired:
        if tcb.state == CLOSED:
            return
        if observer is not None:
            observer.timer_expired(tcb, timer, now)
        if timer == RETRANSMIT:
            if PROBE not in expired:  # otherwise the probe leaves first, and the timer is restarted (RFC 8985 7.3)
                _retransmission_timeout(tcb, now)
        elif timer == PERSIST:
            if _exhausted(tcb):
                _give_up(tcb, now)
                return
            tcb.timed_out()
            tcb.persist.expired()
            tcb.owe_probe(WINDOW_PROBE)
        elif timer == DELAYED_ACK:
            tcb.receive_side.delay_expired()
        elif timer == KEEPALIVE:
            _keepalive_timeout(tcb, now)
        elif timer == FIN_WAIT_2:
            tcb.fail(None, now)
        elif timer == USER_TIMEOUT:
            if tcb.unverified:  # a half-open connection has no user yet
                tcb.drop_half_open(now)
            else:
                _time_out(tcb, UserTimedOut(), now)
        elif timer == LINGER:
            _time_out(tcb, FinTimedOut() if tcb.linger is None else LingerTimedOut(), now)
        elif timer == PROBE:
            tcb.owe_probe(TAIL_LOSS_PROBE)
        elif timer == REORDER:
            tcb.recovery.on_reordering_timeout(now)
    tcb.touch()


def _stop(tcb: Tcb, expired: list[int], now: float) -> None:
    """Turn off the expired timers, because handling them may start them again."""
    tcb.recovery.stop_expired(now)
    tcb.stop_user_timers(now)
    if PERSIST in expired:
        tcb.persist.stop()
    if DELAYED_ACK in expired:
        tcb.receive_side.stop_delaying()
    if KEEPALIVE in expired:
        tcb.keepalive.expired()
    if PACING in expired:
        tcb.pacer.expired(now)


def _retransmission_timeout(tcb: Tcb, now: float) -> None:
    if _exhausted(tcb):
        _give_up(tcb, now)
        return
    tcb.timed_out()
    if tcb.retransmits == _R1:
        tcb.report(event.TROUBLE)
    tcb.stack.counters.timeouts += 1
    tcb.rtt.back_off()
    recovery = tcb.recovery
    recovery.on_timeout(tcb.retransmits == 1, now)
    length = recovery.board.first_length
    suspicious = tcb.retransmits >= SUSPICIOUS and length > MINIMUM
    if suspicious and tcb.path_mtu.black_hole_suspected(tcb.retransmits, length, now):
        tcb.use_mss(tcb.path_mtu.size, now)


def _exhausted(tcb: Tcb) -> bool:
    """Return True if R2 is reached (RFC 9293 3.8.3)."""
    config = tcb.config
    if tcb.state == SYN_SENT:
        limit = config.syn_retries
    elif tcb.state == SYN_RCVD:
        limit = config.syn_ack_retries
    elif _orphaned(tcb):
        limit = config.fin_retries
    elif tcb.user_timeout is not None:
        return False  # R2 is a time, with a timer of its own
    else:
        limit = config.retries
    return tcb.retransmits >= limit


def _orphaned(tcb: Tcb) -> bool:
    """Return True if the connection only delivers its remaining data, for which the time is limited."""
    return tcb.closed_by_user or tcb.state in (CLOSING, LAST_ACK)


def _give_up(tcb: Tcb, now: float) -> None:
    if tcb.unverified:
        tcb.drop_half_open(now)
    elif tcb.state in (SYN_SENT, SYN_RCVD):
        _time_out(tcb, SynTimedOut(), now)
    elif _orphaned(tcb):
        _time_out(tcb, FinTimedOut(), now)
    else:
        _time_out(tcb, RetransmissionTimedOut(), now)


def _time_out(tcb: Tcb, error: OSError, now: float) -> None:
    tcb.stack.counters.aborts_on_timeout += 1
    error.__cause__ = tcb.soft_error
    send_reset(tcb, error, now)


def _keepalive_timeout(tcb: Tcb, now: float) -> None:
    """Send a keepalive probe on an idle connection (RFC 9293 3.8.4, MUST-26), or end it after several (MUST-29)."""
    send, keepalive = tcb.send_side, tcb.keepalive
    if send.flight_size or send.pending:
        keepalive.rearm(now + keepalive.idle)
        return
    due = tcb.last_received + keepalive.idle
    if not keepalive.unanswered and now < due:
        keepalive.rearm(due)
    elif keepalive.enabled and keepalive.unanswered >= keepalive.count:
        _time_out(tcb, KeepaliveTimedOut(), now)
    else:
        tcb.probe_peer(now)
