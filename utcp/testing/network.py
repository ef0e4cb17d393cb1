"""A simulated network: hosts, the paths between them, faults, and a record of all packets."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import hashlib
import ipaddress
import math
import random
import socket
import traceback
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar, Unpack

from utcp.link.path import SocketAddress
from utcp.link.platform import Platform
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack
from utcp.testing.host import RECEIVE_BUFFER, Host, is_unnoticed
from utcp.testing.link import is_loopback
from utcp.testing.loop import VirtualLoop
from utcp.testing.owner import running_owner
from utcp.testing.path import HEADERS, Carried, ConditionChanges, Conditions, Path
from utcp.testing.replaced import replaced
from utcp.testing.rules import DROP, PASS, Carrier, Packet, Rule, Verdict

T = TypeVar("T")

_LOOPBACK: Final = Conditions(mtu=65535)


@dataclass(frozen=True, slots=True)
class Sent:
    """One entry of the network's trace: a packet and its arrival times (none, one or two).

    `hold` does not change the recorded arrival times.
    """

    packet: Packet
    arrivals: tuple[float, ...]
    ecn: int = 0
    """ECN bits (two) of the packet on arrival."""


class Network:
    """Hosts and the paths between them, in the virtual time of one loop, from one seed.

    The same seed and program give the same bytes at the same times; `digest()` allows a comparison. A perfect path
    connects every pair of hosts, unless `link` or `conditions` change it.
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
        entropy = random.Random(f"{seed} programs")  # noqa: S311  # reproducible, not secret
        self.loop.connect_to(self.resolve, self._platform, entropy)
        self._entropy = entropy
        self.random = random.Random(f"{seed} network")  # noqa: S311  # reproducible, not secret
        """Reproducible random numbers for scenarios."""
        self.hosts: dict[str, Host] = {}
        self.trace: list[Sent] = []
        """All packets sent so far, unless `keep_trace` is False."""
        self.keep_trace = True
        self.sent = 0
        """Number of packets sent so far."""
        self.undelivered: set[tuple[str, float, bytes]] = set()
        """Packets of the trace that reached a host without a link at their address: host, arrival time, octets."""
        self.watches: list[Callable[[Host, Stack], Observer]] = []
        """Functions called for each new endpoint on any host. Each returns an additional observer of its stack."""
        self.failed: list[asyncio.Task[Any]] = []
        """Tasks started by `Host.run()` that failed without being awaited."""
        self._ran = False
        self._hints: dict[str, None] = {}
        """Mistakes that refused packets suggest. They are shown if the run fails."""
        # Without an owner, so that packets in flight survive a crash of their sender.
        self._context = contextvars.Context()
        self._default = conditions if conditions is not None else Conditions()
        self._conditions: dict[tuple[str, str], Conditions] = {}
        self._paths: dict[tuple[str, str], Path] = {}
        self._cut: dict[tuple[str, str], None] = {}
        self._held: dict[tuple[str, str], list[tuple[tuple[str, int], tuple[str, int], bytes, int, Carrier]]] = {}
        self._rules: list[Rule] = []
        self._digest = hashlib.blake2b(digest_size=16)
        self._by_address: dict[str, Host] = {}
        self.main = self.host("main")
        """The host of the scenario and of all code that was started on no other host. It cannot crash."""

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run `main` on the host `main` to its end, in virtual time.

        A network runs once, and its loop is closed afterwards. At the end, remaining tasks are cancelled, and the
        endpoints of all hosts are flushed and closed. Raises the errors of VirtualLoop.run; an ExceptionGroup of the
        errors of tasks that `Host.run()` started and that were not awaited; RuntimeError on a second call.
        """
        misuse = self._misuse()
        if misuse is not None:
            main.close()
            raise RuntimeError(misuse)
        self._ran = True
        try:
            with replaced(self._entropy):
                try:
                    result = self.loop.run(main, self.main.context())
                finally:
                    for host in self.hosts.values():
                        host.kernel.close_sockets()
        except BaseException as error:
            for task, unnoticed in self._unnoticed():
                lines = "".join(traceback.format_exception(unnoticed))
                error.add_note(f"Besides, {task.get_name()} failed, and no task awaited it:\n{lines}")
            self._add_hints(error)
            raise
        errors = [error for _, error in self._unnoticed()]
        if errors:
            group = ExceptionGroup("tasks of simulated hosts failed, and no other task awaited them", errors)
            self._add_hints(group)
            raise group
        return result

    def _add_hints(self, error: BaseException) -> None:
        for hint in self._hints:
            error.add_note(hint)

    def _misuse(self) -> str | None:
        """Return why `run` cannot run now, or None if it can."""
        if self.loop.is_running():
            return "the network runs already: await the coroutine, or start it with Host.run()"
        if self._ran:
            return "a Network runs only once: create another one"
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return None
        return "Network.run() cannot be called in a running event loop: an async test needs the fixture simnet"

    def close(self) -> None:
        """Close the loop of a network that did not run. Idempotent."""
        self._ran = True
        self.loop.close()

    def _unnoticed(self) -> list[tuple[asyncio.Task[Any], Exception]]:
        found = []
        for task in self.failed:
            if is_unnoticed(task):
                error = task.exception()
                if isinstance(error, Exception):  # other exceptions end the loop at once
                    found.append((task, error))
        return found

    def _platform(self) -> Platform:
        owner = running_owner.get()
        return owner if isinstance(owner, Platform) else self.main.process

    # ------------------------------------------------------------------ hosts and paths

    def host(
        self,
        name: str,
        address: str | None = None,
        *,
        receive_buffer: int = RECEIVE_BUFFER,
        port_unreachable: bool = True,
        clock_rate: float = 1.0,
    ) -> Host:
        """Create a host. Raises ValueError when its name or address is taken, or `clock_rate` is not above 0.

        Args:
            name: the name that getaddrinfo resolves.
            address: IPv4 address; None picks one.
            receive_buffer: receive buffer of each of its sockets, bytes.
            port_unreachable: whether the host answers datagrams for unbound UDP ports by ICMP.
            clock_rate: seconds that the host's clock counts in a second of virtual time. With 1.01 the clock is one
                percent fast, so that `loop.time()` advances, and timers fire, faster than on other hosts.
        """
        if address is None:
            number = len(self.hosts) + 1
            address = f"10.0.{number >> 8}.{number & 255}"
        if name in self.hosts or address in self._by_address:
            raise ValueError(f"the network already has a host {name!r} or a host at {address}")
        if not 0 < clock_rate < math.inf:
            raise ValueError(f"clock_rate must be above 0, not {clock_rate}")
        host = Host(self, name, address, receive_buffer, port_unreachable=port_unreachable, clock_rate=clock_rate)
        self.hosts[name] = host
        self._by_address[address] = host
        return host

    def link(self, a: Host, b: Host, conditions: Conditions | None = None, **changes: Unpack[ConditionChanges]) -> None:
        """Set the conditions between two hosts, both ways.

        `changes` are fields of `Conditions`, such as `loss=0.1`. The others stay as they are, or as in `conditions`.
        """
        self.link_oneway(a, b, conditions, **changes)
        self.link_oneway(b, a, conditions, **changes)

    def link_oneway(
        self,
        source: Host,
        destination: Host,
        conditions: Conditions | None = None,
        **changes: Unpack[ConditionChanges],
    ) -> None:
        """Set the conditions in one direction. For an asymmetric path, call `link()` first and then this."""
        if source is destination:
            raise ValueError(f"{source!r} always reaches itself over a perfect path")
        pair = (source.name, destination.name)
        base = conditions if conditions is not None else self._conditions.get(pair, self._default)
        self._conditions[pair] = changed = replace(base, **changes)
        path = self._paths.get(pair)
        if path is not None:
            path.change(changed)

    def conditions(self, source: Host, address: str) -> Conditions:
        """Return the conditions of the path from `source` to an address."""
        destination = self.host_at(source, address)
        if destination is None or destination is source:
            return _LOOPBACK
        return self._conditions.get((source.name, destination.name), self._default)

    def path(self, source: Host, destination: Host) -> Path:
        """Return one direction of a path, with its counters."""
        pair = (source.name, destination.name)
        path = self._paths.get(pair)
        if path is None:
            conditions = _LOOPBACK if source is destination else self._conditions.get(pair, self._default)
            path = self._paths[pair] = Path(conditions, f"{self.seed} {source.name} {destination.name}")
        return path

    def host_at(self, source: Host, address: str) -> Host | None:
        """Return the host that has the address, seen from `source`, or None."""
        return source if is_loopback(address) else self._by_address.get(address)

    def resolve(self, name: str) -> str:
        """Return the IPv4 address of a name. Raises socket.gaierror if no host has it."""
        if name == "localhost":
            return "127.0.0.1"
        host = self.hosts.get(name)
        if host is not None:
            return host.address
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            text = f"no host of the simulated network is called {name!r}; its hosts: {', '.join(self.hosts)}"
            raise socket.gaierror(socket.EAI_NONAME, text) from None

    # ------------------------------------------------------------------ faults

    def partition(self, a: Host, b: Host) -> None:
        """Drop all packets between the two hosts until `repair`."""
        self.partition_oneway(a, b)
        self.partition_oneway(b, a)

    def partition_oneway(self, source: Host, destination: Host) -> None:
        """Drop all packets in this direction until `repair`."""
        self._cut[source.name, destination.name] = None

    def repair(self, a: Host, b: Host) -> None:
        """Undo `partition`."""
        self._cut.pop((a.name, b.name), None)
        self._cut.pop((b.name, a.name), None)

    def hold(self, a: Host, b: Host) -> None:
        """Hold all packets between the two hosts until `release`."""
        self._held.setdefault((a.name, b.name), [])
        self._held.setdefault((b.name, a.name), [])

    def release(self, a: Host, b: Host) -> None:
        """Deliver the held packets now, in order, and stop holding."""
        for pair in ((a.name, b.name), (b.name, a.name)):
            for held in self._held.pop(pair, []):
                self.loop.call_soon(self.hosts[pair[1]].receive, *held)

    @contextlib.contextmanager
    def rule(self, decide: Rule) -> Iterator[None]:
        """Apply `decide` to every packet before its path does, within the context. The latest rule is applied first,
        and the first verdict other than PASS is final."""
        self._rules.insert(0, decide)
        try:
            yield
        finally:
            self._rules.remove(decide)

    # ------------------------------------------------------------------ carrying

    def carry(
        self,
        source: Host,
        sender: tuple[str, int],
        address: SocketAddress,
        data: bytes,
        ecn: int = 0,
        carrier: Carrier = "utcp",
    ) -> None:
        """Send a packet from `sender`, an address of `source`, to `address`, with these ECN bits."""
        destination = self.host_at(source, address[0])
        if destination is None:  # the link has reported this
            return
        now = self.loop.now
        packet = Packet(self.sent, now, source.name, destination.name, data, ecn, carrier)
        self.sent += 1
        carried = self._carried(packet, source, destination)
        arrivals = tuple(carried.arrivals)
        target = (address[0], address[1])
        held = self._held.get((source.name, destination.name))
        if held is not None:
            held += [(sender, target, data, carried.ecn, carrier)] * len(arrivals)
        else:
            for arrival in arrivals:
                self.loop.at(
                    arrival, destination.receive, sender, target, data, carried.ecn, carrier, context=self._context
                )
        if carried.too_big:
            conditions = self.path(source, destination).conditions
            if conditions.icmp_too_big:
                self.loop.at(
                    now + conditions.latency,
                    source.receive_icmp,
                    sender,
                    target,
                    errno.EMSGSIZE,
                    conditions.mtu,
                    data,
                    carrier,
                    context=self._context,
                )
        # For utcp without ECN the text stays as it was before there was anything else, so that digests stay the same.
        marks = f" {ecn}>{carried.ecn}" if ecn else ""
        if carrier != "utcp":
            marks += f" {carrier}"
        self._digest.update(f"{now:.9f} {source.name} {destination.name} {arrivals}{marks}".encode() + data)
        if self.keep_trace:
            self.trace.append(Sent(packet, arrivals, carried.ecn))

    def note_undelivered(self, host: Host, arrival: float, data: bytes) -> None:
        """Record that a packet has reached a host without a link at its address, at the time `arrival`."""
        if self.keep_trace:
            self.undelivered.add((host.name, arrival, data))

    def send_icmp(
        self,
        source: Host,
        sender: tuple[str, int],
        address: tuple[str, int],
        code: int,
        mtu: int | None,
        datagram: bytes,
        carrier: Carrier = "utcp",
    ) -> None:
        """Send an ICMP message from `source` about a datagram that went from `sender` to `address`.

        The message takes the path's latency. It is never lost at random; only `partition` and `hold` stop it.
        """
        destination = self.host_at(source, sender[0])
        if destination is None:
            return
        pair = (source.name, destination.name)
        if pair in self._cut or pair in self._held:
            return
        arrival = self.loop.now + self.conditions(source, sender[0]).latency
        self.loop.at(
            arrival, destination.receive_icmp, sender, address, code, mtu, datagram, carrier, context=self._context
        )

    def refused(self, host: Host, address: tuple[str, int], carrier: Carrier = "utcp") -> None:
        """Note why nothing on `host` received a packet to `address`, if the addresses show it."""
        ip, port = address
        kind = "TCP" if carrier == "tcp" else "UDP"
        there = host.bound_addresses(port, carrier)
        if is_loopback(ip):
            others = [
                name for name, other in self.hosts.items() if other is not host and other.bound_addresses(port, carrier)
            ]
            if others and not there:
                self._hints[
                    f"hint: on the host {host.name!r}, {ip} is that host itself, where no socket is bound to {kind}"
                    f" port {port}. The port is bound on the host {others[0]!r}: connect to its name."
                ] = None
        elif there and all(map(is_loopback, there)):
            self._hints[
                f"hint: on the host {host.name!r}, {kind} port {port} is bound to {there[0]}, which other hosts cannot"
                ' reach: bind "0.0.0.0".'
            ] = None

    def _carried(self, packet: Packet, source: Host, destination: Host) -> Carried:
        if (source.name, destination.name) in self._cut:
            return Carried([], packet.ecn)
        path = self.path(source, destination)
        verdict = self._verdict(packet)
        if verdict is PASS:
            if packet.carrier == "udp":
                return path.forward_datagram(len(packet.data), packet.time)
            return path.forward(len(packet.data), packet.time, packet.ecn, HEADERS[packet.carrier])
        if verdict is DROP:
            return Carried([], packet.ecn)
        return Carried([packet.time + path.conditions.latency + verdict], packet.ecn)

    def _verdict(self, packet: Packet) -> Verdict | float:
        try:
            for decide in self._rules:
                verdict = decide(packet)
                if verdict is PASS:
                    continue
                if verdict is DROP or (isinstance(verdict, (int, float)) and verdict >= 0):
                    return verdict
                raise TypeError(f"{decide!r} must return PASS, DROP, or 0 or more seconds, not {verdict!r}")  # noqa: TRY301
        except Exception as error:
            # Raised here, the error would look like the sender's own, and the sender would continue.
            self.loop.fail(error)
            return DROP
        return PASS

    def digest(self) -> str:
        """Return a hash of all packets so far: times, bytes and arrivals. Equal digests mean equal runs."""
        return self._digest.hexdigest()
