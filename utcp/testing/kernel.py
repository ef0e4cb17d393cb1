"""The kernel of a simulated host: its TCP and the ports that its sockets have bound."""

from __future__ import annotations

import contextvars
import errno
import os
import random
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final, Protocol

from utcp.aio.open_endpoint import OpenEndpoint
from utcp.aio.registry import LoopEndpoints
from utcp.config import Config
from utcp.link.path import SocketAddress
from utcp.link.platform import Platform
from utcp.tcp.accounts import DEFAULT
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack
from utcp.testing.link import LinkHost, SegmentLink, SimulatedLink, UdpPort, is_loopback
from utcp.testing.loop import VirtualLoop
from utcp.testing.owner import Owner, running_owner
from utcp.wire import ACK, RST, SYN

KERNEL: Final = Config(
    syn_retries=6,
    syn_ack_retries=5,
    syn_backlog=4096,
    reset_rate=1e6,
    send_buffer=None,
    max_send_buffer=4 << 20,
    initial_recv_buffer=128 << 10,
    max_recv_buffer=6 << 20,
    nodelay=False,
    rto_min=0.2,
    rto_max=120.0,
    retries=15,
    fin_retries=8,
    orphan_timeout=None,
    keepalive=False,
    keepalive_idle=7200.0,
    keepalive_interval=75.0,
    keepalive_count=9,
    msl=30.0,
    fin_wait_2_timeout=60.0,
    rfc1337=False,
    time_wait_reuse=True,
    syn_in_last_ack="challenge",
    ephemeral_ports=(32768, 60999),
)
"""The configuration of a simulated host's own TCP: the defaults of Linux 6.

The values are those of Documentation/networking/ip-sysctl.rst and include/net/tcp.h of Linux: tcp_syn_retries,
tcp_synack_retries, tcp_max_syn_backlog, tcp_wmem and tcp_rmem (maxima, and the initial receive buffer), TCP_RTO_MIN,
TCP_RTO_MAX, tcp_retries2, tcp_orphan_retries (0 means 8), tcp_keepalive_time, tcp_keepalive_intvl,
tcp_keepalive_probes, TCP_TIMEWAIT_LEN (60 s, which is 2 MSL), tcp_fin_timeout, tcp_rfc1337, tcp_tw_reuse,
ip_local_port_range. Linux has no limit on RSTs, answers a SYN in LAST_ACK with a challenge ACK, and sets TCP_NODELAY
and SO_KEEPALIVE only if the application does (asyncio sets TCP_NODELAY)."""

SOMAXCONN: Final = 4096
"""Maximum backlog of `listen()` (net.core.somaxconn)."""

NO_SHARING: Final = "the simulated network has no SO_REUSEPORT, so that one socket has a port"
"""Why a second socket with SO_REUSEPORT cannot be bound."""

WILDCARD: Final = "0.0.0.0"
LOOPBACK: Final = "127.0.0.1"
BROADCAST: Final = "255.255.255.255"


class KernelHost(LinkHost, Protocol):
    """The host of a kernel."""

    @property
    def loop(self) -> VirtualLoop: ...
    @property
    def random(self) -> random.Random: ...
    @property
    def port_unreachable(self) -> bool: ...
    def observers(self, stack: Stack) -> list[Observer]: ...
    def resolve(self, name: str) -> str: ...
    def free_udp_port(self, ip: str, port: int) -> int:
        """Return the UDP port if it is free at `ip`; 0 picks a free one. Raises OSError."""

    def add_udp(self, port: UdpPort) -> None: ...
    def unbind(self, port: UdpPort) -> None: ...


class KernelSocket(Protocol):
    """A socket that has not been closed."""

    @property
    def process(self) -> Owner:
        """The process that has the socket."""

    @property
    def descriptor(self) -> int: ...

    def close(self) -> None:
        """Close the socket, as close() and the end of the process do."""


class BoundSocket(KernelSocket, Protocol):
    """A TCP socket that has not been closed."""

    @property
    def bound(self) -> tuple[str, int] | None:
        """The address that the socket is bound to."""

    @property
    def listens(self) -> bool: ...
    @property
    def reuses_address(self) -> bool:
        """Whether SO_REUSEADDR is set."""

    def listen_at(self, endpoint: OpenEndpoint) -> None:
        """Listen on another stack, because the socket is bound to the wildcard."""


class Kernel(Owner, Platform):
    """The TCP of a host, from its power-on to its crash.

    Each address of the host, which are its own and those of loopback, has a stack, which carries TCP directly in IP. It
    begins when a socket or a segment first needs it.
    """

    simulated: ClassVar[bool] = True

    def __init__(self, host: KernelHost) -> None:
        Owner.__init__(self)
        Platform.__init__(self)
        self.host = host
        self.clock_rate = host.clock_rate
        self.loop = host.loop
        self._endpoints: dict[str, OpenEndpoint] = {}
        self._sockets: dict[KernelSocket, None] = {}
        self._tcp_sockets: dict[BoundSocket, None] = {}
        self._next_port = KERNEL.ephemeral_ports[0]

    # ------------------------------------------------------------------ the platform of the stacks

    def share_of_memory(self, given: int) -> int:
        return DEFAULT

    def secret(self) -> bytes:
        return self.host.random.randbytes(16)

    def observers(self, stack: Stack, address: SocketAddress) -> Sequence[Observer]:
        return self.host.observers(stack)

    def vanish(self) -> None:
        """End as the host crashes: nothing is sent any more."""
        for socket in self._sockets:
            self.loop.keep_transport(socket.descriptor)
        if self.endpoints is not None:
            self.endpoints.vanish()
        self.close_sockets()

    def close_sockets(self) -> None:
        """Close all sockets, because the host has crashed or the run has ended."""
        for socket in list(self._sockets):
            socket.close()

    # ------------------------------------------------------------------ stacks

    def endpoint(self, ip: str) -> OpenEndpoint:
        """Return the stack of a local address, and open it if necessary."""
        if self.gone:
            raise error(errno.ENETDOWN, "the simulated host is down")
        endpoint = self._endpoints.get(ip)
        if endpoint is None:
            if self.loop.endpoints_end:
                raise error(errno.ENETDOWN, "the simulation ends")
            context = contextvars.copy_context()
            context.run(running_owner.set, self)
            endpoint = self._endpoints[ip] = context.run(self._open, ip)
            for socket in self._tcp_sockets:
                if socket.listens and socket.bound is not None and socket.bound[0] == WILDCARD:
                    socket.listen_at(endpoint)
        return endpoint

    def endpoints_at(self, ip: str) -> list[OpenEndpoint]:
        """Return the stacks that receive what is sent to a bound address, the wildcard included."""
        if ip == WILDCARD:
            return [self.endpoint(local) for local in {self.host.address: 0, LOOPBACK: 0, **self._endpoints}]
        return [self.endpoint(ip)]

    def endpoint_towards(self, ip: str, local: str) -> OpenEndpoint:
        """Return the stack for connections to `ip` from the bound address `local`, which may be the wildcard."""
        if local != WILDCARD:
            return self.endpoint(local)
        return self.endpoint(LOOPBACK if is_loopback(ip) else self.host.address)

    def _open(self, ip: str) -> OpenEndpoint:
        link = SegmentLink(self.host, self.loop, (ip, 0), 64 << 20, _unbind_nothing)
        return LoopEndpoints.of_running_loop().open(link, KERNEL)

    # ------------------------------------------------------------------ what arrives

    def refuses(self, local: str, data: bytes) -> bool:
        """Return whether a segment to a local address is a SYN to a port where no socket listens."""
        flags = data[13] if len(data) > 13 else 0
        if flags & (SYN | ACK | RST) != SYN:
            return False
        port = int.from_bytes(data[2:4], "big")
        return not any(
            socket.listens and (bound := socket.bound) is not None and bound[1] == port and _covers(bound[0], local)
            for socket in self._tcp_sockets
        )

    def arrive(self, source: tuple[str, int], local: str, data: bytes, ecn: int) -> None:
        """Pass a segment to the stack of the local address `local`."""
        if not self.loop.endpoints_end:
            self.endpoint(local)
        link = self.link_at(local)
        if link is not None:
            link.arrive(source, local, data, ecn)

    def bound_addresses(self, port: int) -> list[str]:
        """Return the addresses at which sockets listen on this TCP port."""
        return [
            bound[0]
            for socket in self._tcp_sockets
            if socket.listens and (bound := socket.bound) is not None and bound[1] == port
        ]

    def link_at(self, ip: str) -> SimulatedLink | None:
        """Return the link of a local address, or None if there is none yet."""
        endpoint = self._endpoints.get(ip)
        link = None if endpoint is None else endpoint.link
        return link if isinstance(link, SimulatedLink) else None

    # ------------------------------------------------------------------ sockets and ports

    def add(self, socket: KernelSocket) -> None:
        """Note a new UDP socket."""
        self._sockets[socket] = None

    def add_tcp(self, socket: BoundSocket) -> None:
        """Note a new TCP socket."""
        self._sockets[socket] = self._tcp_sockets[socket] = None

    def remove(self, socket: Any) -> None:
        """Forget a socket that is closed."""
        self._sockets.pop(socket, None)
        self._tcp_sockets.pop(socket, None)

    def close_sockets_of(self, process: Owner) -> None:
        """Close the sockets of a process that has ended."""
        for socket in list(self._sockets):
            if socket.process is process:
                self.loop.keep_transport(socket.descriptor)
                socket.close()

    def check_local(self, ip: str) -> None:
        """Raise OSError (EADDRNOTAVAIL) unless a socket can be bound to `ip`."""
        if ip not in (WILDCARD, self.host.address) and not is_loopback(ip):
            raise error(errno.EADDRNOTAVAIL)

    def port_for(self, ip: str, port: int, *, reuses_address: bool) -> int:
        """Return the port to which a socket is bound, as bind() of Linux decides; port 0 chooses a free one.

        Raises OSError (EADDRINUSE): another socket is bound to the port of an overlapping address, unless both have
        SO_REUSEADDR and none listens; or, without SO_REUSEADDR, a connection uses it, TIME_WAIT included.
        """
        if port:
            if not self._is_free(ip, port, reuses_address=reuses_address):
                raise error(errno.EADDRINUSE)
            return port
        first, last = KERNEL.ephemeral_ports
        for _ in range(first, last + 1):
            candidate, self._next_port = self._next_port, max(first, (self._next_port + 1) % (last + 1))
            if self._is_free(ip, candidate, reuses_address=False):
                return candidate
        raise error(errno.EADDRINUSE)

    def _is_free(self, ip: str, port: int, *, reuses_address: bool) -> bool:
        for socket in self._tcp_sockets:
            bound = socket.bound
            if bound is None or bound[1] != port or not (_covers(bound[0], ip) or _covers(ip, bound[0])):
                continue
            if socket.listens or not (reuses_address and socket.reuses_address):
                return False
        return reuses_address or port not in _used(
            endpoint.stack for local, endpoint in self._endpoints.items() if _covers(ip, local)
        )


def error(code: int, text: str = "") -> OSError:
    """Return the OSError of a system call."""
    return OSError(code, f"{os.strerror(code)}: {text}" if text else os.strerror(code))


def _covers(bound: str, ip: str) -> bool:
    """Return whether a socket bound to `bound` receives what is sent to `ip`."""
    return bound in (WILDCARD, ip)


def _used(stacks: Iterable[Stack]) -> set[int]:
    """Return the local ports of the connections of stacks, TIME_WAIT included."""
    return {key[2] for stack in stacks for keys in (stack.connections, stack.time_wait) for key in keys}


def _unbind_nothing(_: Any) -> None:
    """The link of a kernel has no UDP port."""
