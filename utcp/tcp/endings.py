"""How a stack's connections ended, counted by cause."""

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
    """Counts since the stack was made; each only grows. Every connection of which a user may have heard is counted
    once, when it is over for its user; passive opens that came to nothing are not (`Counters.attempt_fails`)."""

    delivered: int = 0
    """Closed, and everything acknowledged. A FIN counts as acknowledged if the peer has closed and gone."""
    aborted: int = 0
    """Reset by this side: by its user, or because it could not deliver what had arrived (ConnectionAborted)."""
    refused: int = 0
    reset: int = 0
    """By the peer, or its UDP port turned out to be closed."""
    syn_timed_out: int = 0
    retransmission_timed_out: int = 0
    fin_timed_out: int = 0
    user_timed_out: int = 0
    keepalive_timed_out: int = 0
    linger_timed_out: int = 0
    unreachable: int = 0
    """An open that the path made impossible (PathUnreachable)."""

    def note(self, error: OSError | None, delivered: bool) -> None:
        """A connection ended with `error`; without one it was closed and `delivered`, or aborted by its user."""
        if error is None:
            if delivered:
                self.delivered += 1
            else:
                self.aborted += 1
        elif isinstance(error, ConnectionReset):
            self.reset += 1
        elif isinstance(error, ConnectionRefused):
            self.refused += 1
        elif isinstance(error, ConnectionAborted):
            self.aborted += 1
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
