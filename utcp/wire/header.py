"""The fixed part of the TCP header (RFC 9293 3.1, figure 1)."""

from struct import Struct
from typing import Final

HEADER_LENGTH: Final = 20
MAX_HEADER_LENGTH: Final = 60

# Plain integers, because they are tested on every segment, and IntFlag takes twenty times as long.
FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10
URG: Final = 0x20
ECE: Final = 0x40
CWR: Final = 0x80

_NAMES: Final = (
    (SYN, "SYN"),
    (FIN, "FIN"),
    (RST, "RST"),
    (PSH, "PSH"),
    (ACK, "ACK"),
    (URG, "URG"),
    (ECE, "ECE"),
    (CWR, "CWR"),
)

# Source port, destination port, sequence number, acknowledgement number, data offset (in 32-bit words, in the upper
# four bits of the first octet) with the flags (in the second), window, checksum, urgent pointer.
HEADER: Final = Struct("!HHIIHHHH")

# The same with timestamps: their kinds and lengths as one word, TSval, TSecr.
HEADER_WITH_TIMESTAMPS: Final = Struct("!HHIIHHHHIII")

# The same without checksum and urgent pointer, which are 0 in nearly every segment: each field takes 200 instructions.
PLAIN_HEADER_WITH_TIMESTAMPS: Final = Struct("!HHIIHH4xIII")

# The header with the options of nearly every SYN: MSS, SACK permitted, timestamps, NOP and window scale.
HEADER_OF_SYN: Final = Struct("!HHIIHHHHHHIIII")


def flag_names(flags: int) -> str:
    """Return a segment's control bits for logs, such as `SYN,ACK`; `none` if no bit is set."""
    return ",".join(name for bit, name in _NAMES if flags & bit) or "none"
