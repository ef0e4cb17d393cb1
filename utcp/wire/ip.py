"""Encoding and decoding of IPv4 and IPv6 packets (RFC 791, RFC 8200)."""

from struct import Struct
from typing import Final, NamedTuple

from utcp.wire.checksum import PROTOCOL, internet_checksum

ICMP: Final = 1
"""ICMP's number in IPv4's protocol field."""
ICMPV6: Final = 58
"""ICMPv6's number in IPv6's next header."""
UDP: Final = 17
"""UDP's number in IPv4's protocol field and IPv6's next header."""

IPV4_HEADER: Final = Struct("!BBHHHBBH4s4s")
"""Version and header length, TOS, total length, identification, flags and fragment offset, TTL, protocol, checksum,
source, destination."""
IPV6_HEADER: Final = Struct("!IHBB16s16s")
"""Version, traffic class and flow label; payload length, next header, hop limit, source, destination."""

IPV4_HEADER_LENGTH: Final = 20
"""Length of an IPv4 header without options, octets."""
IPV6_HEADER_LENGTH: Final = 40
"""Length of an IPv6 header without extension headers, octets."""

IPV4_SMALLEST_MTU: Final = 68
"""Smallest MTU of an IPv4 path, octets (RFC 791 3.2)."""
IPV6_SMALLEST_MTU: Final = 1280
"""Smallest MTU of an IPv6 path, octets (RFC 8200 5)."""

FRAGMENT: Final = 0x3FFF
"""Bits of IPv4's flags and fragment offset that are set only in fragments: "more fragments" and the offset."""
_DONT_FRAGMENT: Final = 0x4000

_TTL: Final = 64  # RFC 1700

HOP_BY_HOP_OPTIONS: Final = 0
"""Number of the hop-by-hop options in IPv6's next header."""
DESTINATION_OPTIONS: Final = 60
"""Number of the destination options in IPv6's next header."""
_FRAGMENT_HEADER: Final = 44


class MalformedPacket(ValueError):
    """The packet's length fields contradict its length, or its IPv4 header checksum is wrong."""


class FragmentedPacket(ValueError):
    """The packet is a fragment. Fragments are not supported, because TCP uses path MTU discovery."""


class ForeignPacket(ValueError):
    """The packet has another IP version, or a protocol other than TCP and the ICMP of that version."""


class Packet(NamedTuple):
    """A packet: its addresses, its two ECN bits, and its TCP segment, or its ICMP message if `protocol` is not TCP."""

    source: bytes
    destination: bytes
    ecn: int
    segment: bytes
    protocol: int = PROTOCOL


def build(source: bytes, destination: bytes, ecn: int, payload: bytes, protocol: int = PROTOCOL) -> bytes:
    """Return a packet with `payload` that routers must not fragment. The addresses, of 4 or 16 octets, determine its
    version."""
    size = len(payload)
    if len(source) == 16:
        return IPV6_HEADER.pack(6 << 28 | ecn << 20, size, protocol, _TTL, source, destination) + payload
    # The identification is 0, because it has no use without fragments (RFC 6864 4.1).
    fields = (0x45, ecn, IPV4_HEADER_LENGTH + size, 0, _DONT_FRAGMENT, _TTL, protocol)
    checksum = internet_checksum(IPV4_HEADER.pack(*fields, 0, source, destination))
    return IPV4_HEADER.pack(*fields, checksum, source, destination) + payload


def parse(version: int, data: bytes) -> Packet:
    """Decode a packet of IP version 4 or 6 that should contain TCP or ICMP. Octets after its end are ignored.

    Raises MalformedPacket, FragmentedPacket, ForeignPacket.
    """
    if not data or data[0] >> 4 != version:
        raise ForeignPacket
    return _parse_ipv6(data) if version == 6 else _parse_ipv4(data)


def is_unicast(address: bytes) -> bool:
    """Return whether an address is unicast, and not multicast, broadcast (255.255.255.255), reserved or unspecified
    (MUST-63)."""
    if len(address) == 4:
        return 0 < address[0] < 224
    return address[0] != 0xFF and any(address)


def _parse_ipv4(data: bytes) -> Packet:
    header_length = (data[0] & 0x0F) * 4
    if header_length < IPV4_HEADER_LENGTH or len(data) < header_length:
        raise MalformedPacket("header length")
    _, tos, total_length, _, fragment, _, protocol, _, source, destination = IPV4_HEADER.unpack_from(data)
    if not header_length <= total_length <= len(data):
        raise MalformedPacket("total length")
    if internet_checksum(data[:header_length]):
        raise MalformedPacket("header checksum")
    if fragment & FRAGMENT:
        raise FragmentedPacket
    if protocol not in (PROTOCOL, ICMP):
        raise ForeignPacket
    return Packet(source, destination, tos & 3, data[header_length:total_length], protocol)


def _parse_ipv6(data: bytes) -> Packet:
    if len(data) < IPV6_HEADER_LENGTH:
        raise MalformedPacket("header length")
    first, payload_length, next_header, _, source, destination = IPV6_HEADER.unpack_from(data)
    start, end = IPV6_HEADER_LENGTH, IPV6_HEADER_LENGTH + payload_length
    if end > len(data):
        raise MalformedPacket("payload length")
    # Options are skipped, because TCP needs none of them. A packet with a routing header may be for another host.
    while next_header in (HOP_BY_HOP_OPTIONS, DESTINATION_OPTIONS):
        if start + 8 > end:
            raise MalformedPacket("extension header")
        next_header, start = data[start], start + 8 * (data[start + 1] + 1)
    if next_header == _FRAGMENT_HEADER:
        raise FragmentedPacket
    if next_header not in (PROTOCOL, ICMPV6):
        raise ForeignPacket
    if start > end:
        raise MalformedPacket("extension header length")
    return Packet(source, destination, first >> 20 & 3, data[start:end], next_header)
