"""A UDP socket's error queue (Linux, IP_RECVERR): what ICMP has said about the datagrams that it sent.

An ICMP message does two things to such a socket. It joins the queue, and it leaves an error with the socket that the
next send or receive reports instead of doing its work, once; whoever it was about. The first is what one wants to know,
the second is how one notices. Until the queue is empty, epoll reports EPOLLERR, whatever it was asked for.
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
"""Entries thrown away at once, some milliseconds of work."""

_SMALLEST_MTU: Final = {socket.AF_INET: IPV4_SMALLEST_MTU, socket.AF_INET6: IPV6_SMALLEST_MTU}

NameRemote = Callable[[SocketAddress, str | None], Remote | None]
"""From a datagram's destination and the address of ours that it left from (None: not told) to the remote's name."""


class Reading(NamedTuple):
    """What was in the queue: the errors whose remotes have a name here, how many were thrown away unread, whether any
    entry was an ICMP message (with or without such a name), and whether the queue is empty now."""

    errors: list[PathError]
    dropped: int
    has_icmp: bool
    emptied: bool


def read(sock: socket.socket, name_remote: NameRemote, limit: int = MAX_PATH_ERRORS) -> Reading:
    """Empty the queue, within bounds: understand `limit` entries, and throw away what is behind them.

    It is emptied because taking an entry makes the next call on the socket fail as long as another one is behind it,
    and because entries use up the socket's receive buffer, from which they would drive out datagrams.

    Errors of the kernel itself are left out, because the send that they are about has failed with them. So are entries
    that did not fit into the buffer for control messages.
    """
    found: list[PathError] = []
    dropped = 0
    has_icmp = False
    try:
        for _ in range(limit):
            quoted, control, flags, destination = sock.recvmsg(QUOTED, sockopt.CONTROL_SIZE, socket.MSG_ERRQUEUE)
            if flags & sockopt.MSG_CTRUNC:
                has_icmp = True  # for all that is known
                continue
            code, origin, info = sockopt.read_extended_error(control)
            if origin in (_ORIGIN_ICMP, _ORIGIN_ICMPV6):
                has_icmp = True
                told = _understand(sock.family, code, info, quoted, control, destination, name_remote)
                if told is not None:
                    found.append(told)
        for _ in range(_MAX_DROPPED):
            sock.recv(1, socket.MSG_ERRQUEUE)
            dropped += 1
            has_icmp = True  # for all that is known
    except BlockingIOError:
        return Reading(found, dropped, has_icmp, True)
    except OSError as error:
        if error.errno in sockopt.MISUSE:
            raise
        # Want of memory, or a kernel that has the option and no queue. Segments that have arrived must not suffer.
        return Reading(found, dropped, has_icmp, True)
    return Reading(found, dropped, has_icmp, False)


def _understand(
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
        # Only the message of the socket's own family: an IPv6 socket may bring both for an IPv4 datagram.
        if socket_family == socket.AF_INET6:
            if (level, kind) == (socket.IPPROTO_IPV6, sockopt.IPV6_PKTINFO):
                local = socket.inet_ntop(socket.AF_INET6, value[:_IN6_ADDRESS])
        elif (level, kind) == (socket.IPPROTO_IP, sockopt.IP_PKTINFO):
            # The ICMP message's destination; the octets before it, otherwise our address, are 0 here.
            local = socket.inet_ntop(socket.AF_INET, value[8:12])
    remote = name_remote(destination, local)
    if remote is None or not code:
        return None
    mtu = None
    family = sockopt.packet_family(destination)
    if code == errno.EMSGSIZE and info >= _SMALLEST_MTU[family]:
        mtu = sockopt.udp_payload(family, info)
    return PathError(remote, code, mtu, quoted)
