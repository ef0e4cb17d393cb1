"""A simulated host: an address, UDP sockets, the programs that run on it, and its crashes."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import functools
import os
import random
import socket
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar, Final, Protocol, TypeVar

from utcp.link.base import MAX_PATH_ERRORS, QUOTED, Link, LinkCounters, PathError, Received, SendError
from utcp.link.path import SocketAddress, UdpPath
from utcp.link.platform import Platform
from utcp.tcp.accounts import DEFAULT
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack
from utcp.tcp.transmit import Remote, Transmit
from utcp.testing.loop import VirtualLoop
from utcp.testing.owner import Owner, running_owner
from utcp.testing.path import ETHERNET_MTU, UDP_IP_HEADERS, Conditions

T = TypeVar("T")

RECEIVE_BUFFER: Final = 4 << 20
"""Default receive buffer of a simulated socket, bytes."""

REFUSAL_TIME: Final = 1e-6
"""Virtual seconds after which a host refuses a datagram for an unbound UDP port. No time passes while a program is
ready to run, so that a server that starts at the same time as its client has bound its port by then."""

_OTHER_LOOP: Final = (
    "Host.run() was called on a real event loop, where virtual time does not pass, as in an async fixture. Call it in a"
    " fixture without async, or in the test"
)

_EPHEMERAL_UDP: Final = range(32768, 61000)


class HostNetwork(Protocol):
    """The network of a host."""

    @property
    def seed(self) -> int | str: ...
    @property
    def loop(self) -> VirtualLoop: ...
    @property
    def main(self) -> Host: ...
    @property
    def watches(self) -> Sequence[Callable[[Host, Stack], Observer]]: ...
    @property
    def failed(self) -> list[asyncio.Task[Any]]: ...

    def conditions(self, source: Host, address: str) -> Conditions: ...

    def host_at(self, source: Host, address: str) -> Host | None: ...

    def refused(self, host: Host, address: tuple[str, int]) -> None: ...

    def carry(self, source: Host, sender: tuple[str, int], address: SocketAddress, data: bytes, ecn: int) -> None: ...

    def note_undelivered(self, host: Host, arrival: float, data: bytes) -> None: ...

    def send_icmp(
        self,
        source: Host,
        sender: tuple[str, int],
        address: tuple[str, int],
        code: int,
        mtu: int | None,
        datagram: bytes,
    ) -> None: ...


class Host:
    """A simulated machine. Created by `Network.host()`."""

    def __init__(
        self,
        network: HostNetwork,
        name: str,
        address: str,
        receive_buffer: int,
        *,
        port_unreachable: bool = True,
        clock_rate: float = 1.0,
    ) -> None:
        self.network = network
        self.name = name
        self.address = address
        self.random = random.Random(f"{network.seed} host {name}")  # noqa: S311  # reproducible, not secret
        """Reproducible random numbers for programs on this host, and the source of utcp's secrets."""
        self.port_unreachable = port_unreachable
        """Whether the host answers a datagram for an unbound UDP port with ICMP "port unreachable", which refuses the
        connection. If False, the host is silent, as behind a firewall, and the client tries again."""
        self.clock_rate = clock_rate
        """Seconds that the host's clock counts in a second of virtual time."""
        self._receive_buffer = receive_buffer
        self._links: dict[tuple[str, int], SimulatedLink] = {}
        self._ports: Counter[int] = Counter()  # links per UDP port
        self._program: Callable[[], Coroutine[Any, Any, Any]] | None = None
        # Old boots are kept, so that the garbage collector does not finalize a crashed host's objects at an arbitrary
        # moment.
        self._boots = [Boot(self)]

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.address}{' crashed' if self.crashed else ''}>"

    @property
    def boot(self) -> Boot:
        """Return the current boot, or the last one while the host is down."""
        return self._boots[-1]

    @property
    def crashed(self) -> bool:
        return self.boot.gone

    # ------------------------------------------------------------------ programs

    def run(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start `coroutine` on this host and return its task.

        The task and everything that it starts have this host's addresses. The run fails if the task fails and its error
        has not been retrieved by the end of the run. A crash of the host cancels the task. Raises RuntimeError while
        the host is down, and on another event loop than the network's.
        """
        if self.crashed:
            coroutine.close()
            raise RuntimeError(f"{self!r} is down: restart it first")
        if _runs_on_another_loop(self.network.loop):
            coroutine.close()
            raise RuntimeError(_OTHER_LOOP)
        task = self.network.loop.create_task(coroutine, context=self.context())
        task.add_done_callback(functools.partial(self._ended, self.boot))
        return task

    def start(self, program: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Start `program()` on this host as `run()` does, and again after each `restart()`."""
        self._program = program
        return self.run(program())

    def context(self) -> contextvars.Context:
        """Return a context in which code runs on this host."""
        context = contextvars.copy_context()
        context.run(running_owner.set, self.boot)
        return context

    def _ended(self, boot: Boot, task: asyncio.Task[Any]) -> None:
        if boot.gone:
            if not task.cancelled():
                task.exception()  # errors of programs on a crashed host do not count
        elif is_unnoticed(task):
            self.network.failed.append(task)

    # ------------------------------------------------------------------ power

    def crash(self) -> None:
        """Power off the host: its tasks and timers end at once, and no packet is sent.

        The tasks are cancelled, but packets that they send during cancellation are discarded. Packets in flight are
        still delivered.
        """
        if self.crashed:
            return
        if self is self.network.main:
            raise ValueError("the host 'main' runs the scenario and cannot crash")
        boot = self.boot
        boot.vanish()
        for link in list(self._links.values()):
            link.close()
        self.network.loop.end(boot)

    def restart(self) -> asyncio.Task[Any] | None:
        """Power on the host without any memory, after a crash() if the host is running.

        The program given to `start` runs again. Return its task, or None if there is no program.
        """
        self.crash()
        self._boots.append(Boot(self))
        return None if self._program is None else self.run(self._program())

    # ------------------------------------------------------------------ sockets

    def bind(self, address: SocketAddress) -> SimulatedLink:
        """Bind a link to one of the host's addresses or to the wildcard; port 0 picks a free port. Raises OSError."""
        ip, port = address[0], address[1]
        if ip not in ("0.0.0.0", self.address) and not is_loopback(ip):
            raise _bind_error(errno.EADDRNOTAVAIL, (ip, port), "cannot assign requested address")
        if port == 0:
            port = next((number for number in _EPHEMERAL_UDP if not self._is_bound(ip, number)), 0)
        if port == 0 or self._is_bound(ip, port):
            raise _bind_error(errno.EADDRINUSE, (ip, port), "address already in use")
        link = SimulatedLink(self, self.network.loop, (ip, port), self._receive_buffer)
        self._links[ip, port] = link
        self._ports[port] += 1
        return link

    def _is_bound(self, ip: str, port: int) -> bool:
        if ip == "0.0.0.0":
            return self._ports[port] > 0
        return (ip, port) in self._links or ("0.0.0.0", port) in self._links

    def unbind(self, link: SimulatedLink) -> None:
        """Remove a closed link."""
        del self._links[link.ip, link.port]
        self._ports[link.port] -= 1

    def receive(self, source: tuple[str, int], address: tuple[str, int], data: bytes, ecn: int = 0) -> None:
        """Deliver a datagram to the link at `address`. If no link is bound there within REFUSAL_TIME, report that by
        ICMP if `port_unreachable`, unless the host is down."""
        link = self._link_at(address)
        if link is not None:
            link.arrive(source, address[0], data, ecn)
        else:
            loop = self.network.loop
            loop.at(loop.now + REFUSAL_TIME, self._receive_late, loop.now, source, address, data, ecn)

    def _receive_late(
        self, arrival: float, source: tuple[str, int], address: tuple[str, int], data: bytes, ecn: int
    ) -> None:
        link = self._link_at(address)
        if link is not None:
            link.arrive(source, address[0], data, ecn)
            return
        self.network.note_undelivered(self, arrival, data)
        if not self.crashed:
            self.network.refused(self, address)
            if self.port_unreachable:
                self.network.send_icmp(self, source, address, errno.ECONNREFUSED, None, data)

    def bound_addresses(self, port: int) -> list[str]:
        """Return the addresses at which links are bound to this UDP port."""
        return [ip for ip, number in self._links if number == port]

    def receive_icmp(
        self, local: tuple[str, int], peer: tuple[str, int], code: int, mtu: int | None, datagram: bytes
    ) -> None:
        """Deliver an ICMP error about a datagram from `local` (an address of this host) to `peer`. `mtu` is the path's
        largest IP packet, bytes."""
        link = self._link_at(local)
        if link is not None:
            payload = None if mtu is None else mtu - UDP_IP_HEADERS
            link.receive_icmp(PathError(UdpPath(peer, local[0]), code, payload, datagram[:QUOTED]))

    def path_mtu(self, address: str) -> int:
        """Return the largest IP packet, bytes, that the simulated kernel accepts for `address`."""
        conditions = self.network.conditions(self, address)
        return conditions.mtu if conditions.mtu_known else ETHERNET_MTU

    def _link_at(self, address: tuple[str, int]) -> SimulatedLink | None:
        return self._links.get(address) or self._links.get(("0.0.0.0", address[1]))


class SimulatedLink(Link):
    """A UDP socket of a simulated host, bound to one of its addresses or to the wildcard.

    A remote is the pair (peer address, local address), so that a wildcard link answers from the address that the peer
    used.
    """

    def __init__(self, host: Host, loop: VirtualLoop, address: SocketAddress, receive_buffer: int) -> None:
        self.host = host
        self.counters = LinkCounters()
        self._address = address
        self._loop = loop
        self._descriptor = self._loop.new_descriptor()
        self._arrived: deque[Received] = deque()
        self._waiting = 0  # octets in _arrived
        self._path_errors: list[PathError] = []
        self._receive_buffer = receive_buffer
        self.is_watched = True
        """Whether the loop is told when something arrives."""
        self.closed = False

    @property
    def address(self) -> SocketAddress:
        return self._address

    @property
    def ip(self) -> str:
        """Return the bound IP address; "0.0.0.0" is the wildcard."""
        return self._address[0]

    @property
    def port(self) -> int:
        return self._address[1]

    def fileno(self) -> int:
        return self._descriptor

    def now(self) -> float:
        return self._loop.now * self.host.clock_rate

    def receive(self, limit: int = 512) -> list[Received]:
        self._check_open()
        self.counters.receive_calls += 1
        taken: list[Received] = []
        while self._arrived and len(taken) < limit:
            received = self._arrived.popleft()
            self._waiting -= len(received.data)
            taken.append(received)
        self.drained = not self._arrived
        if self._arrived and self.is_watched:
            self._loop.readable(self._descriptor)
        return taken

    def send(self, transmits: list[Transmit]) -> list[SendError]:
        self._check_open()
        failed = []
        for transmit in transmits:
            self.counters.send_calls += 1
            peer, local = self._path(transmit.remote)
            if not self._reaches(peer[0]):
                self.counters.send_errors += 1
                failed.append(SendError(transmit.remote, errno.EHOSTUNREACH, transmit.flows()))
                continue
            for datagram in transmit.datagrams():
                self.counters.datagrams_sent += 1
                self.counters.bytes_sent += len(datagram)
                self.host.network.carry(self.host, (local, self.port), peer, datagram, transmit.ecn)
        return failed

    def path_errors(self) -> list[PathError]:
        errors, self._path_errors = self._path_errors, []
        self.counters.path_errors += len(errors)
        return errors

    def flush_pending(self) -> list[SendError]:
        return []

    def watch_input(self, wanted: bool) -> bool:
        self.is_watched = wanted
        if wanted and self._arrived:
            self._loop.readable(self._descriptor)
        return True

    def remote(self, address: SocketAddress) -> Remote:
        host = self.host.network.host_at(self.host, address[0])
        if host is None:
            text = f"{os.strerror(errno.EHOSTUNREACH)}: the simulated network has no host at {address[0]}"
            raise OSError(errno.EHOSTUNREACH, text)
        if is_loopback(self.ip) and host is not self.host:
            text = f"{os.strerror(errno.EINVAL)}: a socket bound to {self.ip} reaches no other host"
            raise OSError(errno.EINVAL, text)
        local = self.ip
        if local == "0.0.0.0":
            local = address[0] if is_loopback(address[0]) else self.host.address
        return UdpPath((address[0], address[1]), local)

    def peername(self, remote: Remote) -> SocketAddress:
        return self._path(remote).peer

    def sockname(self, remote: Remote) -> SocketAddress:
        return self._path(remote).local, self.port

    def receives_at(self, address: SocketAddress) -> bool:
        host, port = address[:2]
        return (
            port == self.port
            and self.ip in ("0.0.0.0", host)
            and self.host.network.host_at(self.host, host) is self.host
        )

    def mtu(self, remote: Remote) -> int:
        peer = self._path(remote).peer
        return self.host.path_mtu(peer[0]) - UDP_IP_HEADERS

    @property
    def receive_capacity(self) -> int:
        return self._receive_buffer

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._arrived.clear()
            self._path_errors.clear()
            self.host.unbind(self)

    def arrive(self, source: tuple[str, int], local: str, data: bytes, ecn: int) -> None:
        """Queue a datagram from `source` to the local address `local`. A full receive buffer drops it."""
        if self.closed:
            return
        if self._waiting + len(data) > self._receive_buffer:
            return
        self.counters.datagrams_received += 1
        self.counters.bytes_received += len(data)
        self._waiting += len(data)
        if not self._arrived and self.is_watched:
            self._loop.readable(self._descriptor)
        self._arrived.append(Received(data, UdpPath(source, local), None, ecn))

    def receive_icmp(self, error: PathError) -> None:
        """Queue an ICMP error. It is dropped when too many are queued."""
        if not self.closed and len(self._path_errors) < MAX_PATH_ERRORS:
            self._path_errors.append(error)
            self._loop.readable(self._descriptor)

    def _reaches(self, address: str) -> bool:
        return self.host.network.host_at(self.host, address) is not None

    def _check_open(self) -> None:
        if self.closed:
            raise OSError(errno.EBADF, "the simulated link is closed")

    @staticmethod
    def _path(remote: Remote) -> UdpPath:
        if not isinstance(remote, UdpPath):
            raise TypeError(f"{remote!r} is not a remote of a simulated link")
        return remote


class Boot(Owner, Platform):
    """The time from one power-on of a host to its crash. It owns the tasks and timers of that time, and it is the
    simulation's replacement for the operating system services that utcp.aio uses."""

    simulated: ClassVar[bool] = True

    def __init__(self, host: Host) -> None:
        super().__init__()
        self.host = host
        self.clock_rate = host.clock_rate

    def vanish(self) -> None:
        """Discard the endpoints without sending anything."""
        if self.endpoints is not None:
            self.endpoints.vanish()

    def bind(self, family: int, address: SocketAddress, *, reuse_port: bool = False) -> SimulatedLink:
        """Bind a link on the host. Raises OSError."""
        if self.gone:
            raise OSError(errno.ENETDOWN, f"{self.host!r} is down")
        if family != socket.AF_INET:
            raise OSError(errno.EAFNOSUPPORT, "the simulated network has IPv4 only")
        if reuse_port:
            raise OSError(errno.EOPNOTSUPP, "the simulated network has no SO_REUSEPORT")
        return self.host.bind(address)

    def share_of_memory(self, given: int) -> int:
        return DEFAULT

    def secret(self) -> bytes:
        """Return a reproducible secret, a different one on each call."""
        return self.host.random.randbytes(16)

    def observers(self, stack: Stack, address: SocketAddress) -> list[Observer]:
        return [watch(self.host, stack) for watch in self.host.network.watches]


def is_loopback(address: str) -> bool:
    """Return whether an IPv4 address names the host itself, on every host."""
    return address.startswith("127.")


def is_unnoticed(task: asyncio.Task[Any]) -> bool:
    """Return whether the task failed and its error has not been retrieved. asyncio would log such an error at garbage
    collection."""
    return bool(task._log_traceback)  # noqa: SLF001  # asyncio's own flag


def _runs_on_another_loop(loop: VirtualLoop) -> bool:
    try:
        return asyncio.get_running_loop() is not loop
    except RuntimeError:  # no loop runs yet
        return False


def _bind_error(code: int, address: tuple[str, int], reason: str) -> OSError:
    return OSError(code, f"error while attempting to bind on address {address}: {reason}")
