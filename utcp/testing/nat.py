"""A network address translator (NAT), in the terms of RFC 4787 and RFC 5382. Pure: addresses and times in, addresses
out."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

Address: TypeAlias = tuple[str, int]
"""An IPv4 address and a port of UDP or TCP."""

Protocol: TypeAlias = Literal["udp", "tcp"]

Dependence: TypeAlias = Literal["endpoint-independent", "address-dependent", "address-and-port-dependent"]
"""What a mapping or a filter depends on (RFC 4787 4.1 and 5): nothing of the remote end, its address, or both."""

UDP_TIMEOUT: Final = 120.0
"""Least idle time, seconds, of a mapping for UDP (RFC 4787, REQ-5)."""

TCP_TIMEOUT: Final = 7440.0
"""Least idle time, seconds, of a mapping for TCP: 2 hours and 4 minutes (RFC 5382, REQ-5)."""

_PORTS: Final = range(1024, 65536)


@dataclass(slots=True)
class Mapping:
    """A mapping of an internal address to an external port."""

    protocol: Protocol
    internal: Address
    """The address of the host behind the NAT, and its port."""
    external_port: int
    used: float
    """Time of the latest packet from inside, virtual seconds. Only these packets refresh a mapping."""
    remotes: dict[Address, float] = field(default_factory=dict)
    """The remote addresses to which packets went, and the time of the latest."""


class Nat:
    """A NAT, which gives the hosts behind it one address. Created by `Network.nat()`.

    A packet from inside makes a mapping, or refreshes it. A packet from outside passes if there is a mapping and the
    filter allows it, and refreshes nothing. Otherwise it is dropped without an answer. ICMP errors pass as the packets
    that they concern. A mapping of TCP stays when the connection has ended. The NAT takes no time.
    """

    def __init__(
        self,
        name: str,
        address: str,
        seed: int | str,
        *,
        mapping: Dependence,
        filtering: Dependence,
        timeout: float,
        tcp_timeout: float,
        preserve_ports: bool,
        hairpinning: bool,
        behind: Nat | None,
    ) -> None:
        for value in (mapping, filtering):
            if value not in ("endpoint-independent", "address-dependent", "address-and-port-dependent"):
                raise ValueError(
                    "mapping and filtering are 'endpoint-independent', 'address-dependent' or"
                    f" 'address-and-port-dependent', not {value!r}"
                )
        if timeout <= 0 or tcp_timeout <= 0:
            raise ValueError(f"timeout and tcp_timeout must be above 0 seconds, not {min(timeout, tcp_timeout)}")
        self.name = name
        self.address = address
        """The external address."""
        self.hairpinning = hairpinning
        self.behind = behind
        self._mapping: Dependence = mapping
        self._filtering: Dependence = filtering
        self._timeouts: dict[Protocol, float] = {"udp": timeout, "tcp": tcp_timeout}
        self._preserves_ports = preserve_ports
        self._moved: set[tuple[Protocol, Address]] = set()  # internal addresses whose ports are no longer preserved
        # One after the other from a random one, so that a port is used again as late as possible.
        self._next_port = random.Random(f"{seed} nat {name}").choice(_PORTS)  # noqa: S311  # reproducible, not secret
        self._by_internal: dict[tuple[Protocol, Address, str, int], Mapping] = {}
        self._by_port: dict[tuple[Protocol, int], Mapping] = {}

    def __repr__(self) -> str:
        return f"<Nat {self.name} {self.address} mappings={len(self._by_port)}>"

    @property
    def mappings(self) -> list[Mapping]:
        """Return the mappings, the oldest first. Expired ones are in it until a packet meets them."""
        return list(self._by_port.values())

    def rebind(self) -> None:
        """Drop all mappings, as a NAT that restarts does. The next packets from inside get other external ports, also
        if ports are preserved."""
        self._moved.update((mapping.protocol, mapping.internal) for mapping in self._by_port.values())
        self._by_internal.clear()
        self._by_port.clear()

    def outbound(self, protocol: Protocol, internal: Address, remote: Address, now: float) -> Address | None:
        """Return the external address of a packet from `internal` to `remote`, and make or refresh its mapping.

        Return None if all ports are in use, so that the packet is dropped.
        """
        mapping = self.find(protocol, internal, remote, now)
        if mapping is None:
            key = self._key(protocol, internal, remote)
            expired = self._by_internal.pop(key, None)
            port = self._free_port(protocol, internal, now)
            if port is None:
                return None
            mapping = Mapping(protocol, internal, port, now)
            self._by_internal[key] = mapping
            if expired is not None and self._by_port.get((protocol, expired.external_port)) is expired:
                del self._by_port[protocol, expired.external_port]
            self._by_port[protocol, port] = mapping
        mapping.used = mapping.remotes[remote] = now
        return self.address, mapping.external_port

    def find(self, protocol: Protocol, internal: Address, remote: Address, now: float) -> Mapping | None:
        """Return the mapping for packets from `internal` to `remote`, or None."""
        mapping = self._by_internal.get(self._key(protocol, internal, remote))
        return None if mapping is None or self._is_expired(mapping, now) else mapping

    def inbound(self, protocol: Protocol, port: int, remote: Address, now: float) -> Address | None:
        """Return the internal address of a packet from `remote` to an external port, or None if it is dropped."""
        mapping = self._by_port.get((protocol, port))
        if mapping is None or self._is_expired(mapping, now):
            return None
        since = now - self._timeouts[protocol]
        if self._filtering == "endpoint-independent" or any(
            used >= since and (known == remote or (self._filtering == "address-dependent" and known[0] == remote[0]))
            for known, used in mapping.remotes.items()
        ):
            return mapping.internal
        return None

    def _key(self, protocol: Protocol, internal: Address, remote: Address) -> tuple[Protocol, Address, str, int]:
        if self._mapping == "endpoint-independent":
            return protocol, internal, "", 0
        return protocol, internal, remote[0], 0 if self._mapping == "address-dependent" else remote[1]

    def _is_expired(self, mapping: Mapping, now: float) -> bool:
        return now - mapping.used > self._timeouts[mapping.protocol]

    def _free_port(self, protocol: Protocol, internal: Address, now: float) -> int | None:
        keeps = self._preserves_ports and (protocol, internal) not in self._moved
        if keeps and self._is_free(protocol, internal[1], now):
            return internal[1]
        for _ in _PORTS:
            port = self._next_port
            self._next_port = port + 1 if port + 1 in _PORTS else _PORTS[0]
            if self._is_free(protocol, port, now):
                return port
        return None

    def _is_free(self, protocol: Protocol, port: int, now: float) -> bool:
        mapping = self._by_port.get((protocol, port))
        return mapping is None or self._is_expired(mapping, now)
