"""What endpoints take from outside: links, randomness, a place to be found at. A simulation brings its own."""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from utcp.link.base import Link
from utcp.link.path import SocketAddress
from utcp.link.udp import UdpLink
from utcp.tcp.memory import DEFAULT
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack

_ENDPOINTS = "_utcp_endpoints"

_GROUP_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says, inside a container, what its control group may use: version 2 and version 1."""


_LEAST: Final = 16 << 20
"""Octets of memory that an endpoint may take on the smallest host."""


class Platform:
    """The operating system's UDP sockets and random numbers, for what runs on one event loop, `home`."""

    simulated: ClassVar[bool] = False
    """It has no files, no environment variables and no sockets of any other kind."""

    def __init__(self, home: object) -> None:
        self._home = home

    @staticmethod
    def of(home: object) -> "Platform":
        """The loop's own, if it has one (attribute `utcp_platform`: simulated loops do), else the system's."""
        own: Platform | None = getattr(home, "utcp_platform", None)
        return Platform(home) if own is None else own

    def bind(self, family: int, address: SocketAddress, *, reuse_port: bool = False) -> Link:
        """A link bound to `address`. Raises OSError as asyncio words it."""
        return UdpLink.bind(family, address, reuse_port=reuse_port)

    def share_of_memory(self, given: int) -> int:
        """Octets that an endpoint may take where `Config.max_memory` does not say. The other endpoints of the process
        have been given `given` octets. It is a quarter of what that leaves of the memory that the process may use, so
        that all endpoints together never take it all, and at most `utcp.tcp.memory.DEFAULT`."""
        return max(_LEAST, min((_usable_memory() - given) // 4, DEFAULT))

    def secret(self) -> bytes:
        """16 octets that nobody else knows."""
        return secrets.token_bytes(16)

    def observers(self, stack: Stack, address: SocketAddress) -> Sequence[Observer]:
        """Those who watch every endpoint here, beside its own observer: for this one, with this UDP address."""
        return ()

    def get_endpoints(self) -> Any:
        """What `set_endpoints` was given; None before."""
        return getattr(self._home, _ENDPOINTS, None)

    def set_endpoints(self, endpoints: Any) -> None:
        """Keep the endpoints of this loop (of this host, in a simulation) for as long as it lives; None: no longer."""
        if endpoints is not None:
            setattr(self._home, _ENDPOINTS, endpoints)
        elif hasattr(self._home, _ENDPOINTS):
            delattr(self._home, _ENDPOINTS)


def _usable_memory() -> int:
    """Octets of memory that the process may use: the host's, or less where its control group has a limit. Where neither
    can be known, enough for `DEFAULT`."""
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
