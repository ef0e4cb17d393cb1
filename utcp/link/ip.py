"""IPv4 and IPv6 packets around a TCP segment or an ICMP message (RFC 791, RFC 8200): built, and taken apart."""

import socket
from struct import Struct
from typing import Final, NamedTuple

from utcp.wire.checksum import PROTOCOL, internet_checksum

IPV4_HEADER_LENGTH: Final = 20
IPV6_HEADER_LENGTH: Final = 40
ICMP: Final = 1
"""In IPv4's protocol field."""
ICMPV6: Final = 58
"""In IPv6's next header."""

_TTL: Final = 64  # RFC 1700
_DONT_FRAGMENT: Final = 0x4000
_FRAGMENT: Final = 0x3FFF  # more fragments follow, or an offset

# Version and header length, TOS, total length, identification, flags and offset, TTL, protocol, checksum, addresses.
_IPV4: Final = Struct("!BBHHHBBH4s4s")
# Version, traffic class and flow label; payload length, next header, hop limit, addresses.
_IPV6: Final = Struct("!IHBB16s16s")

_HOP_BY_HOP_OPTIONS: Final = 0
_FRAGMENT_HEADER: Final = 44
_DESTINATION_OPTIONS: Final = 60


class MalformedPacket(ValueError):
    """Its length fields contradict its length, or the checksum of its IPv4 header is wrong."""


class FragmentedPacket(ValueError):
    """A part of a larger packet. Path MTU discovery, which both ends of a TCP do, leaves no need for them."""


class ForeignPacket(ValueError):
    """Another version of IP, or a protocol in it that is neither TCP nor that version's ICMP."""


class Packet(NamedTuple):
    """A packet's addresses, its two ECN bits, the segment in it or, when `protocol` says so, the ICMP message."""

    source: bytes
    destination: bytes
    ecn: int
    segment: bytes
    protocol: int = PROTOCOL


def build(family: int, source: bytes, destination: bytes, ecn: int, segment: bytes, protocol: int = PROTOCOL) -> bytes:
    """The packet that carries `segment`, not to be fragmented on its way. `family` is AF_INET or AF_INET6."""
    size = len(segment)
    if family == socket.AF_INET6:
        return _IPV6.pack(6 << 28 | ecn << 20, size, protocol, _TTL, source, destination) + segment
    # The identification is of no use to a packet that is never a fragment (RFC 6864 4.1).
    fields = (0x45, ecn, IPV4_HEADER_LENGTH + size, 0, _DONT_FRAGMENT, _TTL, protocol)
    checksum = internet_checksum(_IPV4.pack(*fields, 0, source, destination))
    return _IPV4.pack(*fields, checksum, source, destination) + segment


def parse(family: int, data: bytes) -> Packet:
    """Take apart a packet that should carry TCP or ICMP; octets behind its end are ignored.

    Raises MalformedPacket, FragmentedPacket, ForeignPacket.
    """
    if not data or data[0] >> 4 != (6 if family == socket.AF_INET6 else 4):
        raise ForeignPacket
    return _parse_ipv6(data) if family == socket.AF_INET6 else _parse_ipv4(data)


def is_unicast(address: bytes) -> bool:
    """Not multicast, broadcast (IPv4's 255.255.255.255), reserved or unspecified: that of a possible peer (MUST-63)."""
    if len(address) == 4:
        return 0 < address[0] < 224
    return address[0] != 0xFF and any(address)


def _parse_ipv4(data: bytes) -> Packet:
    header_length = (data[0] & 0x0F) * 4
    if header_length < IPV4_HEADER_LENGTH or len(data) < header_length:
        raise MalformedPacket("header length")
    _, tos, total_length, _, fragment, _, protocol, _, source, destination = _IPV4.unpack_from(data)
    if not header_length <= total_length <= len(data):
        raise MalformedPacket("total length")
    if internet_checksum(data[:header_length]):
        raise MalformedPacket("header checksum")
    if fragment & _FRAGMENT:
        raise FragmentedPacket
    if protocol not in (PROTOCOL, ICMP):
        raise ForeignPacket
    return Packet(source, destination, tos & 3, data[header_length:total_length], protocol)


def _parse_ipv6(data: bytes) -> Packet:
    if len(data) < IPV6_HEADER_LENGTH:
        raise MalformedPacket("header length")
    first, payload_length, next_header, _, source, destination = _IPV6.unpack_from(data)
    start, end = IPV6_HEADER_LENGTH, IPV6_HEADER_LENGTH + payload_length
    if end > len(data):
        raise MalformedPacket("payload length")
    # Options say nothing that a TCP must know. A routing header may mean that the packet is on its way to another host.
    while next_header in (_HOP_BY_HOP_OPTIONS, _DESTINATION_OPTIONS):
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
