"""What can happen to a connection that its user wants to know, as bits: several happen in one batch."""

from typing import Final

CONNECTED: Final = 1
"""The handshake is complete."""
READABLE: Final = 2
"""Data is there to `read()`."""
PEER_CLOSED: Final = 4
"""The peer's FIN arrived; after what is readable there will be no more."""
WRITABLE: Final = 8
"""`send()` accepts data again after it accepted less than it was given."""
URGENT: Final = 32
"""The peer has announced urgent data, or more of it: `Connection.urgent_ahead` says how far it reaches."""
TROUBLE: Final = 64
"""Retransmissions have reached R1 (RFC 9293 3.8.3): nothing gets through, and the connection goes on trying."""
ENDED: Final = 16
"""It is over for the user: `Connection.error` says why, None for a delivered close. Comes once, last."""
