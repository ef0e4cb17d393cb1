"""A second socket on a link's port, for answers to unverified senders (Linux).

The kernel charges a datagram to the send buffer of its socket until the datagram has left the host. A datagram to an
unused address of the local network waits up to three seconds for ARP. If answers to unverified senders used the socket
of the connections, forged SYNs from such addresses could fill its buffer, and no connection could send. So answers have
their own buffer.
"""

import errno
import socket
from typing import Final

from utcp.link import sockopt

SEND_BUFFER: Final = 256 * 1024
"""Requested size, octets; Linux grants twice as many. Each answer is charged about 1280, so there is room for 400.

The kernel keeps the waiting datagrams of a closed socket. With ten new buffers a second and three seconds of ARP, these
are at most 30 buffers and 16 MB, which limits the kernel memory that forged SYNs can take."""

_SILENT_PORT: Final = 4
"""The UDP port of this host to which the second socket is connected. IANA has not assigned it. If a socket on this host
uses it, datagrams from there do not reach the link, and neither do ICMP errors about datagrams to it."""

# From Linux' asm-generic/socket.h, linux/in.h, linux/in6.h.
_SO_MARK: Final = 36
_SO_BINDTOIFINDEX: Final = 62
_IP_TTL: Final = 2
_IP_FREEBIND: Final = 15
_IP_TRANSPARENT: Final = 19
_IPV6_UNICAST_HOPS: Final = 16
_IPV6_TRANSPARENT: Final = 75
_IPV6_FREEBIND: Final = 78

_IP: Final = (_IP_TTL, sockopt.IP_TOS, _IP_FREEBIND, _IP_TRANSPARENT)
_IPV6: Final = (_IPV6_UNICAST_HOPS, sockopt.IPV6_TCLASS, _IPV6_TRANSPARENT, _IPV6_FREEBIND)


def open_second(sock: socket.socket) -> socket.socket | None:
    """Return a socket with the address and the options of `sock` that receives nothing; None if the system refuses it.

    It receives nothing because it is connected to an unused port of this host, and the kernel passes it only datagrams
    from its peer. Two sockets may have the same address if both have SO_REUSEPORT while the second is bound, and the
    same user owns both. Afterwards the option is restored, so that no third socket can be bound there.

    ICMP errors about its datagrams are reported to `sock`, which would also receive the replies.
    """
    if not sockopt.IS_LINUX:
        return None
    address = sock.getsockname()
    if _is_grouped(sock, address):
        return None
    try:
        second = socket.socket(sock.family, socket.SOCK_DGRAM)
    except OSError:  # out of descriptors
        return None
    try:
        second.setblocking(False)
        second.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # the kernel grants its minimum
        _copy_options(sock, second)
        sockopt.discover_path_mtu(second)
        second.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # the system's default may be larger
        sockopt.enlarge_send_buffer(second, SEND_BUFFER)
        if not _is_free(second, address):
            _share_address(sock, second, address)
            return second
        # Else `sock` belongs to another network namespace.
    except OSError:  # the system refuses it
        pass
    except BaseException:
        second.close()
        raise
    second.close()
    return None


def _is_grouped(sock: socket.socket, address: sockopt.SocketAddress) -> bool:
    """Return whether the kernel would put both sockets into one group, which shares the received datagrams.

    Sockets with SO_REUSEPORT and the same address form a group. On the wildcard address, the second one leaves it when
    connect() changes its address. On any other address, later sockets would form a group with it, and no datagram would
    reach `sock`.
    """
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)) and address[0] not in sockopt.WILDCARDS


def _share_address(sock: socket.socket, second: socket.socket, address: sockopt.SocketAddress) -> None:
    shared = sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
    second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        second.bind(address)
        second.connect(_silent_peer(address))  # at once, because until then it may receive datagrams
    finally:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
    second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)


def _silent_peer(address: sockopt.SocketAddress) -> sockopt.SocketAddress:
    """Return an address of this host that is reachable from `address`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])
    return (host, _SILENT_PORT) if len(address) == 2 else (host, _SILENT_PORT, 0, address[3])


def _is_free(sock: socket.socket, address: sockopt.SocketAddress) -> bool:
    """Bind `sock` to the address. Return False if the address is in use."""
    try:
        sock.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise
    return True


def _copy_options(sock: socket.socket, second: socket.socket) -> None:
    """Copy the options that affect sending. Raises OSError if the system refuses one."""
    options = [(socket.SOL_SOCKET, _SO_BINDTOIFINDEX), (socket.SOL_SOCKET, _SO_MARK)]
    options += [(socket.IPPROTO_IP, option) for option in _IP]
    if sock.family == socket.AF_INET6:
        options.append((socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
        options += [(socket.IPPROTO_IPV6, option) for option in _IPV6]
    options.append((socket.SOL_SOCKET, socket.SO_PRIORITY))  # set after IP_TOS, which changes it
    for level, option in options:
        try:
            value = sock.getsockopt(level, option)
        except OSError:  # an older kernel lacks the option
            continue
        if second.getsockopt(level, option) != value:
            second.setsockopt(level, option, value)
