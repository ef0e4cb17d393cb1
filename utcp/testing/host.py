"""A simulated host: an address, UDP sockets, the programs that run on it, and its crashes."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import functools
import math
import os
import random
import signal
import socket
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar, Final, Protocol, TypeVar

from utcp.link.base import QUOTED, PathError
from utcp.link.path import SocketAddress, UdpPath
from utcp.link.platform import Platform
from utcp.tcp.accounts import DEFAULT
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack
from utcp.testing.kernel import WILDCARD, Kernel
from utcp.testing.link import SimulatedLink, UdpPort, is_loopback
from utcp.testing.loop import VirtualLoop
from utcp.testing.nat import Nat
from utcp.testing.owner import Owner, running_owner
from utcp.testing.path import ETHERNET_MTU, HEADERS, Conditions
from utcp.testing.rules import Carrier

T = TypeVar("T")

RECEIVE_BUFFER: Final = 4 << 20
"""Default receive buffer of a simulated socket, bytes."""

REFUSAL_TIME: Final = 1e-6
"""Virtual seconds after which a host refuses a datagram for an unbound UDP port, and a SYN for a TCP port where no
socket listens. No time passes while a program is ready to run, so that a server that starts at the same time as its
client has bound its port by then."""

_OTHER_LOOP: Final = (
    "Host.run() was called on a real event loop, where virtual time does not pass, as in an async fixture. Call it in a"
    " fixture without async, or in the test"
)

_EPHEMERAL_UDP: Final = range(32768, 61000)


class HostPackets(Protocol):
    """What carries the packets of a host."""

    def carry(
        self,
        source: Host,
        sender: tuple[str, int],
        address: SocketAddress,
        data: bytes,
        ecn: int,
        carrier: Carrier,
    ) -> None: ...

    def note_undelivered(self, host: Host, arrival: float, data: bytes) -> None: ...

    def send_icmp(
        self,
        source: Host,
        sender: tuple[str, int],
        address: tuple[str, int],
        code: int,
        mtu: int | None,
        datagram: bytes,
        carrier: Carrier,
    ) -> None: ...

    def refused(self, host: Host, address: tuple[str, int], carrier: Carrier) -> None: ...


class HostNetwork(Protocol):
    """The network of a host."""

    @property
    def seed(self) -> int | str: ...
    @property
    def loop(self) -> VirtualLoop: ...
    @property
    def carrying(self) -> HostPackets: ...
    @property
    def main(self) -> Host: ...
    @property
    def watches(self) -> Sequence[Callable[[Host, Stack], Observer]]: ...
    @property
    def failed(self) -> list[asyncio.Task[Any]]: ...

    def conditions(self, source: Host, address: str) -> Conditions: ...

    def host_at(self, source: Host, address: str) -> Host | Nat | None: ...

    def resolve(self, name: str) -> str: ...


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
        clock_offset: float = 0.0,
        behind: Nat | None = None,
    ) -> None:
        self.network = network
        self.name = name
        self.address = address
        self.random = random.Random(f"{network.seed} host {name}")  # noqa: S311  # reproducible, not secret
        """Reproducible random numbers for programs on this host, and the source of utcp's secrets."""
        self.port_unreachable = port_unreachable
        """Whether the host answers a datagram for an unbound UDP port with ICMP "port unreachable", which refuses the
        connection. If False, the host is silent, as behind a firewall, and the client tries again."""
        self.behind = behind
        """The NAT that separates the host from the other hosts, or None."""
        self.clock_rate = clock_rate
        """Seconds that the host's clock counts in a second of virtual time."""
        self.clock_offset = clock_offset
        """Seconds by which the host's wall clock (`time.time()`) is ahead. A change sets the clock."""
        self._receive_buffer = receive_buffer
        self._links: dict[tuple[str, int], UdpPort] = {}  # what is bound to UDP ports
        self._ports: Counter[int] = Counter()  # links per UDP port
        self._program: Callable[[], Coroutine[Any, Any, Any]] | None = None
        self._waking: asyncio.TimerHandle | None = None  # ends a pause
        # Old processes are kept, so that the garbage collector does not finalize a crashed host's objects at an
        # arbitrary moment.
        self._processes = [Process(self, Kernel(self))]

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.address}{self._condition()}>"

    def _condition(self) -> str:
        if self.crashed:
            return " crashed"
        if self.suspended:
            return " suspended"
        return " paused" if self.paused else ""

    @property
    def loop(self) -> VirtualLoop:
        return self.network.loop

    @property
    def process(self) -> Process:
        """Return the present process of the host's programs, or the last one while the host is down."""
        return self._processes[-1]

    @property
    def kernel(self) -> Kernel:
        """Return the kernel, or the last one while the host is down."""
        return self.process.kernel

    @property
    def crashed(self) -> bool:
        return self.kernel.gone

    @property
    def paused(self) -> bool:
        """Return whether the programs are paused, by `pause()` or `suspend()`."""
        return self.process.paused

    @property
    def suspended(self) -> bool:
        """Return whether the host is suspended, by `suspend()`."""
        return self.kernel.paused

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
        task.add_done_callback(functools.partial(self._ended, self.process))
        return task

    def start(self, program: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Start `program()` on this host as `run()` does, and again after each `restart()`."""
        self._program = program
        return self.run(program())

    def context(self) -> contextvars.Context:
        """Return a context in which code runs on this host."""
        context = contextvars.copy_context()
        context.run(running_owner.set, self.process)
        return context

    def _ended(self, process: Process, task: asyncio.Task[Any]) -> None:
        if process.gone:
            if not task.cancelled():
                task.exception()  # errors of programs that were killed, or on a crashed host, do not count
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
        self._stop_waking()
        self.process.vanish()
        self.kernel.vanish()
        for link in list(self._links.values()):
            link.close()
        self.network.loop.end(self.kernel)

    def kill(self, sig: int = signal.SIGKILL) -> None:
        """Send a signal to the programs of the host. It calls the handler that they have set for it by
        `loop.add_signal_handler()`. Without one, it ends all programs of the host at once. The host stays on.

        The kernel closes their sockets: a TCP connection sends FIN behind the data that it has accepted, or RST if
        received data is unread or SO_LINGER is 0. Endpoints of utcp, which is a part of the program, send nothing more,
        and their peers get ICMP "port unreachable". Their tasks are cancelled, and what they send during cancellation
        is discarded. `run()` and `start()` start programs again.

        Raises ValueError if it would end the host of the scenario, RuntimeError while the host is down or suspended.

        Args:
            sig: the signal. SIGKILL has no handler, SIGSTOP is `pause()`, and SIGCONT is `resume()`.
        """
        self._check_runs()
        if sig == signal.SIGSTOP:
            self.pause()
            return
        if sig == signal.SIGCONT:
            self.resume()
        if self.network.loop.handle_signal(self.process, sig):
            return
        if sig == signal.SIGCONT:
            return
        if self is self.network.main:
            raise ValueError("the host 'main' runs the scenario and cannot be killed")
        self._stop_waking()
        process = self.process
        process.vanish()
        self.kernel.close_sockets_of(process)
        self._processes.append(Process(self, self.kernel))
        self.network.loop.end(process)

    def restart(self) -> asyncio.Task[Any] | None:
        """Power on the host without any memory, after a crash() if the host is running.

        The program given to `start` runs again. Return its task, or None if there is no program.
        """
        self.crash()
        self._processes.append(Process(self, Kernel(self)))
        return None if self._program is None else self.run(self._program())

    # ------------------------------------------------------------------ pauses

    def pause(self, seconds: float | None = None) -> None:
        """Stop the programs of the host for some time, as SIGSTOP does, or a long garbage collection.

        Their callbacks and timers run afterwards. Meanwhile, the kernel acknowledges and buffers what arrives for its
        TCP connections, until the windows are closed, and completes handshakes until the backlog is full. utcp is a
        part of the program, so that its datagrams wait in the UDP socket. A further call sets another end.

        Raises RuntimeError while the host is down or suspended, ValueError if it would stop the scenario for ever.

        Args:
            seconds: the virtual time until the programs run again; None: until `resume()`.
        """
        self._check_runs()
        self._pause(self.process, seconds)

    def suspend(self, seconds: float | None = None) -> None:
        """Stop the whole host for some time, as a hypervisor does with a virtual machine, or a closed lid.

        Packets to it are lost, and nothing answers. Its clocks go on, so that all timers that have become due fire when
        it resumes. A further call sets another end.

        Raises RuntimeError while the host is down, ValueError if it would stop the scenario for ever.

        Args:
            seconds: the virtual time until the host runs again; None: until `resume()`.
        """
        if self.crashed:
            raise RuntimeError(f"{self!r} is down: restart it first")
        self._pause(self.kernel, seconds)

    def resume(self) -> None:
        """End `pause()` and `suspend()`, without effect on a host that runs."""
        self._stop_waking()
        self.network.loop.resume(self.kernel)
        self.network.loop.resume(self.process)

    def _pause(self, owner: Owner, seconds: float | None) -> None:
        if seconds is None and self is self.network.main:
            raise ValueError("the host 'main' runs the scenario, and can pause only for some seconds")
        if seconds is not None and not 0 <= seconds < math.inf:
            raise ValueError(f"a pause takes 0 or more seconds, not {seconds}")
        self._stop_waking()
        loop = self.network.loop
        loop.pause(owner)
        if seconds is not None:
            # Without an owner, because the timers of the host wait.
            self._waking = loop.at(loop.now + seconds, self.resume, context=contextvars.Context())

    def _stop_waking(self) -> None:
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None

    def _check_runs(self) -> None:
        if self.crashed:
            raise RuntimeError(f"{self!r} is down: restart it first")
        if self.suspended:
            raise RuntimeError(f"{self!r} is suspended: resume it first")

    # ------------------------------------------------------------------ sockets

    def bind(self, address: SocketAddress) -> SimulatedLink:
        """Bind a link to one of the host's addresses or to the wildcard; port 0 picks a free port. Raises OSError."""
        ip, port = address[0], address[1]
        if ip not in (WILDCARD, self.address) and not is_loopback(ip):
            raise _bind_error(errno.EADDRNOTAVAIL, (ip, port), "cannot assign requested address")
        try:
            port = self.free_udp_port(ip, port)
        except OSError:
            raise _bind_error(errno.EADDRINUSE, (ip, port), "address already in use") from None
        link = SimulatedLink(self, self.network.loop, (ip, port), self._receive_buffer, self.unbind)
        self.add_udp(link)
        return link

    def free_udp_port(self, ip: str, port: int) -> int:
        """Return the UDP port if it is free at `ip`; 0 picks a free one. Raises OSError (EADDRINUSE)."""
        if port == 0:
            port = next((number for number in _EPHEMERAL_UDP if not self._is_bound(ip, number)), 0)
        if port == 0 or self._is_bound(ip, port):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        return port

    def add_udp(self, port: UdpPort) -> None:
        """Add what is bound to a UDP port."""
        self._links[port.ip, port.port] = port
        self._ports[port.port] += 1

    def _is_bound(self, ip: str, port: int) -> bool:
        if ip == WILDCARD:
            return self._ports[port] > 0
        return (ip, port) in self._links or (WILDCARD, port) in self._links

    def unbind(self, port: UdpPort) -> None:
        """Remove a closed link or socket from its UDP port."""
        if self._links.pop((port.ip, port.port), None) is not None:
            self._ports[port.port] -= 1

    # ------------------------------------------------------------------ packets

    def receive(
        self,
        source: tuple[str, int],
        address: tuple[str, int],
        data: bytes,
        ecn: int = 0,
        carrier: Carrier = "utcp",
    ) -> None:
        """Deliver a packet to `address`, one of this host.

        If no socket is bound to its port within REFUSAL_TIME, the host answers by ICMP, or by RST to a segment of TCP.
        It is silent if `port_unreachable` is False, or while it is down. A packet to a suspended host is lost.
        """
        if self.suspended:
            self.network.carrying.note_undelivered(self, self.network.loop.now, data)
        elif not self._deliver(source, address, data, ecn, carrier):
            loop = self.network.loop
            loop.at(loop.now + REFUSAL_TIME, self._receive_late, loop.now, source, address, data, ecn, carrier)

    def _deliver(
        self, source: tuple[str, int], address: tuple[str, int], data: bytes, ecn: int, carrier: Carrier
    ) -> bool:
        """Deliver a packet. Return False if its port refuses it, or the host is down."""
        if carrier == "tcp":
            if self.crashed or self.kernel.refuses(address[0], data):
                return False
            self.kernel.arrive(source, address[0], data, ecn)
            return True
        link = self._link_at(address)
        if link is None:
            return False
        link.arrive(source, address[0], data, ecn)
        return True

    def _receive_late(
        self,
        arrival: float,
        source: tuple[str, int],
        address: tuple[str, int],
        data: bytes,
        ecn: int,
        carrier: Carrier,
    ) -> None:
        if not self.suspended and self._deliver(source, address, data, ecn, carrier):
            return
        is_silent = self.crashed or self.suspended or not self.port_unreachable
        if carrier != "tcp" or is_silent:
            self.network.carrying.note_undelivered(self, arrival, data)
        if self.crashed or self.suspended:
            return
        port = int.from_bytes(data[2:4], "big") if carrier == "tcp" else address[1]
        self.network.carrying.refused(self, (address[0], port), carrier)
        if is_silent:
            return
        if carrier == "tcp":
            self.kernel.arrive(source, address[0], data, ecn)
        else:
            self.network.carrying.send_icmp(self, source, address, errno.ECONNREFUSED, None, data, carrier)

    def bound_addresses(self, port: int, carrier: Carrier) -> list[str]:
        """Return the addresses at which this UDP port is bound, or sockets listen on this TCP port."""
        if carrier == "tcp":
            return self.kernel.bound_addresses(port)
        return [ip for ip, number in self._links if number == port]

    def receive_icmp(
        self,
        local: tuple[str, int],
        peer: tuple[str, int],
        code: int,
        mtu: int | None,
        datagram: bytes,
        carrier: Carrier = "utcp",
    ) -> None:
        """Deliver an ICMP error about a packet from `local` (an address of this host) to `peer`. `mtu` is the path's
        largest IP packet, bytes."""
        if self.suspended:
            return
        link = self.kernel.link_at(local[0]) if carrier == "tcp" else self._link_at(local)
        if link is not None:
            payload = None if mtu is None else mtu - HEADERS[carrier]
            link.receive_icmp(PathError(UdpPath(peer, local[0]), code, payload, datagram[:QUOTED]))

    # ------------------------------------------------------------------ for links, sockets and the kernel

    def carry(self, sender: tuple[str, int], address: SocketAddress, data: bytes, ecn: int, carrier: Carrier) -> None:
        """Send a packet from `sender`, an address of this host."""
        self.network.carrying.carry(self, sender, address, data, ecn, carrier)

    def host_at(self, address: str) -> Host | Nat | None:
        """Return the host or NAT that has the address, seen from this host, or None."""
        return self.network.host_at(self, address)

    def resolve(self, name: str) -> str:
        """Return the address of a name. Raises socket.gaierror."""
        return self.network.resolve(name)

    def observers(self, stack: Stack) -> list[Observer]:
        """Return the network's observers of a new stack on this host."""
        return [watch(self, stack) for watch in self.network.watches]

    def path_mtu(self, address: str) -> int:
        """Return the largest IP packet, bytes, that the simulated kernel accepts for `address`."""
        conditions = self.network.conditions(self, address)
        return conditions.mtu if conditions.mtu_known else ETHERNET_MTU

    def _link_at(self, address: tuple[str, int]) -> UdpPort | None:
        return self._links.get(address) or self._links.get(("0.0.0.0", address[1]))


class Process(Owner, Platform):
    """All programs of a host, which run as one process: from the power-on or the last kill() to the next kill() or
    crash(). It owns their tasks and timers, and it is the simulation's replacement for the operating system services
    that utcp.aio uses."""

    simulated: ClassVar[bool] = True

    def __init__(self, host: Host, kernel: Kernel) -> None:
        Owner.__init__(self, kernel)
        Platform.__init__(self)
        self.host = host
        self.clock_rate = host.clock_rate
        self.kernel = kernel

    @property
    def clock_offset(self) -> float:
        return self.host.clock_offset

    def vanish(self) -> None:
        """Discard the endpoints of utcp without sending anything."""
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
        return self.host.observers(stack)


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
