"""Packets as an attacker makes them: any source address, any header, any message of ICMP, over IPv4."""

from dataclasses import dataclass
from ipaddress import IPv4Address
from struct import Struct
from typing import Final, Literal

from utcp.wire import Segment, checksum, encode, ip

Stack = Literal["utcp", "kernel"]

_UDP: Final = Struct("!HHHH")
_ICMP: Final = Struct("!BBHHH")
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
            return ip.build(source, self.server, 0, whole)
        header = _UDP.pack(udp_port, self.udp_port, _UDP.size + len(octets), 0)
        return ip.build(source, self.server, 0, header + octets, ip.UDP)

    def unreachable(
        self, router: bytes, code: int, victim: bytes, victim_udp_port: int, segment: Segment, mtu: int = 0
    ) -> bytes:
        """An ICMP message from `router`: the server's `segment` to `victim` could not be delivered."""
        quoted = encode(segment)[:_QUOTED_OF_SEGMENT]
        if self.stack == "kernel":
            inner = ip.build(self.server, victim, 0, quoted)
        else:
            header = _UDP.pack(self.udp_port, victim_udp_port, _UDP.size + 64, 0)
            inner = ip.build(self.server, victim, 0, header + quoted, ip.UDP)
        body = _ICMP.pack(UNREACHABLE, code, 0, 0, mtu) + inner
        total = checksum.internet_checksum(body)
        return ip.build(router, self.server, 0, body[:2] + total.to_bytes(2, "big") + body[4:], ip.ICMP)

    def read(self, packet: bytes) -> tuple[int, bytes] | None:
        """The UDP port (0 for the kernel's TCP) and the octets that a packet of the server's carries, segments or a
        train of them; None for anything else."""
        start = (packet[0] & 0x0F) * 4
        if self.stack == "kernel":
            return (0, packet[start:]) if packet[9] == checksum.PROTOCOL else None
        if packet[9] != ip.UDP:
            return None
        source, destination, _, _ = _UDP.unpack_from(packet, start)
        return (destination, packet[start + _UDP.size :]) if source == self.udp_port else None
