"""Decoding of ICMP and ICMPv6 errors about a TCP segment of ours (RFC 792, RFC 1191, RFC 4443)."""

import errno
from typing import Final, NamedTuple

from utcp.wire.checksum import PROTOCOL, internet_checksum
from utcp.wire.ip import ICMPV6, IPV4_HEADER_LENGTH, IPV6_HEADER_LENGTH

_HEADER_LENGTH: Final = 8
_PORTS_AND_SEQUENCE: Final = 8
"""Octets of the segment that a router quotes at least (RFC 792), which identify the connection."""

_UNREACHABLE, _TIME_EXCEEDED, _PARAMETER_PROBLEM = 3, 11, 12
_UNREACHABLE_V6, _TOO_BIG_V6, _TIME_EXCEEDED_V6, _PARAMETER_PROBLEM_V6 = 1, 2, 3, 4

# Linux's errno for each code. The codes from 6 on are defined in RFC 1122 and RFC 1812.
_IPV4_UNREACHABLE: Final = (
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENOPROTOOPT,
    errno.ECONNREFUSED,
    errno.EMSGSIZE,
    errno.EOPNOTSUPP,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    getattr(errno, "ENONET", errno.EHOSTUNREACH),
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.EHOSTUNREACH,
    errno.EHOSTUNREACH,
    errno.EHOSTUNREACH,
)
_IPV6_UNREACHABLE: Final = (
    errno.ENETUNREACH,
    errno.EACCES,
    errno.EHOSTUNREACH,
    errno.EHOSTUNREACH,
    errno.ECONNREFUSED,
    errno.EACCES,
    errno.EACCES,
)


class MalformedMessage(ValueError):
    """The message is too short for its type, or its checksum is wrong."""


class ForeignMessage(ValueError):
    """The message is not an error about a TCP segment, but an echo, a neighbour solicitation, a source quench (which is
    ignored, RFC 9293 MUST-55) or the like."""


class IcmpError(NamedTuple):
    """An ICMP error about a TCP segment."""

    errno: int
    """Linux's errno for the error."""
    mtu: int | None
    """MTU of the next hop, octets; None unless `errno` is EMSGSIZE and the message contains it."""
    source: bytes
    """Source address of the segment."""
    destination: bytes
    """Destination address of the segment."""
    quoted: bytes
    """Beginning of the segment, 8 octets or more."""


def parse(source: bytes, destination: bytes, message: bytes) -> IcmpError:
    """Decode the ICMP message in a packet from `source` to `destination`, addresses of 4 or 16 octets.

    The quoted packet may be truncated. Raises MalformedMessage, ForeignMessage.
    """
    version = 6 if len(source) == 16 else 4
    if len(message) < _HEADER_LENGTH:
        raise MalformedMessage("length")
    summed = message
    if version == 6:  # RFC 4443 2.3
        summed = source + destination + len(message).to_bytes(4, "big") + bytes((0, 0, 0, ICMPV6)) + message
    if internet_checksum(summed + bytes(len(summed) & 1)):
        raise MalformedMessage("checksum")
    kind, code = message[0], message[1]
    if version == 6:
        error = _ipv6_error(kind, code)
        mtu = int.from_bytes(message[4:8], "big")
    else:
        error = _ipv4_error(kind, code)
        mtu = int.from_bytes(message[6:8], "big")
    if error is None:
        raise ForeignMessage
    return IcmpError(
        error, mtu or None if error == errno.EMSGSIZE else None, *_quoted(version, message[_HEADER_LENGTH:])
    )


def _ipv4_error(kind: int, code: int) -> int | None:
    if kind == _UNREACHABLE:
        return _IPV4_UNREACHABLE[code] if code < len(_IPV4_UNREACHABLE) else None
    if kind == _TIME_EXCEEDED:
        return errno.EHOSTUNREACH
    return errno.EPROTO if kind == _PARAMETER_PROBLEM else None


def _ipv6_error(kind: int, code: int) -> int | None:
    if kind == _UNREACHABLE_V6:
        return _IPV6_UNREACHABLE[code] if code < len(_IPV6_UNREACHABLE) else None
    if kind == _TOO_BIG_V6:
        return errno.EMSGSIZE
    if kind == _TIME_EXCEEDED_V6:
        return errno.EHOSTUNREACH
    return errno.EPROTO if kind == _PARAMETER_PROBLEM_V6 else None


def _quoted(version: int, packet: bytes) -> tuple[bytes, bytes, bytes]:
    """Return source, destination and the rest of the segment of a quoted packet.

    Its lengths and its header checksum are ignored, because a router may have changed the data that they cover.
    """
    if not packet or packet[0] >> 4 != version:
        raise MalformedMessage("quoted version")
    if version == 6:
        start, inner, addresses, width = IPV6_HEADER_LENGTH, 6, 8, 16
    else:
        start, inner, addresses, width = (packet[0] & 0x0F) * 4, 9, 12, 4
    if start < IPV4_HEADER_LENGTH or len(packet) < start + _PORTS_AND_SEQUENCE:
        raise MalformedMessage("quoted length")
    if packet[inner] != PROTOCOL:
        raise ForeignMessage
    between = addresses + width
    return packet[addresses:between], packet[between : between + width], packet[start:]
