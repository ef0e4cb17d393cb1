"""Evidence that the UDP port of a peer is closed, because its process has died (RFC 9293 SHLD-26)."""

from utcp._compiled import mypyc_attr


@mypyc_attr(acyclic=True)
class PortEvidence:
    """ICMP messages that say that the peer's UDP port is closed, since the peer was last heard of.

    A message counts if it quotes the segment that the peer should have answered last: a keepalive probe, or the first
    octet in flight after a retransmission timeout. Each of them counts once, so the messages must keep up with our own
    timers.
    """

    __slots__ = ("confirmations", "counted", "since")

    def __init__(self, now: float) -> None:
        self.since = now
        """When the first message came, seconds."""
        self.confirmations = 0
        """Messages that counted."""
        self.counted = 0
        """How many such segments were unanswered when a message counted last."""

    def counts(self, unanswered: int) -> bool:
        """Count a message, if no other has counted while so many segments were `unanswered`. Return whether it did."""
        if unanswered == self.counted:
            return False
        self.counted = unanswered
        self.confirmations += 1
        return True
