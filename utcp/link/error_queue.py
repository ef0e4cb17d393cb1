"""The error queue of a UDP socket (Linux, IP_RECVERR), with the ICMP errors about its datagrams.

An ICMP error has two effects on such a socket. It is added to the queue, and the next send or receive fails once, also
if it concerns another remote. The failed call shows that the queue has entries. Until the queue is empty, epoll always
reports EPOLLERR.
"""

import errno
import socket
from collections.abc import Callable
from typing import Final, NamedTuple

from utcp.link import sockopt
from utcp.link.base import MAX_PATH_ERRORS, QUOTED, PathError
from utcp.link.path import SocketAddress
from utcp.tcp.transmit import Remote
from utcp.wire.ip import IPV4_SMALLEST_MTU, IPV6_SMALLEST_MTU

_ORIGIN_ICMP: Final = 2
_ORIGIN_ICMPV6: Final = 3
_IN6_ADDRESS: Final = 16

_MAX_DROPPED: Final = 4096
"""Maximum number of entries discarded at once, some milliseconds of work."""

_SMALLEST_MTU: Final = {socket.AF_INET: IPV4_SMALLEST_MTU, socket.AF_INET6: IPV6_SMALLEST_MTU}

NameRemote = Callable[[SocketAddress, str | None], Remote | None]
"""Returns the remote for a datagram's destination and its local address (None: unknown)."""


class Reading(NamedTuple):
    """The result of `read()`: the errors with a known remote, the number of discarded entries, whether any entry was an
    ICMP error (also for an unknown remote), and whether the queue is empty now."""

    errors: list[PathError]
    dropped: int
    has_icmp: bool
    emptied: bool


def read(sock: socket.socket, name_remote: NameRemote, limit: int = MAX_PATH_ERRORS) -> Reading:
    """Read up to `limit` entries, and discard those after them, up to a limit.

    The queue is emptied because each removal of an entry makes the next call on the socket fail if there is another
    one, and because entries occupy the receive buffer, where they would displace datagrams.

    Errors of the kernel itself are skipped, because the send has already failed with them. Entries that exceed the
    buffer for control messages are skipped as well.
    """
    found: list[PathError] = []
    dropped = 0
    has_icmp = False
    try:
        for _ in range(limit):
            quoted, control, flags, destination = sock.recvmsg(QUOTED, sockopt.CONTROL_SIZE, socket.MSG_ERRQUEUE)
            if flags & sockopt.MSG_CTRUNC:
                has_icmp = True  # possibly
                continue
            code, origin, info = sockopt.read_extended_error(control)
            if origin in (_ORIGIN_ICMP, _ORIGIN_ICMPV6):
                has_icmp = True
                found_error = _path_error(sock.family, code, info, quoted, control, destination, name_remote)
                if found_error is not None:
                    found.append(found_error)
        for _ in range(_MAX_DROPPED):
            sock.recv(1, socket.MSG_ERRQUEUE)
            dropped += 1
            has_icmp = True  # possibly
    except BlockingIOError:
        return Reading(found, dropped, has_icmp, True)
    except OSError as error:
        if error.errno in sockopt.MISUSE:
            raise
        # Lack of memory, or a kernel with the option but no queue. Received segments must still be processed.
        return Reading(found, dropped, has_icmp, True)
    return Reading(found, dropped, has_icmp, False)


def _path_error(
    socket_family: int,
    code: int,
    info: int,
    quoted: bytes,
    control: list[sockopt.ControlMessage],
    destination: SocketAddress,
    name_remote: NameRemote,
) -> PathError | None:
    local: str | None = None
    for level, kind, value in control:
        # Only the message of the socket's family, because an IPv6 socket may report both for an IPv4 datagram.
        if socket_family == socket.AF_INET6:
            if (level, kind) == (socket.IPPROTO_IPV6, sockopt.IPV6_PKTINFO):
                local = socket.inet_ntop(socket.AF_INET6, value[:_IN6_ADDRESS])
        elif (level, kind) == (socket.IPPROTO_IP, sockopt.IP_PKTINFO):
            # The destination of the ICMP message. The field before it, usually the local address, is 0 here.
            local = socket.inet_ntop(socket.AF_INET, value[8:12])
    remote = name_remote(destination, local)
    if remote is None or not code:
        return None
    mtu = None
    family = sockopt.packet_family(destination)
    if code == errno.EMSGSIZE and info >= _SMALLEST_MTU[family]:
        mtu = sockopt.udp_payload(family, info)
    return PathError(remote, code, mtu, quoted)
