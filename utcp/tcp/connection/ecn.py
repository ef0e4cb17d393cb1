"""The receiver's part of explicit congestion notification (RFC 3168 6.1.3). `recovery` has the sender's part."""

from typing import Final

from utcp._compiled import mypyc_attr
from utcp.wire import ECE


@mypyc_attr(acyclic=True)
class Ecn:
    """Owns the result of the ECN negotiation, and the echo of congestion marks."""

    __slots__ = ("agreed", "echo")

    def __init__(self, agreed: bool = True) -> None:
        self.agreed = agreed
        """True if ECN was negotiated."""
        self.echo = 0
        """The flag ECE while a congestion mark on the peer's data is echoed, else 0."""

    def marked(self) -> None:
        """Echo a congestion mark on every ACK until the peer sends CWR."""
        self.echo = ECE

    def slowed_down(self) -> None:
        """Stop the echo, because the peer has reduced its congestion window (CWR)."""
        self.echo = 0


WITHOUT_ECN: Final = Ecn(False)
"""The object of all connections without ECN. It never changes, because they ignore marks and CWR."""
