"""A UDP socket's error queue (Linux, IP_RECVERR): what ICMP has said about the datagrams that it sent.

An ICMP message does two things to such a socket. It joins the queue, and it leaves an error with the socket that the
next send or receive reports instead of doing its work, once; whoever it was about. The first is what one wants to know,
the second is how one notices. Until the queue is empty, epoll reports EPOLLERR, whatever it was asked for.
"""

import errno
import socket
from collections.abc import Callable
from struct import Struct
from typing import Final

from utcp.tcp.transmit import Remote
from utcp.udp import sockopt
from utcp.udp.base import MAX_PATH_ERRORS, QUOTED, PathError
from utcp.udp.path import SocketAddress

_CONTROL_SIZE: Final = 256
"""Room for the control messages: the error with the address of who sent it (64 octets), a PKTINFO, a TOS octet."""

# struct sock_extended_err (linux/errqueue.h): errno, origin, type, code, padding, info (the MTU), data.
_EXTENDED_ERROR: Final = Struct("=IBBBBII")
_ORIGIN_ICMP: Final = 2
_ORIGIN_ICMPV6: Final = 3
_IN6_ADDRESS: Final = 16

_SMALLEST_MTU: Final = {socket.AF_INET: 68, socket.AF_INET6: 1280}  # RFC 791 3.2, RFC 8200 5

NameRemote = Callable[[SocketAddress, str | None], Remote | None]
"""From a datagram's destination and the address of ours that it left from (None: not told) to the remote's name."""


def read(sock: socket.socket, name_remote: NameRemote) -> tuple[list[PathError], bool]:
    """At most MAX_PATH_ERRORS entries, and whether the queue is empty now.

    What the kernel says of itself is left out: the send that it is about has failed with it.
    """
    found: list[PathError] = []
    for _ in range(MAX_PATH_ERRORS):
        try:
            quoted, control, _, destination = sock.recvmsg(QUOTED, _CONTROL_SIZE, socket.MSG_ERRQUEUE)
        except BlockingIOError:
            return found, True
        error = _understand(quoted, control, destination, name_remote)
        if error is not None:
            found.append(error)
    return found, False


def _understand(
    quoted: bytes, control: list[sockopt.ControlMessage], destination: SocketAddress, name_remote: NameRemote
) -> PathError | None:
    code = info = 0
    local: str | None = None
    for level, kind, value in control:
        if (level, kind) in ((socket.IPPROTO_IP, sockopt.IP_RECVERR), (socket.IPPROTO_IPV6, sockopt.IPV6_RECVERR)):
            code, origin, _, _, _, info, _ = _EXTENDED_ERROR.unpack_from(value)
            if origin not in (_ORIGIN_ICMP, _ORIGIN_ICMPV6):
                return None
        elif (level, kind) == (socket.IPPROTO_IP, sockopt.IP_PKTINFO):
            # The ICMP message's destination; the octets before it, otherwise our address, are 0 here.
            local = socket.inet_ntop(socket.AF_INET, value[8:12])
        elif (level, kind) == (socket.IPPROTO_IPV6, sockopt.IPV6_PKTINFO):
            local = socket.inet_ntop(socket.AF_INET6, value[:_IN6_ADDRESS])
    remote = name_remote(destination, local)
    if remote is None or not code:
        return None
    mtu = None
    family = sockopt.packet_family(destination)
    if code == errno.EMSGSIZE and info >= _SMALLEST_MTU[family]:
        mtu = sockopt.udp_payload(family, info)
    return PathError(remote, code, mtu, quoted, False)
