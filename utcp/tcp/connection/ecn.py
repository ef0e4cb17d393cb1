"""Explicit congestion notification, the receiver's part (RFC 3168 6.1.3). The sender's is `recovery`'s."""

from utcp._compiled import mypyc_attr
from utcp.wire import ECE


@mypyc_attr(acyclic=True)
class Ecn:
    """Owns what the handshake has agreed on, and the echo of congestion marks."""

    __slots__ = ("agreed", "echo")

    def __init__(self) -> None:
        self.agreed = False
        """Congestion marks are exchanged."""
        self.echo = 0
        """The flag ECE while a congestion mark of the peer's data is to be echoed, else 0."""

    def agree(self, agreed: bool) -> None:
        """The handshake has settled whether congestion marks are exchanged."""
        self.agreed = agreed

    def marked(self) -> None:
        """Data arrived with a congestion mark. Every ACK echoes it until the peer reports that it has slowed down."""
        self.echo = ECE

    def slowed_down(self) -> None:
        """The peer has reduced its congestion window (CWR)."""
        self.echo = 0
