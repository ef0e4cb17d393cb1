"""When the ACK of received text leaves: at once, or later in company (RFC 9293 3.8.6.3, RFC 5681 4.2)."""

from __future__ import annotations

from math import inf
from typing import Final

from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.receive import DELAYED
from utcp.wire.options import TIMESTAMPS_LENGTH

_SACK_INTERVAL: Final = 0.001
"""Seconds between SACKs that out-of-order segments may share: the shortest timer of an event loop. One SACK for each
segment would queue on a narrow path for ACKs, and the ACKs behind them would reach the sender bunched."""

_SACKS_SPACED_FROM: Final = 0.02
"""Seconds of smoothed round-trip time from which SACKs are spaced, so that none waits for more than a twentieth of it.
"""


def may_be_half_an_answer(tcb: Tcb, size: int) -> bool:
    """Return whether text of `size` octets may be the first part of an answer, whose second part Nagle's algorithm
    holds back until our ACK. A full-sized segment is not: nothing waits behind it."""
    return size + TIMESTAMPS_LENGTH < tcb.receive_mss and tcb.receive_side.awaits_answer(tcb.send_side.sent)


def schedule_ack(tcb: Tcb, size: int, now: float) -> None:
    """Schedule the ACK of text of `size` octets that arrived: now, later, or not at all."""
    receive = tcb.receive_side
    if receive.ack_due == DELAYED and tcb.config.delayed_ack:
        if receive.delayed_ack_at != inf:
            return
        delay = tcb.config.delayed_ack
        if receive.duplicate_acks_due:  # the delayed ACK is a SACK
            spaced = (tcb.rtt.srtt or 0.0) >= _SACKS_SPACED_FROM
            deadline = receive.next_sack(now, min(delay, _SACK_INTERVAL) if spaced else 0.0)
            if deadline <= now:
                tcb.ack_now()
                return
            receive.delay_ack(deadline)
        elif size + TIMESTAMPS_LENGTH >= tcb.receive_mss:  # no half of an answer
            receive.delay_ack(now + delay)
        elif receive.acknowledges_at_once(now, delay, tcb.send_side.sent, tcb.last_sent):
            tcb.ack_now()
            return
        if tcb.pacer.deadline == inf:  # else data waits for it, and not for text that comes
            tcb.touch()
    elif receive.ack_due:
        tcb.ack_now()
