"""Linux's reports of closed UDP sockets on this host, also of those whose process has ended (sock_diag(7)).

The kernel sends each report to every netlink socket in a multicast group. No privilege is needed. The reports cover one
network namespace, so containers get no reports about each other.
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
"""Host and port of a UDP socket. An IPv4 address is not mapped into IPv6."""

MAX_REPORTS: Final = 64
"""Reports that one `read()` returns. A host may close very many sockets, one for each DNS query."""


class Closings:
    """A netlink socket that receives a report for each closed UDP socket. Raises OSError if the system has none."""

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
        """Return the descriptor that an event loop watches."""
        return self._socket.fileno()

    def read(self) -> set[Peer] | None:
        """Return the addresses of closed UDP sockets, at once and perhaps none; None if the kernel has dropped reports.

        The host of a socket that was bound to the wildcard address is "0.0.0.0" or "::".
        """
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
