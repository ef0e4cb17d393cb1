"""Events of a connection for its user. They are bits, because several can occur in one batch."""

from typing import Final

CONNECTED: Final = 1
"""The handshake is complete."""
READABLE: Final = 2
"""`read()` returns data."""
PEER_CLOSED: Final = 4
"""The peer's FIN has arrived. No data follows the readable data."""
WRITABLE: Final = 8
"""`send()` accepts data again, after it accepted only a part."""
URGENT: Final = 32
"""The peer has sent an urgent pointer beyond the previous one (`Connection.urgent_ahead`)."""
TROUBLE: Final = 64
"""Retransmissions have reached R1 (RFC 9293 3.8.3), or the network has reported the peer as unreachable. The connection
continues to retransmit."""
ENDED: Final = 16
"""The connection is over for its user. `Connection.error` is the reason; None: all data was delivered, or the user
aborted. Occurs once, as the last event."""
