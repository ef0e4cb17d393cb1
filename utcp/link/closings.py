"""What Linux reports of UDP sockets on this host that are closed, also by the death of their process (sock_diag(7)).

The kernel sends each report to every netlink socket that has joined a multicast group. No privilege is needed. The
reports are about the sockets of one network namespace: containers do not see each other's.
"""

import errno
import socket
from struct import Struct
from typing import Final, TypeAlias

from utcp.link.sockopt import IS_LINUX, MISUSE, unmapped

_SOCK_DIAG: Final = 4  # NETLINK_SOCK_DIAG
_UDP_CLOSED: Final = 1 << 1 | 1 << 3  # the groups SKNLGRP_INET_UDP_DESTROY and SKNLGRP_INET6_UDP_DESTROY
_HEADER: Final = Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port
_BY_FAMILY: Final = 20  # SOCK_DIAG_BY_FAMILY
_DIAG: Final = Struct("!B3xH2x16s")  # the beginning of struct inet_diag_msg: family, source port, source address

Peer: TypeAlias = tuple[str, int]
"""The host (an IPv4 address is not mapped into IPv6) and the port of a UDP socket."""

MAX_REPORTS: Final = 64
"""Reports that one `read()` takes. A host may close very many sockets, one for each DNS query."""


class Closings:
    """A netlink socket that receives a report for each UDP socket that is closed. Raises OSError if there is none."""

    def __init__(self) -> None:
        if not IS_LINUX:
            raise OSError(errno.EAFNOSUPPORT, "only Linux has sock_diag")
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _SOCK_DIAG)
        try:
            self._socket.bind((0, _UDP_CLOSED))
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """The descriptor that an event loop watches."""
        return self._socket.fileno()

    def read(self) -> set[Peer] | None:
        """Return the addresses of UDP sockets that were closed, or None if reports are missing because there were too
        many. The host is "0.0.0.0" or "::" for a socket that was bound to all addresses. Never waits."""
        closed: set[Peer] = set()
        for _ in range(MAX_REPORTS):
            try:
                report = self._socket.recv(4096)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in MISUSE:
                    raise
                return None  # ENOBUFS: the socket was full
            peer = _peer(report)
            if peer is not None:
                closed.add(peer)
        return closed

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._socket.close()


def _peer(report: bytes) -> Peer | None:
    if len(report) < _HEADER.size + _DIAG.size or _HEADER.unpack_from(report)[1] != _BY_FAMILY:
        return None
    family, port, octets = _DIAG.unpack_from(report, _HEADER.size)
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, octets[:4]), port
    if family == socket.AF_INET6:
        return unmapped(socket.inet_ntop(socket.AF_INET6, octets)), port
    return None
