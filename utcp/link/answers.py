"""A second socket on a link's port, for what is sent to strangers (Linux).

The kernel charges a datagram to the send buffer of its socket until the datagram has left the host. One for an address
of the local network that nobody has waits up to three seconds for ARP. If answers to strangers left by the same socket
as the segments of connections, forged SYNs from such addresses could fill its buffer, and no connection could send. So
answers have a buffer of their own.
"""

import errno
import socket
from typing import Final

from utcp.link import sockopt

SEND_BUFFER: Final = 256 * 1024
"""Octets asked for; Linux grants twice as many. Each answer is charged about 1280, so there is room for 400.

The kernel keeps what waits in the buffer of a socket that was closed. With ten new buffers a second and three seconds
of ARP, that is 30 buffers and 16 MB at most: it bounds the kernel memory that forged SYNs can take."""

_SILENT_PORT: Final = 4
"""The UDP port of this host that the second socket is connected to. IANA has assigned it to nothing. Should somebody
use it on this host, no datagram from there would reach the link, and no ICMP error about one that was sent there."""

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


def open_beside(sock: socket.socket) -> socket.socket | None:
    """Return a socket with the address and the options of `sock` that receives nothing, or None where the system cannot
    have one.

    It receives nothing because it is connected: the kernel gives it only what comes from its peer, a port of this host
    from which nothing is sent. Two sockets may have one address if both have SO_REUSEPORT while the second is bound,
    and one user owns both. Afterwards the option is again what it was, so that no third socket can be bound there.

    ICMP errors about what it sends are reported to `sock`, which would receive the answer.
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
        second.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # the kernel makes it the smallest possible
        _copy_options(sock, second)
        sockopt.discover_path_mtu(second)
        second.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # the system's default may be larger
        sockopt.enlarge_send_buffer(second, SEND_BUFFER)
        if not _is_free(second, address):
            _share_address(sock, second, address)
            return second
        # Else `sock` belongs to another network namespace.
    except OSError:  # the system or its administrator does not want it
        pass
    except BaseException:
        second.close()
        raise
    second.close()
    return None


def _is_grouped(sock: socket.socket, address: sockopt.SocketAddress) -> bool:
    """Whether the kernel would take the second socket for one that shares what `sock` receives. Sockets with
    SO_REUSEPORT are a group if they have one address. The second one leaves it when connect() changes its address from
    the wildcard; on another address, later sockets would form a group with it, and nothing would reach `sock`."""
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)) and address[0] not in sockopt.WILDCARDS


def _share_address(sock: socket.socket, second: socket.socket, address: sockopt.SocketAddress) -> None:
    shared = sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
    second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        second.bind(address)
        second.connect(_silent_peer(address))  # at once: until then it may be given datagrams
    finally:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
    second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)


def _silent_peer(address: sockopt.SocketAddress) -> sockopt.SocketAddress:
    """An address of this host that `address` can reach."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])
    return (host, _SILENT_PORT) if len(address) == 2 else (host, _SILENT_PORT, 0, address[3])


def _is_free(sock: socket.socket, address: sockopt.SocketAddress) -> bool:
    """Whether the address could be bound; `sock` is bound to it then."""
    try:
        sock.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise
    return True


def _copy_options(sock: socket.socket, second: socket.socket) -> None:
    """Have `second` send as `sock` does. Raises OSError when it must not."""
    options = [(socket.SOL_SOCKET, _SO_BINDTOIFINDEX), (socket.SOL_SOCKET, _SO_MARK)]
    options += [(socket.IPPROTO_IP, option) for option in _IP]
    if sock.family == socket.AF_INET6:
        options.append((socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
        options += [(socket.IPPROTO_IPV6, option) for option in _IPV6]
    options.append((socket.SOL_SOCKET, socket.SO_PRIORITY))  # IP_TOS has changed it
    for level, option in options:
        try:
            value = sock.getsockopt(level, option)
        except OSError:  # an older kernel
            continue
        if second.getsockopt(level, option) != value:
            second.setsockopt(level, option, value)
