"""A simulated network: hosts, the paths between them, faults, and a record of all packets."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import math
import random
import socket
import traceback
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any, Final, TypeVar, Unpack

from utcp.link.path import SocketAddress
from utcp.link.platform import Platform
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack
from utcp.testing.carrying import Carrying
from utcp.testing.faults import FaultRecord, RunSeed
from utcp.testing.firewall import Firewall
from utcp.testing.hints import Hints
from utcp.testing.host import RECEIVE_BUFFER, Host, is_unnoticed
from utcp.testing.interference import Interference
from utcp.testing.loop import VirtualLoop
from utcp.testing.nat import TCP_TIMEOUT, UDP_TIMEOUT, Dependence, Nat
from utcp.testing.owner import running_owner
from utcp.testing.path import ConditionChanges, Conditions, Path
from utcp.testing.record import Record, Sent
from utcp.testing.replaced import replaced
from utcp.testing.routing import Routing
from utcp.testing.rules import Carrier, Rule
from utcp.testing.schedule import Shuffle

T = TypeVar("T")

_LOOPBACK: Final = Conditions(mtu=65535)


class Network:
    """Hosts and the paths between them, in the virtual time of one loop, from one seed.

    The same seed and program give the same bytes at the same times; `digest()` allows a comparison. A perfect path
    connects every pair of hosts, unless `link` or `conditions` change it.

    Args:
        seed: the seed of all random numbers. After a text, `" shuffled"` shuffles the order of events that are due at
            the same time, and `" keep ..."` lets only the named faults happen, as in the `replay` of a run.
        conditions: those of all paths that `link` does not change.
        max_time: bound of the run, virtual seconds.
        max_steps: bound of the run, turns of the loop.
    """

    def __init__(
        self,
        seed: int | str = 0,
        *,
        conditions: Conditions | None = None,
        max_time: float = 86_400.0,
        max_steps: int = 5_000_000,
    ) -> None:
        run_seed = RunSeed.parse(seed)
        self.seed = seed = run_seed.base
        self.replay = str(run_seed)
        """The text that repeats this run as the seed of another network."""
        self.faults = FaultRecord(run_seed.keep)
        """The faults that packets have suffered by chance, in `faults.suffered`."""
        shuffle = Shuffle(seed) if run_seed.shuffled else None
        self.loop = VirtualLoop(max_time=max_time, max_steps=max_steps, shuffle=shuffle)
        entropy = random.Random(f"{seed} programs")  # noqa: S311  # reproducible, not secret
        self.loop.connect_to(self.resolve, self._platform, entropy)
        self._entropy = entropy
        self.random = random.Random(f"{seed} network")  # noqa: S311  # reproducible, not secret
        """Reproducible random numbers for scenarios."""
        self._chances = random.Random(f"{seed} chances")  # noqa: S311  # reproducible, not secret
        self.hosts: dict[str, Host] = {}
        self.nats: dict[str, Nat] = {}
        self.watches: list[Callable[[Host, Stack], Observer]] = []
        """Functions called for each new endpoint on any host. Each returns an additional observer of its stack."""
        self.failed: list[asyncio.Task[Any]] = []
        """Tasks started by `Host.run()` that failed without being awaited."""
        self._ran = False
        self._hints = Hints(self.hosts)
        self._default = conditions if conditions is not None else Conditions()
        self._conditions: dict[tuple[str, str], Conditions] = {}
        self._paths: dict[tuple[str, str], Path] = {}
        self._interference = Interference(self.loop)
        self._record = Record()
        self._routing = Routing()
        self.carrying = Carrying(
            self.loop,
            self.hosts,
            self._routing,
            self.path,
            self._interference,
            self.faults,
            self._record,
            self._hints,
        )
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
            self._hints.add_to(error)
            raise
        errors = [error for _, error in self._unnoticed()]
        if errors:
            group = ExceptionGroup("tasks of simulated hosts failed, and no other task awaited them", errors)
            self._hints.add_to(group)
            raise group
        return result

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
        clock_offset: float = 0.0,
        behind: Nat | None = None,
    ) -> Host:
        """Create a host. Raises ValueError when its name or address is taken, or `clock_rate` is not above 0.

        Args:
            name: the name that getaddrinfo resolves.
            address: IPv4 address; None picks one, for a host behind a NAT a private one.
            receive_buffer: receive buffer of each of its sockets, bytes.
            port_unreachable: whether the host answers datagrams for unbound UDP ports by ICMP.
            clock_rate: seconds that the host's clock counts in a second of virtual time. With 1.01 the clock is one
                percent fast, so that `loop.time()` advances, and timers fire, faster than on other hosts.
            clock_offset: seconds by which the host's wall clock, `time.time()`, is ahead.
            behind: the NAT that separates the host from the others. Only hosts behind the same NAT reach its address.
        """
        if not 0 < clock_rate < math.inf:
            raise ValueError(f"clock_rate must be above 0, not {clock_rate}")
        host = Host(
            self,
            name,
            self._free_address(name, address, behind),
            receive_buffer,
            port_unreachable=port_unreachable,
            clock_rate=clock_rate,
            clock_offset=clock_offset,
            behind=behind,
        )
        self._routing.add(host)
        self.hosts[name] = host
        return host

    def nat(
        self,
        name: str,
        address: str | None = None,
        *,
        mapping: Dependence = "endpoint-independent",
        filtering: Dependence = "address-and-port-dependent",
        timeout: float = UDP_TIMEOUT,
        tcp_timeout: float = TCP_TIMEOUT,
        preserve_ports: bool = False,
        hairpinning: bool = True,
        behind: Nat | None = None,
    ) -> Nat:
        """Create a NAT, for hosts that are created with `host(..., behind=nat)`.

        The NAT is no hop of its own. Conditions and faults are those between the hosts at both ends.

        Raises ValueError when its name or address is taken, and for values out of range.

        Args:
            name: the name by which getaddrinfo resolves the external address.
            address: the external IPv4 address; None picks one.
            mapping: what the external port depends on, besides the internal address and port (RFC 4787 4.1).
            filtering: what a packet from outside must share with a remote end to which a packet went before (RFC 4787
                5): nothing, its address, or its address and port.
            timeout: idle time, seconds, after which a mapping of UDP, that of utcp too, expires. The next packet from
                inside gets another external port. The default is the least of RFC 4787. Many devices have 30 s.
            tcp_timeout: the same for TCP in IP (RFC 5382).
            preserve_ports: the external port is the internal one if that is free, also after a mapping has expired.
            hairpinning: hosts behind the NAT reach each other by their external addresses (RFC 4787 6).
            behind: another NAT, behind which this one is.
        """
        nat = Nat(
            name,
            self._free_address(name, address, behind),
            self.seed,
            mapping=mapping,
            filtering=filtering,
            timeout=timeout,
            tcp_timeout=tcp_timeout,
            preserve_ports=preserve_ports,
            hairpinning=hairpinning,
            behind=behind,
        )
        self._routing.add(nat)
        self.nats[name] = nat
        return nat

    def _free_address(self, name: str, address: str | None, behind: Nat | None) -> str:
        """Return the address of a new host or NAT. Raises ValueError if its name is taken."""
        if name in self.hosts or name in self.nats:
            raise ValueError(f"the network already has a host {name!r}")
        if address is not None:
            return address
        number = len(self.hosts) + len(self.nats) + 1
        if behind is None:
            return f"10.0.{number >> 8}.{number & 255}"
        realm = list(self.nats).index(behind.name) + 1
        return f"172.{15 + realm}.{number >> 8}.{number & 255}"

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
        # Only the port tells which host behind a NAT is meant. Without it, the conditions are the usual ones.
        return self._conditions.get((source.name, destination.name), self._default)

    def path(self, source: Host, destination: Host) -> Path:
        """Return one direction of a path, with its counters."""
        pair = (source.name, destination.name)
        path = self._paths.get(pair)
        if path is None:
            conditions = _LOOPBACK if source is destination else self._conditions.get(pair, self._default)
            path = self._paths[pair] = Path(
                conditions,
                f"{self.seed} {source.name} {destination.name}",
                self.faults.on_path(source.name, destination.name),
            )
        return path

    def host_at(self, source: Host, address: str) -> Host | Nat | None:
        """Return the host or NAT that has the address, seen from `source`, or None."""
        return self.carrying.host_at(source, address)

    def resolve(self, name: str) -> str:
        """Return the IPv4 address of a name. Raises socket.gaierror if no host has it."""
        if name == "localhost":
            return "127.0.0.1"
        machine = self.hosts.get(name) or self.nats.get(name)
        if machine is not None:
            return machine.address
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            text = f"no host of the simulated network is called {name!r}; its hosts: {', '.join(self.hosts)}"
            raise socket.gaierror(socket.EAI_NONAME, text) from None

    # ------------------------------------------------------------------ faults

    def chance(self, name: str, probability: float) -> bool:
        """Return True with this probability: whether an event of the scenario's own happens now, such as a restart.

        The event counts as a fault, so that a search over seeds shows the events behind a failure, and leaves out those
        that are not needed for it. Raises ValueError if the probability is not in 0..1.
        """
        if not 0 <= probability <= 1:
            raise ValueError(f"a probability is in 0..1, not {probability}")
        return self.faults.event(name, self.loop.now, self._chances.random() < probability)

    def partition(self, a: Host, b: Host) -> None:
        """Drop all packets between the two hosts until `repair`."""
        self.partition_oneway(a, b)
        self.partition_oneway(b, a)

    def partition_oneway(self, source: Host, destination: Host) -> None:
        """Drop all packets in this direction until `repair`."""
        self._interference.cut((source.name, destination.name))

    def repair(self, a: Host, b: Host) -> None:
        """Undo `partition`."""
        self._interference.repair((a.name, b.name))
        self._interference.repair((b.name, a.name))

    def hold(self, a: Host, b: Host) -> None:
        """Hold all packets between the two hosts until `release`."""
        self._interference.hold((a.name, b.name))
        self._interference.hold((b.name, a.name))

    def release(self, a: Host, b: Host) -> None:
        """Deliver the held packets now, in order, and stop holding."""
        self._interference.release((a.name, b.name))
        self._interference.release((b.name, a.name))

    def firewall(
        self,
        a: Host,
        b: Host,
        *,
        after_idle: float | None = None,
        after_octets: int | None = None,
        chance: float = 0.0,
        silent: bool = False,
    ) -> Firewall:
        """Put a stateful firewall on the path between two hosts. It ends TCP connections, over utcp and in IP.

        `reset()` and `forget()` of the firewall end all connections at once. Raises ValueError for values out of range.

        Args:
            a: one host.
            b: the other one.
            after_idle: idle time, seconds, after which a connection ends.
            after_octets: octets of data, of both directions together, that pass before a connection ends. The segment
                that exceeds them is dropped.
            chance: probability that a segment ends its connection, and is dropped. It counts as a fault.
            silent: the firewall forgets connections and drops their segments, instead of sending RST.
        """
        pair = (a.name, b.name)
        number = len(self._interference.firewalls(pair))
        name = f"firewall {a.name} {b.name}"
        firewall = Firewall(
            self.loop,
            self.carrying.inject,
            lambda happens: self.faults.event(name, self.loop.now, happens),
            f"{self.seed} firewall {a.name} {b.name} {number}",
            after_idle=after_idle,
            after_octets=after_octets,
            chance=chance,
            silent=silent,
        )
        self._interference.add_firewall(pair, firewall)
        return firewall

    @contextlib.contextmanager
    def rule(self, decide: Rule) -> Iterator[None]:
        """Apply `decide` to every packet before its path does, within the context. The latest rule is applied first,
        and the first verdict other than PASS is final."""
        with self._interference.rule(decide):
            yield

    # ------------------------------------------------------------------ packets

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
        self.carrying.carry(source, sender, address, data, ecn, carrier)

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
        self.carrying.send_icmp(source, sender, address, code, mtu, datagram, carrier)

    @property
    def trace(self) -> list[Sent]:
        """Return all packets sent so far, unless `keep_trace` is False."""
        return self._record.trace

    @property
    def keep_trace(self) -> bool:
        """Return whether packets are added to the trace. Assign False to save memory."""
        return self._record.keeps_trace

    @keep_trace.setter
    def keep_trace(self, keep: bool) -> None:
        self._record.keep_trace(keep)

    @property
    def sent(self) -> int:
        """Return the number of packets sent so far."""
        return self._record.sent

    @property
    def undelivered(self) -> set[tuple[str, float, bytes]]:
        """Return the packets of the trace that reached a host without a link at their address: host, arrival time,
        octets."""
        return self._record.undelivered

    def digest(self) -> str:
        """Return a hash of all packets so far: times, bytes and arrivals. Equal digests mean equal runs."""
        return self._record.digest()
