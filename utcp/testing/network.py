"""A simulated network: hosts, the paths between them, what can go wrong, and a record of it all."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import hashlib
import random
import socket
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from utcp.testing.link import SimulatedLink
from utcp.testing.loop import VirtualLoop
from utcp.testing.path import Conditions, Path
from utcp.udp.path import SocketAddress
from utcp.udp.platform import Platform
from utcp.wire import MalformedSegment, Segment, decode

T = TypeVar("T")

RECEIVE_BUFFER: Final = 4 << 20
"""Octets that a simulated socket holds, unless its host says otherwise."""

_LOOPBACK: Final = Conditions(mtu=65536)
_EPHEMERAL_UDP: Final = range(32768, 61000)

_current_host: contextvars.ContextVar[Host] = contextvars.ContextVar("utcp_simulated_host")


@dataclass(frozen=True, slots=True)
class Packet:
    """A datagram on its way, as rules see it."""

    number: int
    """Counts from 0 over the whole network, in the order of sending."""
    time: float
    source: str
    """Names of hosts."""
    destination: str
    data: bytes

    @property
    def segment(self) -> Segment | None:
        """The TCP segment inside; None when it is none."""
        try:
            return decode(self.data)
        except MalformedSegment:
            return None


PASS: Final = "pass"  # noqa: S105  # a verdict
DROP: Final = "drop"

Rule = Callable[[Packet], "str | float"]
"""Decides on a packet: PASS (the path decides), DROP, or the seconds by which it is to be delivered later."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One line of the network's trace: what was sent, and when it will arrive: never, once, or twice."""

    packet: Packet
    arrivals: tuple[float, ...]


class Host:
    """A machine of its own: an address, UDP ports, and the programs that run on it."""

    def __init__(self, network: Network, name: str, address: str, receive_buffer: int) -> None:
        self.network = network
        self.name = name
        self.address = address
        self.crashed = False
        self._receive_buffer = receive_buffer
        self._links: dict[tuple[str, int], SimulatedLink] = {}
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._program: Callable[[], Coroutine[Any, Any, Any]] | None = None
        self.endpoints: Any = None
        """For utcp.aio: what belongs to the endpoints of this host."""

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.address}>"

    def run(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start `coroutine` on this host: the utcp calls that it makes use this host's addresses."""
        context = contextvars.copy_context()
        context.run(_current_host.set, self)
        task = self.network.loop.create_task(coroutine, context=context)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        return task

    def start(self, program: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Start `program()` on this host, and again after each `restart`."""
        self._program = program
        return self.run(program())

    def crash(self) -> None:
        """Power off: everything on this host is gone at once, and nothing is sent about it."""
        self.crashed = True
        endpoints, self.endpoints = self.endpoints, None
        if endpoints is not None:
            endpoints.vanish()
        for link in list(self._links.values()):
            link.close()
        for task in list(self._tasks):
            task.cancel()

    def restart(self) -> asyncio.Task[Any] | None:
        """Power on again; the program given to `start` runs anew."""
        if not self.crashed:
            self.crash()
        self.crashed = False
        return None if self._program is None else self.run(self._program())

    # ------------------------------------------------------------------ sockets

    def bind(self, address: SocketAddress) -> SimulatedLink:
        """A link bound to one of the host's addresses or to the wildcard; port 0 picks one. Raises OSError."""
        ip, port = address[0], address[1]
        if ip not in ("0.0.0.0", self.address) and not ip.startswith("127."):
            raise OSError(
                errno.EADDRNOTAVAIL,
                f"error while attempting to bind on address {(ip, port)}: cannot assign requested address",
            )
        if port == 0:
            port = next(number for number in _EPHEMERAL_UDP if (ip, number) not in self._links)
        if (ip, port) in self._links:
            raise OSError(
                errno.EADDRINUSE, f"error while attempting to bind on address {(ip, port)}: address already in use"
            )
        link = SimulatedLink(self, (ip, port), self._receive_buffer)
        self._links[ip, port] = link
        return link

    def unbind(self, link: SimulatedLink) -> None:
        """The link was closed."""
        self._links.pop((link.ip, link.port), None)

    def receive(self, source: tuple[str, int], address: tuple[str, int], data: bytes) -> None:
        """A datagram for one of our addresses has arrived. Nobody there: it vanishes."""
        link = self._links.get(address) or self._links.get(("0.0.0.0", address[1]))
        if link is not None and not self.crashed:
            link.arrive(source, address[0], data)


class Network:
    """Hosts and the paths between them, in the virtual time of one loop, from one seed.

    The same seed and program give the same bytes at the same times: `digest()` says so. Every pair of hosts is
    connected by a perfect path unless `link` or `conditions` say otherwise.
    """

    def __init__(
        self,
        seed: int | str = 0,
        *,
        conditions: Conditions | None = None,
        max_time: float = 86_400.0,
        max_steps: int = 5_000_000,
    ) -> None:
        self.seed = seed
        self.loop = VirtualLoop(max_time=max_time, max_steps=max_steps)
        self.loop.resolve_with(self._resolve)
        self.loop.utcp_platform = SimulatedPlatform(self)  # type: ignore[attr-defined]  # utcp.aio looks for it
        self.random = random.Random(f"{seed} network")  # noqa: S311  # reproducible, not secret
        self.hosts: dict[str, Host] = {}
        self.trace: list[Sent] = []
        """Everything that was sent, unless `keep_trace` was turned off."""
        self.keep_trace = True
        self.sent = 0
        self._default = conditions if conditions is not None else Conditions()
        self._conditions: dict[tuple[str, str], Conditions] = {}
        self._paths: dict[tuple[str, str], Path] = {}
        self._cut: dict[tuple[str, str], None] = {}
        self._held: dict[tuple[str, str], list[tuple[tuple[str, int], tuple[str, int], bytes]]] = {}
        self._rules: list[Rule] = []
        self._digest = hashlib.blake2b(digest_size=16)
        self._by_address: dict[str, Host] = {}
        self.main = self.host("main")
        """The host of code that was started on no other."""

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run `main` on the host `main`, to its end, in virtual time. Once: the loop is closed afterwards."""

        async def on_main() -> T:
            return await self.main.run(main)

        return self.loop.run(on_main())

    # ------------------------------------------------------------------ what there is

    def host(self, name: str, address: str | None = None, *, receive_buffer: int = RECEIVE_BUFFER) -> Host:
        """A new host, known by `name` to getaddrinfo. Raises ValueError when the name or address is taken."""
        if address is None:
            number = len(self.hosts) + 1
            address = f"10.0.{number >> 8}.{number & 255}"
        if name in self.hosts or address in self._by_address:
            raise ValueError(f"there is a host {name!r}, or one at {address}, already")
        host = Host(self, name, address, receive_buffer)
        self.hosts[name] = host
        self._by_address[address] = host
        return host

    def link(self, a: Host, b: Host, conditions: Conditions | None = None, **changes: Any) -> None:
        """Set the conditions between two hosts, both ways; `changes` are fields of Conditions."""
        self.link_oneway(a, b, conditions, **changes)
        self.link_oneway(b, a, conditions, **changes)

    def link_oneway(
        self, source: Host, destination: Host, conditions: Conditions | None = None, **changes: Any
    ) -> None:
        """Set the conditions in one direction."""
        pair = (source.name, destination.name)
        base = conditions if conditions is not None else self._conditions.get(pair, self._default)
        self._conditions[pair] = changed = replace(base, **changes)
        path = self._paths.get(pair)
        if path is not None:
            path.conditions = changed

    def conditions(self, source: Host, address: str) -> Conditions:
        """The conditions on the way from `source` to an address."""
        destination = self.host_at(source, address)
        if destination is None or destination is source:
            return _LOOPBACK
        return self._conditions.get((source.name, destination.name), self._default)

    def path(self, source: Host, destination: Host) -> Path:
        """One direction, with its counts."""
        pair = (source.name, destination.name)
        path = self._paths.get(pair)
        if path is None:
            conditions = _LOOPBACK if source is destination else self._conditions.get(pair, self._default)
            path = self._paths[pair] = Path(conditions, f"{self.seed} {source.name} {destination.name}")
        return path

    def host_at(self, source: Host, address: str) -> Host | None:
        """Whose address it is, seen from `source`; None: nobody's."""
        return source if address.startswith("127.") else self._by_address.get(address)

    def _resolve(self, name: str) -> str:
        if name == "localhost":
            return "127.0.0.1"
        if name in self._by_address or name == "0.0.0.0" or name.startswith("127."):
            return name
        host = self.hosts.get(name)
        if host is None:
            raise socket.gaierror(socket.EAI_NONAME, f"no host of the simulated network is called {name!r}")
        return host.address

    # ------------------------------------------------------------------ what can go wrong

    def partition(self, a: Host, b: Host) -> None:
        """Nothing gets through between the two, until `repair`."""
        self.partition_oneway(a, b)
        self.partition_oneway(b, a)

    def partition_oneway(self, source: Host, destination: Host) -> None:
        """Nothing gets through in this direction, until `repair`."""
        self._cut[source.name, destination.name] = None

    def repair(self, a: Host, b: Host) -> None:
        """Undo `partition`."""
        self._cut.pop((a.name, b.name), None)
        self._cut.pop((b.name, a.name), None)

    def hold(self, a: Host, b: Host) -> None:
        """Keep what is sent between the two, until `release`."""
        self._held.setdefault((a.name, b.name), [])
        self._held.setdefault((b.name, a.name), [])

    def release(self, a: Host, b: Host) -> None:
        """Deliver now what was held, in order, and hold no longer."""
        for pair in ((a.name, b.name), (b.name, a.name)):
            for source, address, data in self._held.pop(pair, []):
                self.loop.call_soon(self.hosts[pair[1]].receive, source, address, data)

    def crash(self, host: Host) -> None:
        """Power off: see Host.crash."""
        host.crash()

    def restart(self, host: Host) -> asyncio.Task[Any] | None:
        """Power on again: see Host.restart."""
        return host.restart()

    @contextlib.contextmanager
    def rule(self, decide: Rule) -> Iterator[None]:
        """While the context lasts, let `decide` see every packet before its path does. The latest rule comes first;
        the first that does not say PASS wins."""
        self._rules.insert(0, decide)
        try:
            yield
        finally:
            self._rules.remove(decide)

    # ------------------------------------------------------------------ carrying

    def carry(self, source: Host, sender: tuple[str, int], address: SocketAddress, data: bytes) -> None:
        """Send a datagram from `sender`, an address of `source`, to `address`."""
        destination = self.host_at(source, address[0])
        if destination is None:
            return
        now = self.loop.time()
        packet = Packet(self.sent, now, source.name, destination.name, data)
        self.sent += 1
        arrivals = tuple(self._arrivals(packet, source, destination))
        target = (address[0], address[1])
        held = self._held.get((source.name, destination.name))
        if held is not None:
            held += [(sender, target, data)] * len(arrivals)
        else:
            for arrival in arrivals:
                self.loop.call_at(arrival, destination.receive, sender, target, data)
        self._digest.update(f"{now:.9f} {source.name} {destination.name} {arrivals}".encode() + data)
        if self.keep_trace:
            self.trace.append(Sent(packet, arrivals))

    def _arrivals(self, packet: Packet, source: Host, destination: Host) -> list[float]:
        if (source.name, destination.name) in self._cut or source.crashed:
            return []
        for decide in self._rules:
            verdict = decide(packet)
            if verdict == PASS:
                continue
            if verdict == DROP:
                return []
            return [packet.time + self.path(source, destination).conditions.latency + float(verdict)]
        return self.path(source, destination).carry(len(packet.data), packet.time)

    def digest(self) -> str:
        """A hash of everything that was sent so far: times, bytes, fates. Equal digests: the same run."""
        return self._digest.hexdigest()


class SimulatedPlatform(Platform):
    """What utcp.aio takes from a simulation instead of from the operating system."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self._network = network

    @property
    def host(self) -> Host:
        """The host whose code is running."""
        return _current_host.get(self._network.main)

    def bind(self, family: int, address: SocketAddress, *, reuse_port: bool = False) -> SimulatedLink:
        """A link of the current host. Raises OSError."""
        if family != socket.AF_INET:
            raise OSError(errno.EAFNOSUPPORT, "the simulated network has IPv4 only")
        if reuse_port:
            raise OSError(errno.EOPNOTSUPP, "the simulated network has no SO_REUSEPORT")
        return self.host.bind(address)

    def secret(self) -> bytes:
        """Reproducible: from the network's seed."""
        return self._network.random.randbytes(16)

    def get_endpoints(self) -> Any:
        return self.host.endpoints

    def set_endpoints(self, endpoints: Any) -> None:
        self.host.endpoints = endpoints


def nth(number: int, matches: Callable[[Segment], bool], verdict: str | float = DROP) -> Rule:
    """A rule for one segment: the `number`th (from 1) that `matches`. `nth(3, lambda s: s.flags & FIN)` drops the third
    FIN."""
    seen = 0

    def decide(packet: Packet) -> str | float:
        nonlocal seen
        segment = packet.segment
        if segment is None or not matches(segment):
            return PASS
        seen += 1
        return verdict if seen == number else PASS

    return decide
