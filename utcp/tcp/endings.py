"""Counts of the ends of a stack's connections, by cause."""

from dataclasses import dataclass

from utcp.errors import (
    ConnectionAborted,
    ConnectionRefused,
    ConnectionReset,
    FinTimedOut,
    KeepaliveTimedOut,
    LingerTimedOut,
    PathUnreachable,
    RetransmissionTimedOut,
    SynTimedOut,
    UserTimedOut,
)


@dataclass(slots=True)
class Endings:
    """Counts since the creation of the stack, which never decrease.

    A connection that was visible to a user is counted once, when it is over for its user. Failed passive opens are not
    counted here (`Counters.attempt_fails`)."""

    delivered: int = 0
    """Closed by the user, with everything acknowledged. The FIN counts as acknowledged if the peer has closed and no
    longer exists."""
    aborted: int = 0
    """Reset by this side: by the user, or because of an error on this side (ConnectionAborted)."""
    refused: int = 0
    reset: int = 0
    """Reset by the peer, or ended because the peer's UDP port is closed."""
    syn_timed_out: int = 0
    retransmission_timed_out: int = 0
    fin_timed_out: int = 0
    user_timed_out: int = 0
    keepalive_timed_out: int = 0
    linger_timed_out: int = 0
    unreachable: int = 0
    """Opens that failed because of the path (PathUnreachable)."""

    def note(self, error: OSError | None) -> None:
        """Count the end of a connection that was not delivered, with `error`; None: its user aborted it."""
        if error is None or isinstance(error, ConnectionAborted):
            self.aborted += 1
        elif isinstance(error, ConnectionReset):
            self.reset += 1
        elif isinstance(error, ConnectionRefused):
            self.refused += 1
        elif isinstance(error, SynTimedOut):
            self.syn_timed_out += 1
        elif isinstance(error, RetransmissionTimedOut):
            self.retransmission_timed_out += 1
        elif isinstance(error, FinTimedOut):
            self.fin_timed_out += 1
        elif isinstance(error, UserTimedOut):
            self.user_timed_out += 1
        elif isinstance(error, KeepaliveTimedOut):
            self.keepalive_timed_out += 1
        elif isinstance(error, LingerTimedOut):
            self.linger_timed_out += 1
        elif isinstance(error, PathUnreachable):
            self.unreachable += 1
        else:
            raise TypeError(f"no counter for connections that end with {error!r}")
