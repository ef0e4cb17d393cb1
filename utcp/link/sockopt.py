"""What a kernel can do for a UDP socket beyond plain datagrams: asked for, and done without where it is refused.

The constants are Linux's (`linux/udp.h`, `linux/in.h`, `linux/in6.h`); the `socket` module names few of them. On other
systems the same numbers mean other things, so nothing Linux-only is tried there.
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
"""Errors of calls on a socket that is closed, or is none: not the network's, and never to be passed over."""

WILDCARDS: Final = frozenset({"0.0.0.0", "::"})
"""The addresses that stand for all of this host's."""

MAX_TRAIN_SEGMENTS: Final = 64
"""Datagrams in one UDP_SEGMENT call: UDP_MAX_SEGMENTS before Linux 6.9 (128 since)."""

MAX_TRAIN_BYTES: Final = 65507
"""Payload of one UDP_SEGMENT call: an IPv4 packet of 65535 octets less its headers (IPv6: 20 more)."""

RECEIVE_SIZE: Final = 65536
"""No datagram and no train is larger: UDP's length field has 16 bits."""

CONTROL_SIZE: Final = 1024
"""Room for the control messages of one receive, in octets. Those that a link asks for take 152: a segment size 24, both
versions' PKTINFO 40 and 32, traffic class and TOS octet 24 and 24. The others are those that the owner of a socket may
have asked for before it became a link's: timestamps, TTLs, IP options and the like."""

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
"""IP options that do nothing. With them the largest UDP datagram is larger than an IPv4 packet can be."""
_TOO_LARGE: Final = bytes(65507)
"""Payload that no interface takes: not over IPv6, whose header is longer, and over IPv4 not with _NO_OPERATIONS."""

_MAPPED_PREFIX: Final = bytes(10) + b"\xff\xff"  # RFC 4291 2.5.5.2

_UDP_HEADER: Final = 8
_IP_HEADER: Final = {socket.AF_INET: 20, socket.AF_INET6: 40}
_DEFAULT_MTU: Final = 1500


def is_connected(sock: socket.socket) -> bool:
    """Whether the socket has a peer."""
    try:
        sock.getpeername()
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            return False
        raise
    return True


def can_segment(sock: socket.socket) -> bool:
    """Whether one send can carry a train of datagrams (UDP generic segmentation offload)."""
    return IS_LINUX and _set(sock, SOL_UDP, UDP_SEGMENT, 0)


def receive_trains(sock: socket.socket, wanted: bool = True) -> bool:
    """Ask for trains of equal-sized datagrams to be received as one (UDP generic receive offload), or not to be.

    Returns whether they are.
    """
    return IS_LINUX and _set(sock, SOL_UDP, UDP_GRO, int(wanted)) and wanted


def send_at_once(sock: socket.socket) -> None:
    """Have each send leave by itself, whatever the socket's former owner asked for."""
    if IS_LINUX:
        _set(sock, SOL_UDP, UDP_CORK, 0)


def takes_ipv4(sock: socket.socket) -> bool:
    """Whether IPv4 datagrams come and go by the socket."""
    return sock.family == socket.AF_INET or not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def report_local_address(sock: socket.socket) -> bool:
    """Ask that each datagram tells to which of our addresses it was sent; a reply can then leave from there."""
    if not IS_LINUX:
        return False
    # Of an IPv6 socket too: only IPv4's message tells that an IPv4 datagram was sent to a broadcast address.
    ipv4 = _set(sock, socket.IPPROTO_IP, IP_PKTINFO, 1)
    return _set(sock, socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) if sock.family == socket.AF_INET6 else ipv4


def report_ecn(sock: socket.socket) -> bool:
    """Ask that each datagram tells its TOS octet or traffic class. A train has one: the kernel joins no datagrams in
    which it differs (inet_gro_flush() and its like compare it)."""
    if not IS_LINUX:
        return False
    ipv4 = _set(sock, socket.IPPROTO_IP, IP_RECVTOS, 1)  # of an IPv6 socket too: it may carry IPv4
    return _set(sock, socket.IPPROTO_IPV6, IPV6_RECVTCLASS, 1) if sock.family == socket.AF_INET6 else ipv4


def report_errors(sock: socket.socket) -> bool:
    """Ask for what ICMP says about what the socket has sent: see `utcp.link.error_queue`."""
    if not IS_LINUX:
        return False
    ipv4 = _set(sock, socket.IPPROTO_IP, IP_RECVERR, 1)
    return _set(sock, socket.IPPROTO_IPV6, IPV6_RECVERR, 1) if sock.family == socket.AF_INET6 else ipv4


def discover_path_mtu(sock: socket.socket) -> None:
    """Have datagrams leave with DF, never in fragments, and as large as the interface takes (IP_PMTUDISC_PROBE).

    What gets through is found by the stack: from ICMP messages that quote a segment under way, and by probes (RFC
    8899). The path MTU that the kernel has cached is ignored, because forged ICMP messages can set it.
    IP_PMTUDISC_INTERFACE ignores it as well, but clears DF over IPv4, and over IPv6 the error queue has no "too big"
    then."""
    if IS_LINUX:
        _set(sock, socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)  # of an IPv6 socket too: it may carry IPv4
        if sock.family == socket.AF_INET6:
            _set(sock, socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)


def traffic_class(sock: socket.socket) -> dict[int, int]:
    """The DSCP that the socket's datagrams are sent with, by the family of the packet, shifted to its place in the TOS
    octet or traffic class. The ECN bits below it are cleared: the stack says for each segment what they are."""
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
    """Ask for `size` octets each way, unless the socket has more; without CAP_NET_ADMIN Linux silently grants less
    (net.core.rmem_max)."""
    _enlarge(sock, SO_RCVBUFFORCE, socket.SO_RCVBUF, size)
    enlarge_send_buffer(sock, size)


def enlarge_send_buffer(sock: socket.socket, size: int) -> None:
    """`enlarge_buffers`, one way."""
    _enlarge(sock, SO_SNDBUFFORCE, socket.SO_SNDBUF, size)


def _enlarge(sock: socket.socket, forced: int, plain: int, size: int) -> None:
    if sock.getsockopt(socket.SOL_SOCKET, plain) >= (2 * size if IS_LINUX else size):  # Linux reports twice the size
        return
    if not (IS_LINUX and _set(sock, socket.SOL_SOCKET, forced, size)):
        _set(sock, socket.SOL_SOCKET, plain, size)


def receive_capacity(sock: socket.socket) -> int:
    """Octets of payload in full-sized segments that the receive buffer holds before it drops.

    Linux doubles the size asked for, returns the doubled figure, and charges each datagram its whole kernel buffer.
    Measured on loopback, payload fills 98 % of the figure returned with trains of 64 KB, 61 % with single datagrams
    of 1400 octets, 4 % with those of 32: half of it is what one can count on.
    """
    reported = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    return reported // 2 if IS_LINUX else reported


def prepare_probe(sock: socket.socket) -> None:
    """Make the socket one that `path_payload` takes."""
    if IS_LINUX:
        discover_path_mtu(sock)
        report_errors(sock)
        if takes_ipv4(sock):
            _set(sock, socket.IPPROTO_IP, IP_OPTIONS, _NO_OPERATIONS)


def path_payload(sock: socket.socket) -> int:
    """The largest UDP payload that leaves in one packet on the route of a connected socket (`prepare_probe`).

    That is what the interface takes, or less if the route has an MTU of its own. The path MTU that the kernel has
    cached is the same unless an ICMP message has changed it. Only where they differ, netlink is asked what is
    configured, because that takes five system calls more.
    """
    if not IS_LINUX:
        return default_payload(sock.family)
    mtu = cached_path_mtu(sock)
    if mtu < 65535:  # else it is loopback's
        interface = _interface_mtu(sock)
        if interface is not None and interface != mtu:
            configured = _configured_mtu(sock)
            mtu = interface if configured is None else configured
    # No more than the length fields can say: loopback's 65536 is 65535 for IPv4, a payload of 65507, and a payload of
    # 65488 for IPv6 (65527 would go, in two fragments).
    return udp_payload(sock.family, min(mtu, 65535) if sock.family == socket.AF_INET else mtu)


def _interface_mtu(sock: socket.socket) -> int | None:
    """Octets of an IP packet that the interface towards the peer takes. The kernel refuses a datagram that is too large
    for any interface, and says what would not have been. None if it does not say."""
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
    """The largest IP packet on a connected socket's path, as the kernel has learned: from anybody's ICMP messages
    too."""
    if sock.family == socket.AF_INET6:
        return sock.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)
    return sock.getsockopt(socket.IPPROTO_IP, IP_MTU)


def udp_payload(family: int, mtu: int) -> int:
    """The largest UDP payload in an IP packet of `mtu` octets without options or extension headers."""
    return mtu - _IP_HEADER[socket.AddressFamily(family)] - _UDP_HEADER


def default_payload(family: int) -> int:
    """The largest UDP payload on an Ethernet, where the kernel does not tell: 1472 for IPv4, 1452 for IPv6."""
    return udp_payload(family, _DEFAULT_MTU)


def packet_family(peer: SocketAddress) -> socket.AddressFamily:
    """The family of the packets that go to `peer`: an IPv6 socket's peer may be an IPv4 address, mapped into IPv6."""
    is_mapped = peer[0].startswith("::ffff:") and "." in peer[0]
    return socket.AF_INET6 if len(peer) == 4 and not is_mapped else socket.AF_INET


def unmapped(host: str) -> str:
    """The IPv4 address that `host` stands for if it is one mapped into IPv6 (RFC 4291 2.5.5.2), else `host` itself."""
    try:
        octets = socket.inet_pton(socket.AF_INET6, host)
    except OSError:  # IPv4, or a name, or with a scope
        return host
    return socket.inet_ntop(socket.AF_INET, octets[12:]) if octets.startswith(_MAPPED_PREFIX) else host


def is_ours(host: str, scope_id: int = 0) -> bool:
    """Whether the numeric address `host` is one of this machine's: a socket can be bound to it then."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0, 0, scope_id) if family == socket.AF_INET6 else (host, 0))
    except OSError:
        return False
    return True


def segment_size_message(segment_size: int) -> ControlMessage:
    """For a send: cut the payload into datagrams of `segment_size` octets."""
    return SOL_UDP, UDP_SEGMENT, _NATIVE_U16.pack(segment_size)


def read_segment_size(value: bytes) -> int:
    """The datagram size that UDP_GRO reports with a train."""
    size: int = _NATIVE_INT.unpack(value)[0]
    return size


@lru_cache(maxsize=8)
def traffic_class_message(family: int, value: int) -> ControlMessage:
    """For a send: the TOS octet or traffic class, DSCP and ECN bits. `family` is that of the packet, not the socket."""
    if family == socket.AF_INET6:
        return socket.IPPROTO_IPV6, IPV6_TCLASS, _NATIVE_INT.pack(value)
    return socket.IPPROTO_IP, IP_TOS, _NATIVE_INT.pack(value)


def read_ecn(value: bytes) -> int:
    """The two ECN bits in IPv4's TOS octet or IPv6's traffic class, which is an int."""
    return (value[0] | value[-1]) & 3  # of the int's octets, the last is 0, or the first is: whichever its order


@lru_cache(maxsize=1024)
def source_message(family: int, local: str) -> ControlMessage:
    """For a send: leave from our address `local`, by the interface that routing (or a scope id) chooses."""
    address = socket.inet_pton(family, local)
    if family == socket.AF_INET6:
        return socket.IPPROTO_IPV6, IPV6_PKTINFO, _IN6_PKTINFO.pack(address, 0)
    return socket.IPPROTO_IP, IP_PKTINFO, _IN_PKTINFO.pack(0, address, bytes(4))


@lru_cache(maxsize=1024)
def read_local_address(level: int, value: bytes) -> str | None:
    """To which of our addresses a datagram was sent, by its PKTINFO; None: to a broadcast or multicast address.

    TCP knows no such destination: RFC 9293 3.9.2.3, MUST-57.
    """
    if level == socket.IPPROTO_IPV6:
        destination, _interface = _IN6_PKTINFO.unpack(value)
        return None if destination[0] == 0xFF else socket.inet_ntop(socket.AF_INET6, destination)
    _interface, own, destination = _IN_PKTINFO.unpack(value)
    return socket.inet_ntop(socket.AF_INET, own) if own == destination else None


def read_extended_error(control: list[ControlMessage]) -> tuple[int, int, int]:
    """The errno, its origin and the number that goes with it (EMSGSIZE: the MTU) of an entry of the error queue; zeros
    if the entry has no such message."""
    for level, kind, value in control:
        if (level, kind) in _ERROR_KINDS:
            code, origin, _, _, _, info, _ = _EXTENDED_ERROR.unpack_from(value)
            return code, origin, info
    return 0, 0, 0


def _set(sock: socket.socket, level: int, option: int, value: int | bytes) -> bool:
    """Whether the kernel took the option."""
    try:
        sock.setsockopt(level, option, value)
    except OSError as error:
        if error.errno == errno.EBADF:
            raise
        return False
    return True
