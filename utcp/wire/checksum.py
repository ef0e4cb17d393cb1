"""The TCP checksum (RFC 9293 3.1, RFC 1071), for links that carry bare IP; over UDP, whose own covers as much, it is 0.

2**16 is 1 modulo 65535, so the ones' complement sum of 16-bit words is the whole string, read as one number, modulo
65535. That takes 1 to 3 microseconds for 1,460 octets; adding the words up in Python takes three times as long.
"""

from typing import Final

PROTOCOL: Final = 6
"""TCP, in IPv4's protocol field and IPv6's next header."""

_FIELD: Final = 16
"""Where the checksum stands in a TCP header."""


def pseudo_header(source: bytes, destination: bytes) -> int:
    """What a segment's pseudo-header adds to the sum, but for the length; the addresses are IPv4's or IPv6's octets."""
    return int.from_bytes(source + destination, "big") + PROTOCOL


def fill(segment: bytes, pseudo: int) -> bytes:
    """The segment, at least a TCP header, with its checksum set (MUST-2), whatever the field held.

    `pseudo` comes from `pseudo_header`.
    """
    held = int.from_bytes(segment[_FIELD : _FIELD + 2], "big")
    checksum = (held - _sum(segment) - pseudo - len(segment)) % 0xFFFF
    return segment[:_FIELD] + checksum.to_bytes(2, "big") + segment[_FIELD + 2 :]


def verify(segment: bytes, pseudo: int) -> bool:
    """Whether the segment is as its sender summed it (MUST-3). `pseudo` comes from `pseudo_header`."""
    return (_sum(segment) + pseudo + len(segment)) % 0xFFFF == 0


def internet_checksum(data: bytes) -> int:
    """RFC 1071's checksum of `data`, which must not be all zeros; 0 when `data` holds its own and is intact."""
    return -_sum(data) % 0xFFFF


def _sum(data: bytes) -> int:
    """A number that is the sum of the words modulo 65535; an odd last octet is padded with zeros."""
    number = int.from_bytes(data, "big")
    return number << 8 if len(data) & 1 else number
