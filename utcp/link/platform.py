"""The environment of endpoints: links, random numbers, memory limits. A simulation has its own."""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from utcp.link.base import Link
from utcp.link.path import SocketAddress
from utcp.link.udp import UdpLink
from utcp.tcp.accounts import DEFAULT
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack

_GROUP_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Linux's files with the memory limit of a container's control group, of version 2 and version 1."""


_LEAST: Final = 16 << 20
"""Smallest default of `Config.max_memory`, octets."""


class Platform:
    """The operating system's UDP sockets and random numbers, for one event loop."""

    simulated: ClassVar[bool] = False
    """Whether the platform is simulated, without files, environment variables and other sockets."""

    def __init__(self) -> None:
        self.endpoints: Any = None
        """The endpoints of this loop, or of this host in a simulation; None: none is open."""

    @staticmethod
    def of(loop: object) -> "Platform":
        """Return the platform of a loop, its attribute `utcp_platform`. A loop that has none gets the system's."""
        platform: Platform | None = getattr(loop, "utcp_platform", None)
        if platform is None:
            platform = Platform()
            setattr(loop, "utcp_platform", platform)  # noqa: B010  # a loop declares no such attribute
        return platform

    def bind(self, family: int, address: SocketAddress, *, reuse_port: bool = False) -> Link:
        """Return a link bound to `address`. Raises OSError with asyncio's text."""
        return UdpLink.bind(family, address, reuse_port=reuse_port)

    def share_of_memory(self, given: int) -> int:
        """Return the default of `Config.max_memory`, octets.

        It is a quarter of the memory that the process may use and that is not part of the limits of its other endpoints
        (`given`, octets), and at most `utcp.tcp.accounts.DEFAULT`. So the endpoints together never take all memory.
        """
        return max(_LEAST, min((_usable_memory() - given) // 4, DEFAULT))

    def secret(self) -> bytes:
        """Return 16 secret random octets."""
        return secrets.token_bytes(16)

    def observers(self, stack: Stack, address: SocketAddress) -> Sequence[Observer]:
        """Return the platform's observers for a stack with this UDP address, in addition to the endpoint's own."""
        return ()

    def set_endpoints(self, endpoints: Any) -> None:
        self.endpoints = endpoints


def _usable_memory() -> int:
    """Return the memory that the process may use, octets: the host's, or less if its control group has a limit. If
    neither is known, return enough for `DEFAULT`."""
    try:
        usable = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf(), other systems may lack the names
        usable = 4 * DEFAULT
    for file in _GROUP_LIMITS:
        try:
            limit = Path(file).read_bytes().strip()
        except OSError:
            continue
        if limit.isdigit():  # else "max"
            usable = min(usable, int(limit))
    return usable
