"""Addresses in a simulated network: which host has one, and what NATs make of those of a packet."""

from __future__ import annotations

from typing import NamedTuple

from utcp.testing.host import Host
from utcp.testing.nat import Address, Nat, Protocol
from utcp.testing.rules import Carrier


class Addressed(NamedTuple):
    """A packet with its present addresses. With the carrier "tcp", the ports are in the segment, and here 0."""

    sender: Address
    target: Address
    data: bytes
    carrier: Carrier

    @property
    def protocol(self) -> Protocol:
        return "tcp" if self.carrier == "tcp" else "udp"

    @property
    def sender_port(self) -> int:
        return int.from_bytes(self.data[:2], "big") if self.carrier == "tcp" else self.sender[1]

    @property
    def target_port(self) -> int:
        return int.from_bytes(self.data[2:4], "big") if self.carrier == "tcp" else self.target[1]

    @property
    def source(self) -> Address:
        return self.sender[0], self.sender_port

    @property
    def destination(self) -> Address:
        return self.target[0], self.target_port

    def from_address(self, address: Address) -> Addressed:
        """Return the packet with another source."""
        ip, port = address
        if self.carrier != "tcp":
            return self._replace(sender=address)
        return self._replace(sender=(ip, 0), data=port.to_bytes(2, "big") + self.data[2:])

    def to_address(self, address: Address) -> Addressed:
        """Return the packet with another destination."""
        ip, port = address
        if self.carrier != "tcp":
            return self._replace(target=address)
        return self._replace(target=(ip, 0), data=self.data[:2] + port.to_bytes(2, "big") + self.data[4:])


class Routing:
    """The addresses of hosts and NATs: public ones, and those behind each NAT."""

    def __init__(self) -> None:
        self._at: dict[tuple[Nat | None, str], Host | Nat] = {}

    def add(self, machine: Host | Nat) -> None:
        """Add a host or a NAT. Raises ValueError if its address is taken."""
        key = (machine.behind, machine.address)
        if key in self._at:
            raise ValueError(f"the network already has a host at {machine.address}")
        self._at[key] = machine

    def find(self, source: Host, ip: str) -> Host | Nat | None:
        """Return the host or NAT that has the address, seen from `source`, or None."""
        realm = source.behind
        while realm is not None and (realm, ip) not in self._at:
            realm = realm.behind
        return self._at.get((realm, ip))

    def outward(self, source: Host, packet: Addressed, now: float) -> tuple[Host | Nat, Addressed] | None:
        """Return the host or NAT that a packet of `source` reaches, and the packet as the NATs of `source` send it.

        Return None if one of them drops it.
        """
        realm, passed = source.behind, []
        while realm is not None and (realm, packet.target[0]) not in self._at:
            external = realm.outbound(packet.protocol, packet.source, packet.destination, now)
            if external is None:
                return None
            packet = packet.from_address(external)
            passed.append(realm)
            realm = realm.behind
        reached = self._at.get((realm, packet.target[0]))
        if reached is None or (isinstance(reached, Nat) and reached in passed and not reached.hairpinning):
            return None
        return reached, packet

    def inward(self, reached: Host | Nat, packet: Addressed, now: float) -> tuple[Host, Addressed] | None:
        """Return the host to which `reached` and the NATs behind it pass a packet, and the packet as it arrives there.

        Return None if one of them drops it.
        """
        while isinstance(reached, Nat):
            internal = reached.inbound(packet.protocol, packet.target_port, packet.source, now)
            host = None if internal is None else self._at.get((reached, internal[0]))
            if internal is None or host is None:
                return None
            packet, reached = packet.to_address(internal), host
        return reached, packet

    def backward(self, source: Host, packet: Addressed, now: float) -> tuple[Host, Addressed] | None:
        """Return the host to which an ICMP error of `source` about a packet goes, and the packet as that host sent it.

        Return None if a NAT drops the error.
        """
        realm = source.behind
        while realm is not None and (realm, packet.sender[0]) not in self._at:
            mapping = realm.find(packet.protocol, packet.destination, packet.source, now)
            if mapping is None:
                return None
            packet = packet.to_address((realm.address, mapping.external_port))
            realm = realm.behind
        reached = self._at.get((realm, packet.sender[0]))
        while isinstance(reached, Nat):
            internal = reached.inbound(packet.protocol, packet.sender_port, packet.destination, now)
            if internal is None:
                return None
            packet, reached = packet.from_address(internal), self._at.get((reached, internal[0]))
        return None if reached is None else (reached, packet)
