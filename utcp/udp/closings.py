"""What Linux reports of UDP sockets on this host that are closed, also by the death of their process (sock_diag(7)).

The kernel sends each report to every netlink socket that has joined a multicast group. No privilege is needed. The
reports are about the sockets of one network namespace: containers do not see each other's.
"""

import errno
import socket
from struct import Struct
from typing import Final

from utcp.udp.sockopt import IS_LINUX, MISUSE

_SOCK_DIAG: Final = 4  # NETLINK_SOCK_DIAG
_UDP_CLOSED: Final = 1 << 1 | 1 << 3  # the groups SKNLGRP_INET_UDP_DESTROY and SKNLGRP_INET6_UDP_DESTROY
_HEADER: Final = Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port
_BY_FAMILY: Final = 20  # SOCK_DIAG_BY_FAMILY
_SOURCE_PORT: Final = Struct("!4xH")  # the beginning of struct inet_diag_msg

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

    def read(self) -> set[int] | None:
        """Return the UDP ports of sockets that were closed, or None if reports are missing because there were too many.
        Never waits."""
        ports: set[int] = set()
        for _ in range(MAX_REPORTS):
            try:
                report = self._socket.recv(4096)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in MISUSE:
                    raise
                return None  # ENOBUFS: the socket was full
            port = _port(report)
            if port is not None:
                ports.add(port)
        return ports

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._socket.close()


def _port(report: bytes) -> int | None:
    if len(report) < _HEADER.size + _SOURCE_PORT.size or _HEADER.unpack_from(report)[1] != _BY_FAMILY:
        return None
    port: int = _SOURCE_PORT.unpack_from(report, _HEADER.size)[0]
    return port
