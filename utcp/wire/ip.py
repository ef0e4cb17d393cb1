"""IPv4 and IPv6 packets (RFC 791, RFC 8200): the layout of their headers, packets built, and packets taken apart."""

from struct import Struct
from typing import Final, NamedTuple

from utcp.wire.checksum import PROTOCOL, internet_checksum

ICMP: Final = 1
"""ICMP, in IPv4's protocol field."""
ICMPV6: Final = 58
"""ICMPv6, in IPv6's next header."""
UDP: Final = 17
"""UDP, in IPv4's protocol field and IPv6's next header."""

IPV4_HEADER: Final = Struct("!BBHHHBBH4s4s")
"""Version and header length, TOS, total length, identification, flags and fragment offset, TTL, protocol, checksum,
source, destination."""
IPV6_HEADER: Final = Struct("!IHBB16s16s")
"""Version, traffic class and flow label; payload length, next header, hop limit, source, destination."""

IPV4_HEADER_LENGTH: Final = 20
"""Octets without options."""
IPV6_HEADER_LENGTH: Final = 40
"""Octets without extension headers."""

IPV4_SMALLEST_MTU: Final = 68
"""Octets of a packet that every IPv4 path carries (RFC 791 3.2)."""
IPV6_SMALLEST_MTU: Final = 1280
"""Octets of a packet that every IPv6 path carries (RFC 8200 5)."""

FRAGMENT: Final = 0x3FFF
"""The bits of IPv4's flags and fragment offset that are set in a fragment only: more fragments, and the offset."""
_DONT_FRAGMENT: Final = 0x4000

_TTL: Final = 64  # RFC 1700

HOP_BY_HOP_OPTIONS: Final = 0
"""In IPv6's next header."""
DESTINATION_OPTIONS: Final = 60
"""In IPv6's next header."""
_FRAGMENT_HEADER: Final = 44


class MalformedPacket(ValueError):
    """Its length fields contradict its length, or the checksum of its IPv4 header is wrong."""


class FragmentedPacket(ValueError):
    """A part of a larger packet. Path MTU discovery, which both ends of a TCP do, leaves no need for them."""


class ForeignPacket(ValueError):
    """Another version of IP, or a protocol in it that is neither TCP nor that version's ICMP."""


class Packet(NamedTuple):
    """A packet's addresses, its two ECN bits, and the TCP segment in it or, if `protocol` is not TCP, the ICMP
    message."""

    source: bytes
    destination: bytes
    ecn: int
    segment: bytes
    protocol: int = PROTOCOL


def build(source: bytes, destination: bytes, ecn: int, payload: bytes, protocol: int = PROTOCOL) -> bytes:
    """Return the packet that carries `payload` and must not be fragmented on its way. Its version is that of the
    addresses: 4 octets each, or 16."""
    size = len(payload)
    if len(source) == 16:
        return IPV6_HEADER.pack(6 << 28 | ecn << 20, size, protocol, _TTL, source, destination) + payload
    # The identification is of no use to a packet that is never a fragment (RFC 6864 4.1).
    fields = (0x45, ecn, IPV4_HEADER_LENGTH + size, 0, _DONT_FRAGMENT, _TTL, protocol)
    checksum = internet_checksum(IPV4_HEADER.pack(*fields, 0, source, destination))
    return IPV4_HEADER.pack(*fields, checksum, source, destination) + payload


def parse(version: int, data: bytes) -> Packet:
    """Take apart a packet of IP version 4 or 6 that should carry TCP or ICMP. Octets behind its end are ignored.

    Raises MalformedPacket, FragmentedPacket, ForeignPacket.
    """
    if not data or data[0] >> 4 != version:
        raise ForeignPacket
    return _parse_ipv6(data) if version == 6 else _parse_ipv4(data)


def is_unicast(address: bytes) -> bool:
    """Return whether a peer can have the address: it is not multicast, broadcast (IPv4's 255.255.255.255), reserved or
    unspecified (MUST-63)."""
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
    # Options say nothing that a TCP must know. A routing header may mean that the packet is on its way to another host.
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
