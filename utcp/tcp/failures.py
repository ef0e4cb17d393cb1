"""What becomes of an exception in the middle of a stack's work: it ends one connection at most.

It may come from a bug, from want of memory, from an application's congestion controller or `mtu`, or from a signal
handler. An observer's does not come so far (`utcp.tcp.observer.Tee`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from utcp.errors import ConnectionAborted
from utcp.tcp.state import CLOSED, LISTEN, SYN_RCVD, SYN_SENT, TIME_WAIT
from utcp.wire import RST, Segment

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection

MAX_FAILURES: Final = 64
"""How many of `Stack.failures` are kept until they are taken."""


class Failure:
    """An exception that no user of a connection is told of."""

    __slots__ = ("error", "what")

    def __init__(self, what: str, error: Exception) -> None:
        self.what = what
        """What the consequence is, for people."""
        self.error = error


def fail(connection: Connection, cause: BaseException, now: float) -> bool:
    """End `connection`, because `cause` was raised in the middle of its processing. Return whether a user is told of
    it: by the event ENDED, with a ConnectionAborted as the error, whose `__cause__` is `cause`.

    It is not known how far the processing came. To go on could corrupt the stream, so nothing is tried again, not even
    after a MemoryError, and the peer is reset. The SEQ of that RST is uncertain. A peer that does not accept it gets an
    exact one in answer to its next segment, because the connection does not exist any more (RFC 9293 3.10.7.1).
    """
    stack, state, unproven = connection.stack, connection.state, connection.unproven
    connection.timers.stop_all()
    try:
        stack.forget(connection)  # first: whatever else fails, the stack does not come by here again
        listener = connection.listener
        if listener is not None and connection not in listener.queue:
            told = False
            connection.vanish(now)
        else:
            told = not connection.ended
            error = ConnectionAborted(f"Connection aborted: {type(cause).__name__} was raised while it was processed")
            error.__cause__ = cause
            connection.finish(error, now)
            if listener is not None:
                stack.add_ready(listener)
    finally:  # where memory is short, this may raise as well
        connection.abandon()
    if state not in (CLOSED, LISTEN, SYN_SENT, TIME_WAIT):
        if state != SYN_RCVD:
            stack.counters.estab_resets += 1
        seq = connection.send_side.acceptable_seq
        reset = Segment(connection.local_port, connection.remote_port, seq, 0, RST)
        stack.put(connection.remote, reset, now, to_stranger=unproven)
    return told
