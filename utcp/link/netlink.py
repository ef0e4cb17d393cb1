"""The configured MTU of a route (Linux).

A connected socket's IP_MTU is the path MTU that the kernel has cached. A forged ICMP message can set it (RFC 5927 7),
because the kernel checks only the addresses and ports of the quote.

No request here waits for RTNL, the lock of the network configuration, which another process may hold for seconds. Since
Linux 4.14, netlink requests about routes do not take it. Those about interfaces do, so the MTU of an interface is read
by SIOCGIFMTU and from /proc.
"""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Final

try:
    from fcntl import ioctl
except ImportError:  # Windows, which has no netlink either
    ioctl = None  # type: ignore[assignment]

# From linux/netlink.h, linux/rtnetlink.h and linux/sockios.h.
_HEADER: Final = Struct("=IHHII")  # length, type, flags, sequence number, port
_ATTRIBUTE: Final = Struct("=HH")  # length, type
_ROUTE: Final = Struct("=BBBBBBBBI")  # family, two prefix lengths, TOS, table, protocol, scope, type, flags
_ROUTE_TYPE: Final = 7  # its offset, octets
_NEXT_HOP: Final = Struct("=HBBi")  # length, flags, hops, interface
_U32: Final = Struct("=I")
_I32: Final = Struct("=i")
_GET_MTU: Final = 0x8921  # SIOCGIFMTU
_INTERFACE: Final = Struct("=16si20x")  # struct ifreq: name, MTU

_NETLINK_ROUTE: Final = 0
_REQUEST: Final = 1
_GET_ROUTE, _NEW_ROUTE = 26, 24
_FIB_MATCH: Final = 0x2000  # the configured route, without the cached path MTU
_ROUTE_DESTINATION, _ROUTE_SOURCE, _ROUTE_INTERFACE, _ROUTE_METRICS, _ROUTE_MULTIPATH = 1, 2, 4, 8, 9
_METRIC_MTU: Final = 2
_TYPE_LOCAL: Final = 2
_NESTED: Final = 0x8000
_LOOPBACK: Final = 1  # the interface's number in every network namespace

_MAX_MESSAGE: Final = 65536

_Attribute = tuple[int, bytes]


def configured_mtu(family: int, host: str, local: str, scope_id: int) -> int | None:
    """Return the MTU from the local address `local` to `host`, octets: that of the interface, or of the route if that
    is less. None if the kernel does not report it.

    Addresses are numeric and of the given family.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_ROUTE) as sock:
            return _route_mtu(sock, family, host, local, scope_id)
    except OSError:
        return None


def _route_mtu(sock: socket.socket, family: int, host: str, local: str, scope_id: int) -> int | None:
    destination, source = socket.inet_pton(family, host), socket.inet_pton(family, local)
    bits = 8 * len(destination)
    question = _ROUTE.pack(family, bits, bits, 0, 0, 0, 0, 0, _FIB_MATCH)
    question += _attribute(_ROUTE_DESTINATION, destination) + _attribute(_ROUTE_SOURCE, source)
    if scope_id:
        question += _attribute(_ROUTE_INTERFACE, _U32.pack(scope_id))
    answer = _ask(sock, _GET_ROUTE, _NEW_ROUTE, question)
    if answer is None:
        return None
    interfaces: list[int] = []
    mtus: list[int] = []
    for kind, value in _attributes(answer, _ROUTE.size):
        if kind == _ROUTE_INTERFACE:
            interfaces.append(_I32.unpack_from(value)[0])
        elif kind == _ROUTE_MULTIPATH:
            interfaces += _next_hops(value)
        elif kind == _ROUTE_METRICS:
            mtus += [_U32.unpack_from(metric)[0] for name, metric in _attributes(value) if name == _METRIC_MTU]
    if answer[_ROUTE_TYPE] == _TYPE_LOCAL:
        interfaces = [_LOOPBACK]  # not the interface that has the address
    mtus += [_interface_mtu(sock, family, interface) for interface in interfaces]
    return min((mtu for mtu in mtus if mtu), default=None)


def _interface_mtu(sock: socket.socket, family: int, index: int) -> int:
    """Return the MTU of an interface. Raises OSError if there is no such interface."""
    name = socket.if_indextoname(index)
    mtu: int = _INTERFACE.unpack(ioctl(sock, _GET_MTU, _INTERFACE.pack(os.fsencode(name), 0)))[1]
    return min(mtu, _ipv6_mtu(name) or mtu) if family == socket.AF_INET6 else mtu


def _ipv6_mtu(name: str) -> int | None:
    """Return the interface's MTU for IPv6, which a router may have advertised (RFC 4861 4.6.4), or None."""
    try:
        return int(Path("/proc/sys/net/ipv6/conf", name, "mtu").read_bytes())
    except (OSError, ValueError):
        return None


def _next_hops(value: bytes) -> Iterator[int]:
    """Yield the interfaces of a route with several next hops."""
    start = 0
    while start + _NEXT_HOP.size <= len(value):
        length, _, _, interface = _NEXT_HOP.unpack_from(value, start)
        yield interface
        start += max(_aligned(length), _NEXT_HOP.size)


def _ask(sock: socket.socket, question: int, answer: int, body: bytes) -> bytes | None:
    """Return the body of the kernel's answer, or None for an error. The kernel answers before send() returns."""
    sock.send(_HEADER.pack(_HEADER.size + len(body), question, _REQUEST, 0, 0) + body)
    data = sock.recv(_MAX_MESSAGE)
    length, kind, _, _, _ = _HEADER.unpack_from(data)
    return data[_HEADER.size : length] if kind == answer else None


def _attribute(kind: int, value: bytes) -> bytes:
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + bytes(_aligned(size) - size)


def _attributes(data: bytes, start: int = 0) -> Iterator[_Attribute]:
    while start + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, start)
        if size < _ATTRIBUTE.size:
            return
        yield kind & ~_NESTED, data[start + _ATTRIBUTE.size : start + size]
        start += _aligned(size)


def _aligned(size: int) -> int:
    return (size + 3) & ~3
