"""Finds the TCP segment in a captured packet, after the headers of the link layer, IP and, for utcp, UDP.

Packets that are not TCP, are fragments, are damaged, or were cut off before the end of the TCP header contain none.
"""

from __future__ import annotations

import socket
from collections.abc import Set as AbstractSet
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

from utcp.wire import ACK, FIN, HEADER_LENGTH, RST, SYN, URG, MalformedSegment, Segment, decode, ip
from utcp.wire.checksum import PROTOCOL as TCP

Address: TypeAlias = tuple[str, int]

_NULL: Final = 0
_LOOP: Final = 108
_ETHERNET: Final = 1
_LINUX_SLL: Final = 113
_LINUX_SLL2: Final = 276
_RAW: Final = (101, 228, 229, 12, 14)
"""LINKTYPE_RAW, LINKTYPE_IPV4, LINKTYPE_IPV6, and the numbers that some systems use for the first."""

LINK_TYPES: Final = frozenset((_NULL, _LOOP, _ETHERNET, _LINUX_SLL, _LINUX_SLL2, *_RAW))
"""The supported link types, numbered as in https://www.tcpdump.org/linktypes.html."""

_IPV4_ETHERTYPE: Final = 0x0800
_IPV6_ETHERTYPE: Final = 0x86DD
_VLAN_ETHERTYPES: Final = (0x8100, 0x88A8, 0x9100)

_AUTHENTICATION: Final = 51
_EXTENSIONS: Final = (ip.HOP_BY_HOP_OPTIONS, 43, ip.DESTINATION_OPTIONS, 135)
"""IPv6 extension headers with a length in units of 8 octets: hop-by-hop options, routing, destination options,
mobility."""

_LARGEST_UNSIZED: Final = 8 * 0xFFFF
"""Maximum length, octets, of a packet whose IP header has no length because the network card will segment it. It is
Linux's GSO_MAX_SIZE (BIG TCP)."""

_LARGEST_GAP: Final = 4096
"""Number of missing octets up to which a payload keeps its captured octets. Beyond that, it is a view of `_ZEROS`, so
that a small file with large lengths does not fill the memory."""

_ZEROS: Final = memoryview(bytes(_LARGEST_UNSIZED))

_UDP_HEADER: Final = Struct("!HHHH")
_ETHERTYPE: Final = Struct("!H")


class Found(NamedTuple):
    """A segment with its source and destination: IP addresses with UDP ports if the segment was in UDP, else with TCP
    ports."""

    source: Address
    destination: Address
    segment: Segment
    udp: bool


class _Datagram(NamedTuple):
    """The payload of an IP packet: the captured `octets` out of `length`."""

    source: str
    destination: str
    ecn: int
    protocol: int
    octets: bytes
    length: int


def dissect(link_type: int, packet: bytes, length: int, udp_ports: AbstractSet[int] | None) -> list[Found]:
    """Return the segments in `packet`, of which the first octets out of `length` were captured.

    There is none, one, or several if a train was captured before the network card split it into datagrams. For
    `udp_ports` see iter_capture.
    """
    start = _network_layer(link_type, packet)
    if start is None or start >= len(packet):
        return []
    version = packet[start] >> 4
    if version == 4:
        datagram = _ipv4(packet[start:], length - start)
    elif version == 6:
        datagram = _ipv6(packet[start:], length - start)
    else:
        return []
    if datagram is None:
        return []
    if datagram.protocol == ip.UDP:
        return _in_udp(datagram, udp_ports)
    if datagram.protocol != TCP:
        return []
    segment = _segment(datagram.octets, datagram.length)
    if segment is None:
        return []
    return [_found(datagram, segment, segment.src_port, segment.dst_port)]


def interface_index(link_type: int, packet: bytes) -> int:
    """Return the number of the interface in the packet's link-layer header; 0 if there is none."""
    return int.from_bytes(packet[4:8], "big") if link_type == _LINUX_SLL2 else 0


def _in_udp(datagram: _Datagram, udp_ports: AbstractSet[int] | None) -> list[Found]:
    if len(datagram.octets) < _UDP_HEADER.size:
        return []
    source, destination, size, _ = _UDP_HEADER.unpack_from(datagram.octets)
    size = min(size, datagram.length) - _UDP_HEADER.size
    payload = datagram.octets[_UDP_HEADER.size :][: max(0, size)]
    if udp_ports is None:
        if not is_plausible(payload):
            return []
    elif udp_ports.isdisjoint((source, destination)):
        return []
    step = _step(payload) if len(payload) == size else size
    parts = [payload[at : at + step] for at in range(0, len(payload), step)] if step < size else [payload]
    segments = [_segment(part, max(size, 0) if len(parts) == 1 else len(part)) for part in parts]
    return [_found(datagram, segment, source, destination) for segment in segments if segment is not None]


def _found(datagram: _Datagram, segment: Segment, source: int, destination: int) -> Found:
    segment.ecn = datagram.ecn
    sender, receiver = (datagram.source, source), (datagram.destination, destination)
    return Found(sender, receiver, segment, datagram.protocol == ip.UDP)


def _step(payload: bytes) -> int:
    """Return the octets of each segment but the last in a train (`utcp.wire.train`), or the whole length if it is none.

    Only the payload shows that it is a train. The search looks for a second segment that continues the first, with the
    same ports and header length and the next sequence number. After a first segment without payload, any segment
    qualifies. Segments at multiples of that distance must look like segments, too.
    """
    if not is_plausible(payload):
        return len(payload)
    header = payload[12] >> 2
    if _all_plausible(payload, header):
        return header
    first = int.from_bytes(payload[4:8], "big")
    at = payload.find(payload[:4], header)
    while at >= 0:
        expected = (first + at - header) % 2**32
        continues = payload[at + 4 : at + 8] == expected.to_bytes(4, "big")
        if continues and _all_plausible(payload, at) and payload[at + 12] == payload[12]:
            return at
        at = payload.find(payload[:4], at + 1)
    return len(payload)


def _all_plausible(payload: bytes, step: int) -> bool:
    return all(is_plausible(payload[at : at + HEADER_LENGTH]) for at in range(step, len(payload), step))


def is_plausible(payload: bytes) -> bool:
    """Return whether a UDP payload looks like a segment of utcp, by its fixed header.

    The header has at least its minimum length. Checksum (because UDP's covers the segment) and reserved bits are 0, so
    is the urgent pointer without URG, and both ports are set. The flags are valid: ACK, SYN alone or RST alone, and at
    most one of SYN, FIN and RST. About one in ten million datagrams of random octets passes.
    """
    if len(payload) < HEADER_LENGTH:
        return False
    offset_and_reserved, flags = payload[12], payload[13]
    kind = flags & (SYN | FIN | RST)
    return (
        offset_and_reserved >= HEADER_LENGTH << 2
        and offset_and_reserved & 0x0F == 0
        and payload[16:18] == b"\0\0"
        and (flags & URG != 0 or payload[18:20] == b"\0\0")
        and payload[0:2] != b"\0\0"
        and payload[2:4] != b"\0\0"
        and kind in (0, SYN, FIN, RST)
        and (flags & ACK != 0 or kind in (SYN, RST))
    )


def _segment(octets: bytes, length: int) -> Segment | None:
    """Decode the segment of `length` octets that begins with `octets`. Missing payload becomes zeros."""
    if len(octets) < HEADER_LENGTH or len(octets) < (header := octets[12] >> 4 << 2):
        return None
    missing = length - len(octets)
    try:
        if missing <= _LARGEST_GAP:
            return decode(octets + bytes(missing))
        segment = decode(octets[:header])
    except MalformedSegment:
        return None
    segment.payload = _ZEROS[: length - header]
    return segment


def _network_layer(link_type: int, packet: bytes) -> int | None:
    """Return the offset of the IP header, or None if the frame carries something else."""
    if link_type in _RAW:
        return 0
    if link_type in (_NULL, _LOOP):
        return 4  # an address family whose number and byte order depend on the system; IP's own version field suffices
    if link_type == _LINUX_SLL:
        at, start = 14, 16
    elif link_type == _LINUX_SLL2:
        at, start = 0, 20
    else:
        at, start = 12, 14
    while start <= len(packet):
        (kind,) = _ETHERTYPE.unpack_from(packet, at)
        if kind in (_IPV4_ETHERTYPE, _IPV6_ETHERTYPE):
            return start
        if kind not in _VLAN_ETHERTYPES:
            return None
        at, start = start + 2, start + 4
    return None


def _ipv4(packet: bytes, available: int) -> _Datagram | None:
    """Decode an IPv4 packet. `available` is the number of octets in the frame after the link-layer header."""
    if len(packet) < ip.IPV4_HEADER_LENGTH:
        return None
    first, tos, total, _, fragment, _, protocol, _, source, destination = ip.IPV4_HEADER.unpack_from(packet)
    start = (first & 0x0F) * 4
    # A packet that the network card will segment (TSO) may have a total length of 0.
    end = total or min(available, _LARGEST_UNSIZED)
    if start < ip.IPV4_HEADER_LENGTH or end < start or end > available or fragment & ip.FRAGMENT:
        return None
    hosts = socket.inet_ntop(socket.AF_INET, source), socket.inet_ntop(socket.AF_INET, destination)
    return _Datagram(*hosts, tos & 3, protocol, packet[start:end], end - start)


def _ipv6(packet: bytes, available: int) -> _Datagram | None:
    if len(packet) < ip.IPV6_HEADER_LENGTH:
        return None
    first, size, protocol, _, source, destination = ip.IPV6_HEADER.unpack_from(packet)
    start = ip.IPV6_HEADER_LENGTH
    end = start + (size or min(available - start, _LARGEST_UNSIZED))
    if end > available:
        return None
    while protocol in _EXTENSIONS or protocol == _AUTHENTICATION:
        if start + 2 > min(len(packet), end):
            return None
        unit, extra = (4, 2) if protocol == _AUTHENTICATION else (8, 1)
        protocol, start = packet[start], start + unit * (packet[start + 1] + extra)
    if start > end:
        return None
    hosts = socket.inet_ntop(socket.AF_INET6, source), socket.inet_ntop(socket.AF_INET6, destination)
    return _Datagram(*hosts, first >> 20 & 3, protocol, packet[start:end], end - start)
