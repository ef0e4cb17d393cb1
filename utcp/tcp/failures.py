"""Handling of exceptions in the processing of a connection. An exception ends at most that connection.

The cause may be a bug, a lack of memory, an application's congestion controller or `mtu`, or a signal handler. An
exception of an observer is handled before (`utcp.tcp.observer.Tee`).
"""

from __future__ import annotations

from typing import Final

from utcp.errors import ConnectionAborted
from utcp.tcp.connection.context import Context
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.state import CLOSED, LISTEN, SYN_RCVD, SYN_SENT, TIME_WAIT
from utcp.wire import RST, Segment

MAX_FAILURES: Final = 64
"""Largest number of entries in `Stack.failures`."""


class Failure:
    """An exception that no user of a connection receives."""

    __slots__ = ("error", "what")

    def __init__(self, what: str, error: Exception) -> None:
        self.what = what
        """Description of the consequence."""
        self.error = error


def fail(stack: Context[Tcb], tcb: Tcb, cause: BaseException, now: float) -> bool:
    """End a connection, because its processing raised `cause`. Return whether a user receives the error: the event
    ENDED with a ConnectionAborted whose `__cause__` is `cause`.

    It is unknown which steps of the processing were done. To continue could corrupt the stream, so nothing is tried
    again, not even after a MemoryError, and the connection is reset. The SEQ of this RST is uncertain. A peer that does
    not accept it gets an exact RST in answer to its next segment, because the connection no longer exists (RFC 9293
    3.10.7.1).
    """
    state, unverified = tcb.state, tcb.unverified
    try:
        half_open = state == LISTEN or stack.is_half_open(tcb)
        stack.forget(tcb)  # first, so that the stack does not process the connection again if the rest fails
        if half_open:
            told = False
            tcb.drop_half_open(now)
        else:
            told = not tcb.ended
            error = ConnectionAborted(f"Connection aborted: {type(cause).__name__} was raised while it was processed")
            error.__cause__ = cause
            tcb.fail(error, now)
    finally:  # the steps above may raise again if memory is short
        tcb.abandon()
    if state not in (CLOSED, LISTEN, SYN_SENT, TIME_WAIT):
        if state != SYN_RCVD:
            stack.counters.estab_resets += 1
        seq = tcb.send_side.acceptable_seq
        reset = Segment(tcb.local_port, tcb.remote_port, seq, 0, RST)
        stack.put(tcb.remote, reset, now, unverified=unverified)
    return told
