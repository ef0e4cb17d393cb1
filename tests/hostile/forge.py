"""Packets as an attacker makes them: any source address, any header, any message of ICMP, over IPv4."""

from dataclasses import dataclass
from ipaddress import IPv4Address
from struct import Struct
from typing import Final, Literal

from utcp.wire import Segment, checksum, encode

Stack = Literal["utcp", "kernel"]

_IP: Final = Struct("!BBHHHBBH4s4s")
_UDP: Final = Struct("!HHHH")
_ICMP: Final = Struct("!BBHHH")
_DONT_FRAGMENT: Final = 0x4000
_ICMP_PROTOCOL: Final = 1
_TCP_PROTOCOL: Final = 6
_UDP_PROTOCOL: Final = 17
_QUOTED_OF_SEGMENT: Final = 8

UNREACHABLE: Final = 3
"""The type of an ICMP message that says that a datagram could not be delivered (RFC 792)."""
HOST: Final = 1
PORT: Final = 3
FRAGMENTATION_NEEDED: Final = 4
"""Codes of such a message."""


def address(host: str) -> bytes:
    """The octets of an IPv4 address."""
    return IPv4Address(host).packed


def ipv4(source: bytes, destination: bytes, protocol: int, payload: bytes) -> bytes:
    """An IP packet."""
    size = _IP.size + len(payload)
    header = _IP.pack(0x45, 0, size, 0, _DONT_FRAGMENT, 64, protocol, 0, source, destination)
    total = checksum.internet_checksum(header)
    return header[:10] + total.to_bytes(2, "big") + header[12:] + payload


@dataclass(frozen=True, slots=True)
class Forge:
    """Makes packets for one server: a utcp endpoint, whose segments are UDP payload, or the kernel's TCP.

    `udp_port` is the endpoint's UDP port. The kernel's TCP has none, so a sender's UDP port is ignored for it.
    """

    stack: Stack
    server: bytes
    udp_port: int

    def segment(self, source: bytes, udp_port: int, segment: Segment) -> bytes:
        """The packet that carries `segment` from `source` to the server."""
        return self.octets(source, udp_port, encode(segment))

    def octets(self, source: bytes, udp_port: int, octets: bytes) -> bytes:
        """The same for octets, at least a TCP header, that need not be a segment."""
        if self.stack == "kernel":
            whole = checksum.fill(octets, checksum.pseudo_header(source, self.server))
            return ipv4(source, self.server, _TCP_PROTOCOL, whole)
        header = _UDP.pack(udp_port, self.udp_port, _UDP.size + len(octets), 0)
        return ipv4(source, self.server, _UDP_PROTOCOL, header + octets)

    def unreachable(
        self, router: bytes, code: int, victim: bytes, victim_udp_port: int, segment: Segment, mtu: int = 0
    ) -> bytes:
        """An ICMP message from `router`: the server's `segment` to `victim` could not be delivered."""
        quoted = encode(segment)[:_QUOTED_OF_SEGMENT]
        if self.stack == "kernel":
            inner = ipv4(self.server, victim, _TCP_PROTOCOL, quoted)
        else:
            header = _UDP.pack(self.udp_port, victim_udp_port, _UDP.size + 64, 0)
            inner = ipv4(self.server, victim, _UDP_PROTOCOL, header + quoted)
        body = _ICMP.pack(UNREACHABLE, code, 0, 0, mtu) + inner
        total = checksum.internet_checksum(body)
        return ipv4(router, self.server, _ICMP_PROTOCOL, body[:2] + total.to_bytes(2, "big") + body[4:])

    def read(self, packet: bytes) -> tuple[int, bytes] | None:
        """The UDP port (0 for the kernel's TCP) and the octets that a packet of the server's carries, segments or a
        train of them; None for anything else."""
        start = (packet[0] & 0x0F) * 4
        if self.stack == "kernel":
            return (0, packet[start:]) if packet[9] == _TCP_PROTOCOL else None
        if packet[9] != _UDP_PROTOCOL:
            return None
        source, destination, _, _ = _UDP.unpack_from(packet, start)
        return (destination, packet[start + _UDP.size :]) if source == self.udp_port else None
