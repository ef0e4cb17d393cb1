"""Carries the packets of a simulated network: through NATs, rules, firewalls and paths to their destination."""

from __future__ import annotations

import contextvars
import errno
import functools
from collections.abc import Callable, Mapping

from utcp.link.path import SocketAddress
from utcp.testing.faults import FaultRecord
from utcp.testing.hints import Hints
from utcp.testing.host import Host
from utcp.testing.interference import Interference
from utcp.testing.link import is_loopback
from utcp.testing.loop import VirtualLoop
from utcp.testing.nat import Nat
from utcp.testing.path import HEADERS, Carried, Path
from utcp.testing.record import Record
from utcp.testing.routing import Addressed, Routing
from utcp.testing.rules import DROP, PASS, Carrier, Packet


class Carrying:
    """What a network does with packets.

    Args:
        loop: the loop of the network.
        hosts: the hosts, by name.
        routing: which host or NAT has an address.
        path: returns one direction of a path between two hosts.
        interference: partitions, holds, rules and firewalls.
        faults: the record of the faults that packets suffer by chance.
        record: the record of all packets.
        hints: the mistakes that refused packets suggest.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        hosts: Mapping[str, Host],
        routing: Routing,
        path: Callable[[Host, Host], Path],
        interference: Interference,
        faults: FaultRecord,
        record: Record,
        hints: Hints,
    ) -> None:
        self._loop = loop
        self._hosts = hosts
        self._routing = routing
        self._path = path
        self._interference = interference
        self._faults = faults
        self._record = record
        self._hints = hints
        # Without an owner, so that packets in flight survive a crash of their sender.
        self._context = contextvars.Context()

    def host_at(self, source: Host, address: str) -> Host | Nat | None:
        """Return the host or NAT that has the address, seen from `source`, or None."""
        return source if is_loopback(address) else self._routing.find(source, address)

    def carry(
        self,
        source: Host,
        sender: tuple[str, int],
        address: SocketAddress,
        data: bytes,
        ecn: int,
        carrier: Carrier,
    ) -> None:
        """Send a packet from `sender`, an address of `source`, to `address`, with these ECN bits."""
        found = self.host_at(source, address[0])
        if found is None:  # the link has reported this
            return
        now = self._loop.now
        target = (address[0], address[1])
        outside = Addressed(sender, target, data, carrier)
        # The NATs of the sender translate the packet now, and those of the receiver when it arrives. Their present
        # mappings tell which host that will be, and so the path.
        way = (found, outside) if found is source else self._routing.outward(source, outside, now)
        end = None if way is None else self._routing.inward(*way, now)
        name = found.name if end is None else end[0].name
        packet = Packet(self._record.next_number(), now, source.name, name, data, ecn, carrier)
        if way is None or end is None:
            self._record.add(packet, Carried([], ecn))
            return
        reached, outside = way
        destination, inside = end
        carried = self._carried(packet, source, destination, outside)
        self._dispatch(packet, carried, reached, outside, end)
        if carried.too_big:
            conditions = self._path(source, destination).conditions
            if conditions.icmp_too_big:
                self._loop.at(
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
        self._record.add(packet, carried, outside if outside.sender != sender else None, inside.data)

    def inject(self, source: str, destination: str, outside: Addressed) -> None:
        """Send a packet of a firewall over the path from the host `source` to the host `destination`. Rules and
        firewalls do not see it."""
        now = self._loop.now
        reached: Host | Nat = self._hosts[destination]
        while reached.address != outside.target[0] and reached.behind is not None:
            reached = reached.behind
        end = self._routing.inward(reached, outside, now)
        if end is None:
            return
        packet = Packet(self._record.next_number(), now, source, destination, outside.data, 0, outside.carrier)
        carried = Carried([], 0)
        if not self._interference.is_cut((source, destination)):
            path = self._path(self._hosts[source], self._hosts[destination])
            carried = path.forward(len(outside.data), now, 0, HEADERS[outside.carrier])
            if carried.faults:
                self._faults.note(packet, carried.faults)
        self._dispatch(packet, carried, reached, outside, end)
        self._record.add(packet, carried, None, end[1].data)

    def _dispatch(
        self, packet: Packet, carried: Carried, reached: Host | Nat, outside: Addressed, end: tuple[Host, Addressed]
    ) -> None:
        """Let a packet arrive at the times at which its path delivers it, or hold it."""
        deliver = functools.partial(self._arrive, reached, outside, end, carried.ecn)
        path = (packet.source, packet.destination)
        held = self._interference.held(path)
        if held is not None:
            held += [deliver] * len(carried.arrivals)
        else:
            for arrival in carried.arrivals:
                self._loop.at(arrival, deliver, context=self._context, path=path)

    def _arrive(self, reached: Host | Nat, packet: Addressed, expected: tuple[Host, Addressed], ecn: int) -> None:
        """Deliver a packet at the end of its path, through the NATs before its destination."""
        end = self._routing.inward(reached, packet, self._loop.now)
        if end is None:  # the mapping has gone meanwhile
            self.note_undelivered(expected[0], self._loop.now, expected[1].data)
        else:
            destination, inside = end
            destination.receive(inside.sender, inside.target, inside.data, ecn, inside.carrier)

    def _carried(self, packet: Packet, source: Host, destination: Host, outside: Addressed) -> Carried:
        verdict = self._interference.judge(packet, outside)
        if verdict is DROP:
            return Carried([], packet.ecn)
        path = self._path(source, destination)
        if verdict is PASS:
            if packet.carrier == "udp":
                carried = path.forward_datagram(len(packet.data), packet.time)
            else:
                carried = path.forward(len(packet.data), packet.time, packet.ecn, HEADERS[packet.carrier])
            if carried.faults:
                self._faults.note(packet, carried.faults)
            return carried
        return Carried([packet.time + path.conditions.latency + verdict], packet.ecn)

    def send_icmp(
        self,
        source: Host,
        sender: tuple[str, int],
        address: tuple[str, int],
        code: int,
        mtu: int | None,
        datagram: bytes,
        carrier: Carrier,
    ) -> None:
        """Send an ICMP message, as `Network.send_icmp()` describes it."""
        packet = Addressed(sender, address, datagram, carrier)
        end = (source, packet) if is_loopback(sender[0]) else self._routing.backward(source, packet, self._loop.now)
        if end is None:
            return
        destination, packet = end
        pair = (source.name, destination.name)
        if self._interference.is_cut(pair) or self._interference.held(pair) is not None:
            return
        latency = self._path(source, destination).conditions.latency
        self._loop.at(
            self._loop.now + latency,
            destination.receive_icmp,
            packet.sender,
            packet.target,
            code,
            mtu,
            packet.data,
            carrier,
            context=self._context,
        )

    def refused(self, host: Host, address: tuple[str, int], carrier: Carrier) -> None:
        """Note that nothing on `host` has received a packet to `address`."""
        self._hints.refused(host, address, carrier)

    def note_undelivered(self, host: Host, arrival: float, data: bytes) -> None:
        """Record that a packet has reached a host without a link at its address, at the time `arrival`."""
        self._record.note_undelivered(host.name, arrival, data)
