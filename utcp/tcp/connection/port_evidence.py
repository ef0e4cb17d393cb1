"""Evidence that the UDP port of a peer is closed, because the peer's process has ended (RFC 9293 SHLD-26)."""

from utcp._compiled import mypyc_attr


@mypyc_attr(acyclic=True)
class PortEvidence:
    """The ICMP messages about a closed UDP port of the peer since the last acceptable segment of the peer.

    A message counts if it quotes the last segment that the peer should have answered: a keepalive probe, or the first
    octet in flight after a retransmission timeout. Only one message counts for each such segment, so that the evidence
    grows no faster than our own timers send them.
    """

    __slots__ = ("confirmations", "counted", "since")

    def __init__(self, now: float) -> None:
        self.since = now
        """Arrival of the first message, seconds."""
        self.confirmations = 0
        """Number of messages that counted."""
        self.counted = 0
        """Number of unanswered segments when a message last counted."""

    def counts(self, unanswered: int) -> bool:
        """Count a message, unless one has counted with this number of `unanswered` segments. Return whether it did."""
        if unanswered == self.counted:
            return False
        self.counted = unanswered
        self.confirmations += 1
        return True
