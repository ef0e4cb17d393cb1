"""Challenge ACKs (RFC 5961): answers to segments whose sender is unverified."""

from __future__ import annotations

from utcp.tcp.connection.tcb import Tcb


def challenge(tcb: Tcb, kind: int, now: float) -> None:
    """Send a challenge ACK, at most one for each interval and kind of segment (RFC 5961 7)."""
    if tcb.take_answer(kind, now, tcb.config.challenge_ack_interval):
        tcb.stack.counters.challenge_acks += 1
        tcb.ack_now()
