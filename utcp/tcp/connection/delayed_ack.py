"""Delayed ACKs, and the time at which the ACK of received text leaves (RFC 9293 3.8.6.3, RFC 5681 4.2)."""

from __future__ import annotations

from math import inf
from typing import Final

from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.receive import DELAYED
from utcp.wire.options import TIMESTAMPS_LENGTH

_SACK_INTERVAL: Final = 0.001
"""Time between shared SACKs, seconds: the shortest timer of an event loop. With one SACK for each out-of-order segment,
SACKs would queue on a narrow path for ACKs, and later ACKs would reach the sender in bunches."""

_SACKS_SPACED_FROM: Final = 0.02
"""Smoothed round-trip time from which SACKs are spaced, seconds. So a SACK waits at most a twentieth of it."""


def may_be_half_an_answer(tcb: Tcb, size: int) -> bool:
    """Return True if text of `size` octets may be the first part of an answer whose second part Nagle's algorithm holds
    back until our ACK. A full-sized segment is not, because Nagle's algorithm holds nothing back behind it."""
    return size + TIMESTAMPS_LENGTH < tcb.receive_mss and tcb.receive_side.awaits_answer(tcb.send_side.sent)


def schedule_ack(tcb: Tcb, size: int, now: float) -> None:
    """Schedule the ACK of received text of `size` octets: now, later, or not at all."""
    receive = tcb.receive_side
    delay = tcb.config.delayed_ack
    if receive.ack_due != DELAYED or not delay:
        if receive.ack_due:
            tcb.ack_now()
        return
    if receive.delayed_ack_at != inf:
        return
    if receive.duplicate_acks_due:  # the delayed ACK is a SACK
        spaced = (tcb.rtt.srtt or 0.0) >= _SACKS_SPACED_FROM
        deadline = receive.next_sack(now, min(delay, _SACK_INTERVAL) if spaced else 0.0)
        if deadline <= now:
            tcb.ack_now()
            return
        receive.delay_ack(deadline)
    elif size + TIMESTAMPS_LENGTH >= tcb.receive_mss:  # not half of an answer
        receive.delay_ack(now + delay)
    elif receive.acknowledges_at_once(now, delay, tcb.send_side.sent, tcb.last_sent):
        tcb.ack_now()
        return
    if tcb.pacer.deadline == inf:  # otherwise our data waits only for the pacer, so that a flush is useless
        tcb.touch()
