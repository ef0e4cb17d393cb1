"""Delayed ACKs, and the time at which the ACK of received text leaves (RFC 9293 3.8.6.3, RFC 5681 4.2)."""

from __future__ import annotations

from math import inf
from typing import Final

from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.receive import DELAYED, NOW
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
    if receive.ack_due == DELAYED:
        if receive.delayed_ack_at != inf:
            return
        delay = tcb.config.delayed_ack
        if receive.out_of_order.acks_due and delay:  # the delayed ACK is a SACK
            spaced = tcb.rtt.srtt >= _SACKS_SPACED_FROM
            receive.space_sack(now, min(delay, _SACK_INTERVAL) if spaced else 0.0)
        else:
            half = size + TIMESTAMPS_LENGTH < tcb.receive_mss
            receive.schedule_ack(now, delay, half, tcb.send_side.sent, tcb.last_sent)
    # While our data waits only for the pacer, a flush for a delayed ACK is useless.
    if receive.ack_due == NOW or (receive.ack_due and tcb.pacer.deadline == inf):
        tcb.touch()
