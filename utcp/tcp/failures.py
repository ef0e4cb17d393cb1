"""What becomes of an exception in the middle of a stack's work: it ends one connection at most.

It may come from a bug, from want of memory, from an application's congestion controller or `mtu`, or from a signal
handler. An observer's does not come so far (`utcp.tcp.observer.Tee`).
"""

from __future__ import annotations

from typing import Final

from utcp.errors import ConnectionAborted
from utcp.tcp.connection.tcb import Context, Tcb
from utcp.tcp.state import CLOSED, LISTEN, SYN_RCVD, SYN_SENT, TIME_WAIT
from utcp.wire import RST, Segment

MAX_FAILURES: Final = 64
"""How many of `Stack.failures` are kept until they are taken."""


class Failure:
    """An exception that no user of a connection is told of."""

    __slots__ = ("error", "what")

    def __init__(self, what: str, error: Exception) -> None:
        self.what = what
        """What the consequence is, for people."""
        self.error = error


def fail(stack: Context, tcb: Tcb, cause: BaseException, now: float) -> bool:
    """End a connection, because `cause` was raised in the middle of its processing. Return whether a user is told of
    it: by the event ENDED, with a ConnectionAborted as the error, whose `__cause__` is `cause`.

    It is not known how far the processing came. To go on could corrupt the stream, so nothing is tried again, not even
    after a MemoryError, and the peer is reset. The SEQ of that RST is uncertain. A peer that does not accept it gets an
    exact one in answer to its next segment, because the connection does not exist any more (RFC 9293 3.10.7.1).
    """
    state, unproven = tcb.state, tcb.unproven
    try:
        half_open = state == LISTEN or stack.is_half_open(tcb)
        stack.forget(tcb)  # first: whatever else fails, the stack does not come by here again
        if half_open:
            told = False
            tcb.drop_half_open(now)
        else:
            told = not tcb.ended
            error = ConnectionAborted(f"Connection aborted: {type(cause).__name__} was raised while it was processed")
            error.__cause__ = cause
            tcb.fail(error, now)
    finally:  # where memory is short, this may raise as well
        tcb.abandon()
    if state not in (CLOSED, LISTEN, SYN_SENT, TIME_WAIT):
        if state != SYN_RCVD:
            stack.counters.estab_resets += 1
        seq = tcb.send_side.acceptable_seq
        reset = Segment(tcb.local_port, tcb.remote_port, seq, 0, RST)
        stack.put(tcb.remote, reset, now, to_stranger=unproven)
    return told
