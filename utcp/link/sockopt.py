"""Options and control messages of UDP sockets that not every kernel has. A refused option is not an error.

The constants are Linux's (`linux/udp.h`, `linux/in.h`, `linux/in6.h`); the `socket` module has few of them. On other
systems the same numbers have other meanings, so Linux-only options are not used there.
"""

import errno
import socket
import sys
from functools import lru_cache
from struct import Struct
from typing import Final, TypeAlias

from utcp.link import netlink

ControlMessage: TypeAlias = tuple[int, int, bytes]
SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""`(host, port)` for IPv4, `(host, port, flowinfo, scope_id)` for IPv6; the host is numeric."""

SOL_UDP: Final = 17
UDP_SEGMENT: Final = 103  # Linux 4.18
UDP_GRO: Final = 104  # Linux 5.0
IP_TOS: Final = 1
IP_OPTIONS: Final = 4
IP_PKTINFO: Final = 8
IP_MTU_DISCOVER: Final = 10
IP_RECVERR: Final = 11
IP_RECVTOS: Final = 13
IP_MTU: Final = 14
IPV6_MTU_DISCOVER: Final = 23
IPV6_MTU: Final = 24
IPV6_RECVERR: Final = 25
IPV6_RECVPKTINFO: Final = 49
IPV6_PKTINFO: Final = 50
IPV6_RECVTCLASS: Final = 66
IPV6_TCLASS: Final = 67
UDP_CORK: Final = 1
SO_SNDBUFFORCE: Final = 32
SO_RCVBUFFORCE: Final = 33
PMTUDISC_PROBE: Final = 3

IS_LINUX: Final = sys.platform == "linux"

MISUSE: Final = frozenset({errno.EBADF, errno.ENOTSOCK})
"""Errors of calls on a closed descriptor or one that is not a socket. They are bugs, so they are always raised."""

WILDCARDS: Final = frozenset({"0.0.0.0", "::"})
"""The wildcard addresses."""

MAX_TRAIN_SEGMENTS: Final = 64
"""Maximum datagrams in one UDP_SEGMENT call: UDP_MAX_SEGMENTS before Linux 6.9 (128 since)."""

MAX_TRAIN_BYTES: Final = 65507
"""Maximum payload of one UDP_SEGMENT call, octets: an IPv4 packet of 65535 less its headers (IPv6: 20 more)."""

RECEIVE_SIZE: Final = 65536
"""Size of a receive buffer, octets. UDP's length field has 16 bits, so no datagram or train is larger."""

CONTROL_SIZE: Final = 1024
"""Room for the control messages of one receive, octets. Those that a link enables take 152: a segment size 24, PKTINFO
of both IP versions 40 and 32, traffic class 24 and TOS 24. The rest is for messages that the socket's former owner may
have enabled, such as timestamps, TTLs and IP options."""

MSG_CTRUNC: Final = int(getattr(socket, "MSG_CTRUNC", 0))
MSG_TRUNC: Final = int(getattr(socket, "MSG_TRUNC", 0))

_NATIVE_INT: Final = Struct("=i")
_NATIVE_U16: Final = Struct("=H")
_IN_PKTINFO: Final = Struct(
    "=i4s4s"
)  # interface, our address (in a message sent: the source), destination in the header
_IN6_PKTINFO: Final = Struct("=16si")  # destination in the header (in a message sent: the source), interface

# struct sock_extended_err (linux/errqueue.h): errno, origin, type, code, padding, info (the MTU), data.
_EXTENDED_ERROR: Final = Struct("=IBBBBII")
_ERROR_KINDS: Final = ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR))
_ORIGIN_LOCAL: Final = 1

_NO_OPERATIONS: Final = bytes((1, 1, 1, 0))
"""IP options without effect. With them, the largest UDP datagram exceeds the size of an IPv4 packet."""
_TOO_LARGE: Final = bytes(65507)
"""Payload that is too large for every interface, over IPv6 because of its header, over IPv4 with _NO_OPERATIONS."""

_MAPPED_PREFIX: Final = bytes(10) + b"\xff\xff"  # RFC 4291 2.5.5.2

_UDP_HEADER: Final = 8
_IP_HEADER: Final = {socket.AF_INET: 20, socket.AF_INET6: 40}
_DEFAULT_MTU: Final = 1500


def is_connected(sock: socket.socket) -> bool:
    """Return whether the socket has a peer."""
    try:
        sock.getpeername()
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            return False
        raise
    return True


def can_segment(sock: socket.socket) -> bool:
    """Return whether one send can carry a train of datagrams (UDP generic segmentation offload)."""
    return IS_LINUX and _set(sock, SOL_UDP, UDP_SEGMENT, 0)


def receive_trains(sock: socket.socket, wanted: bool = True) -> bool:
    """Turn UDP generic receive offload on or off. With it, equal-sized datagrams are received as one train.

    Returns whether it is on.
    """
    return IS_LINUX and _set(sock, SOL_UDP, UDP_GRO, int(wanted)) and wanted


def send_at_once(sock: socket.socket) -> None:
    """Turn UDP_CORK off, which the socket's former owner may have set."""
    if IS_LINUX:
        _set(sock, SOL_UDP, UDP_CORK, 0)


def takes_ipv4(sock: socket.socket) -> bool:
    """Return whether the socket carries IPv4 datagrams."""
    return sock.family == socket.AF_INET or not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def report_local_address(sock: socket.socket) -> bool:
    """Enable control messages with the local address of each datagram, so that replies can leave from there.

    Returns whether the kernel supports them.
    """
    if not IS_LINUX:
        return False
    # Also on an IPv6 socket, because only IPv4's message shows that an IPv4 datagram was sent to a broadcast address.
    ipv4 = _set(sock, socket.IPPROTO_IP, IP_PKTINFO, 1)
    return _set(sock, socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) if sock.family == socket.AF_INET6 else ipv4


def report_ecn(sock: socket.socket) -> bool:
    """Enable control messages with the TOS octet or traffic class of each datagram. Return whether that works.

    A train has a single value, because the kernel joins no datagrams with different ones (it compares them in
    inet_gro_flush() and similar functions).
    """
    if not IS_LINUX:
        return False
    ipv4 = _set(sock, socket.IPPROTO_IP, IP_RECVTOS, 1)  # also on an IPv6 socket, which may carry IPv4
    return _set(sock, socket.IPPROTO_IPV6, IPV6_RECVTCLASS, 1) if sock.family == socket.AF_INET6 else ipv4


def report_errors(sock: socket.socket) -> bool:
    """Enable the error queue, for ICMP errors about sent datagrams (`utcp.link.error_queue`). Return whether that
    works."""
    if not IS_LINUX:
        return False
    ipv4 = _set(sock, socket.IPPROTO_IP, IP_RECVERR, 1)
    return _set(sock, socket.IPPROTO_IPV6, IPV6_RECVERR, 1) if sock.family == socket.AF_INET6 else ipv4


def discover_path_mtu(sock: socket.socket) -> None:
    """Send datagrams with DF, never in fragments, up to the MTU of the interface (IP_PMTUDISC_PROBE).

    The stack determines the path MTU, from ICMP errors that quote a segment in flight, and by probes (RFC 8899). The
    kernel's cached path MTU is ignored, because forged ICMP messages can set it. IP_PMTUDISC_INTERFACE also ignores it,
    but it clears DF over IPv4, and over IPv6 the error queue then has no "packet too big" errors.
    """
    if IS_LINUX:
        _set(sock, socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)  # also on an IPv6 socket
        if sock.family == socket.AF_INET6:
            _set(sock, socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)


def traffic_class(sock: socket.socket) -> dict[int, int]:
    """Return the DSCP of the socket's datagrams for each packet family, as bits of the TOS octet or traffic class.

    The socket's ECN bits are cleared, because the stack sets them for each segment.
    """
    found = {int(socket.AF_INET): 0, int(socket.AF_INET6): 0}
    if IS_LINUX:
        options = [(socket.AF_INET, socket.IPPROTO_IP, IP_TOS)]
        if sock.family == socket.AF_INET6:
            options.append((socket.AF_INET6, socket.IPPROTO_IPV6, IPV6_TCLASS))
        for family, level, option in options:
            value = sock.getsockopt(level, option)
            found[family] = value & ~3
            if value & 3:
                _set(sock, level, option, value & ~3)
    return found


def enlarge_buffers(sock: socket.socket, size: int) -> None:
    """Enlarge both buffers to `size` octets, unless they are larger. Without CAP_NET_ADMIN, Linux silently limits them
    (net.core.rmem_max)."""
    _enlarge(sock, SO_RCVBUFFORCE, socket.SO_RCVBUF, size)
    enlarge_send_buffer(sock, size)


def enlarge_send_buffer(sock: socket.socket, size: int) -> None:
    """Enlarge the send buffer, as `enlarge_buffers` does."""
    _enlarge(sock, SO_SNDBUFFORCE, socket.SO_SNDBUF, size)


def _enlarge(sock: socket.socket, forced: int, plain: int, size: int) -> None:
    if sock.getsockopt(socket.SOL_SOCKET, plain) >= (2 * size if IS_LINUX else size):  # Linux reports twice the size
        return
    if not (IS_LINUX and _set(sock, socket.SOL_SOCKET, forced, size)):
        _set(sock, socket.SOL_SOCKET, plain, size)


def receive_capacity(sock: socket.socket) -> int:
    """Return how many octets of payload in full-sized segments the receive buffer holds without dropping any.

    Linux doubles the requested size, reports the doubled value, and charges the whole kernel buffer of each datagram.
    Measured on loopback, payload fills 98 % of the reported value with trains of 64 KB, 61 % with single datagrams of
    1400 octets, 4 % with those of 32. So half of the value is assumed.
    """
    reported = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    return reported // 2 if IS_LINUX else reported


def prepare_probe(sock: socket.socket) -> None:
    """Set the options that `path_payload` needs."""
    if IS_LINUX:
        discover_path_mtu(sock)
        report_errors(sock)
        if takes_ipv4(sock):
            _set(sock, socket.IPPROTO_IP, IP_OPTIONS, _NO_OPERATIONS)


def path_payload(sock: socket.socket) -> int:
    """Return the largest UDP payload of one packet on the route of a connected socket (`prepare_probe`), octets.

    It follows from the MTU of the interface, or of the route if that is less. The kernel's cached path MTU is the same,
    unless an ICMP message has changed it. Only if it differs from the interface's, the configured MTU is read by
    netlink, which takes five more system calls.
    """
    if not IS_LINUX:
        return default_payload(sock.family)
    mtu = cached_path_mtu(sock)
    if mtu < 65535:  # else the route is over loopback
        interface = _interface_mtu(sock)
        if interface is not None and interface != mtu:
            configured = _configured_mtu(sock)
            mtu = interface if configured is None else configured
    # Limited by the length fields: loopback's 65536 becomes 65535 for IPv4, a payload of 65507. For IPv6 the payload is
    # 65488; 65527 would be sent in two fragments.
    return udp_payload(sock.family, min(mtu, 65535) if sock.family == socket.AF_INET else mtu)


def _interface_mtu(sock: socket.socket) -> int | None:
    """Return the MTU of the interface to the peer, octets; None if the kernel does not report it.

    The kernel refuses a datagram that is too large for any interface, and reports the MTU with the error.
    """
    try:
        sock.send(_TOO_LARGE)
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            return None
    try:
        while True:
            _, control, _, _ = sock.recvmsg(0, CONTROL_SIZE, socket.MSG_ERRQUEUE)
            code, origin, info = read_extended_error(control)
            if (code, origin) == (errno.EMSGSIZE, _ORIGIN_LOCAL):
                is_ipv4 = packet_family(sock.getpeername()) == socket.AF_INET
                return info + len(_NO_OPERATIONS) if is_ipv4 else info
    except OSError:
        return None


def _configured_mtu(sock: socket.socket) -> int | None:
    peer = sock.getpeername()
    family = packet_family(peer)
    host, local = unmapped(peer[0].partition("%")[0]), unmapped(sock.getsockname()[0].partition("%")[0])
    return netlink.configured_mtu(family, host, local, peer[3] if len(peer) == 4 else 0)


def cached_path_mtu(sock: socket.socket) -> int:
    """Return the kernel's cached path MTU of a connected socket, octets. Forged ICMP messages can change it."""
    if sock.family == socket.AF_INET6:
        return sock.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)
    return sock.getsockopt(socket.IPPROTO_IP, IP_MTU)


def udp_payload(family: int, mtu: int) -> int:
    """Return the largest UDP payload in an IP packet of `mtu` octets without options or extension headers."""
    return mtu - _IP_HEADER[socket.AddressFamily(family)] - _UDP_HEADER


def default_payload(family: int) -> int:
    """Return the largest UDP payload on an Ethernet, octets: 1472 for IPv4, 1452 for IPv6."""
    return udp_payload(family, _DEFAULT_MTU)


def packet_family(peer: SocketAddress) -> socket.AddressFamily:
    """Return the family of packets to `peer`, which is IPv4 for the IPv4-mapped peer of an IPv6 socket."""
    is_mapped = peer[0].startswith("::ffff:") and "." in peer[0]
    return socket.AF_INET6 if len(peer) == 4 and not is_mapped else socket.AF_INET


def unmapped(host: str) -> str:
    """Return the IPv4 address of an IPv4-mapped IPv6 address (RFC 4291 2.5.5.2), and any other host unchanged."""
    if ":" not in host:
        return host
    try:
        octets = socket.inet_pton(socket.AF_INET6, host)
    except OSError:  # an address with a scope
        return host
    return socket.inet_ntop(socket.AF_INET, octets[12:]) if octets.startswith(_MAPPED_PREFIX) else host


def is_ours(host: str, scope_id: int = 0) -> bool:
    """Return whether the numeric address `host` belongs to this machine, so that a socket can be bound to it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0, 0, scope_id) if family == socket.AF_INET6 else (host, 0))
    except OSError:
        return False
    return True


def segment_size_message(segment_size: int) -> ControlMessage:
    """Return the control message that splits a sent payload into datagrams of `segment_size` octets."""
    return SOL_UDP, UDP_SEGMENT, _NATIVE_U16.pack(segment_size)


def read_segment_size(value: bytes) -> int:
    """Return the datagram size that UDP_GRO reports with a train, octets."""
    size: int = _NATIVE_INT.unpack(value)[0]
    return size


@lru_cache(maxsize=8)
def traffic_class_message(family: int, value: int) -> ControlMessage:
    """Return the control message with the TOS octet or traffic class of a sent datagram. `family` is the packet's, not
    the socket's."""
    if family == socket.AF_INET6:
        return socket.IPPROTO_IPV6, IPV6_TCLASS, _NATIVE_INT.pack(value)
    return socket.IPPROTO_IP, IP_TOS, _NATIVE_INT.pack(value)


def read_ecn(value: bytes) -> int:
    """Return the ECN bits of IPv4's TOS octet or IPv6's traffic class, which is an int."""
    return (value[0] | value[-1]) & 3  # one of them is 0 in an int, depending on the byte order


@lru_cache(maxsize=1024)
def source_message(family: int, local: str) -> ControlMessage:
    """Return the control message with the source address of a sent datagram. Routing (or a scope id) determines the
    interface."""
    address = socket.inet_pton(family, local)
    if family == socket.AF_INET6:
        return socket.IPPROTO_IPV6, IPV6_PKTINFO, _IN6_PKTINFO.pack(address, 0)
    return socket.IPPROTO_IP, IP_PKTINFO, _IN_PKTINFO.pack(0, address, bytes(4))


@lru_cache(maxsize=1024)
def read_local_address(level: int, value: bytes) -> str | None:
    """Return the local address to which a datagram was sent, from its PKTINFO; None for a broadcast or multicast
    address, which TCP must ignore (RFC 9293 3.9.2.3, MUST-57)."""
    if level == socket.IPPROTO_IPV6:
        destination, _interface = _IN6_PKTINFO.unpack(value)
        return None if destination[0] == 0xFF else socket.inet_ntop(socket.AF_INET6, destination)
    _interface, own, destination = _IN_PKTINFO.unpack(value)
    return socket.inet_ntop(socket.AF_INET, own) if own == destination else None


def read_extended_error(control: list[ControlMessage]) -> tuple[int, int, int]:
    """Return errno, origin and info (for EMSGSIZE, the MTU) of an entry of the error queue; zeros if the entry has no
    such message."""
    for level, kind, value in control:
        if (level, kind) in _ERROR_KINDS:
            code, origin, _, _, _, info, _ = _EXTENDED_ERROR.unpack_from(value)
            return code, origin, info
    return 0, 0, 0


def _set(sock: socket.socket, level: int, option: int, value: int | bytes) -> bool:
    """Set an option. Return whether the kernel has accepted it."""
    try:
        sock.setsockopt(level, option, value)
    except OSError as error:
        if error.errno == errno.EBADF:
            raise
        return False
    return True
