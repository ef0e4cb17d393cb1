"""Mistakes that the packets which a simulated host refuses suggest."""

from __future__ import annotations

from collections.abc import Mapping

from utcp.testing.host import Host
from utcp.testing.link import is_loopback
from utcp.testing.rules import Carrier


class Hints:
    """Collects the hints of a run. They are shown if the run fails.

    Args:
        hosts: the hosts of the network, by name.
    """

    def __init__(self, hosts: Mapping[str, Host]) -> None:
        self._hosts = hosts
        self._hints: dict[str, None] = {}

    def add_to(self, error: BaseException) -> None:
        """Add the hints to an error as notes."""
        for hint in self._hints:
            error.add_note(hint)

    def refused(self, host: Host, address: tuple[str, int], carrier: Carrier) -> None:
        """Note why nothing on `host` received a packet to `address`, if the addresses show it."""
        ip, port = address
        kind = "TCP" if carrier == "tcp" else "UDP"
        there = host.bound_addresses(port, carrier)
        if is_loopback(ip):
            others = [
                name
                for name, other in self._hosts.items()
                if other is not host and other.bound_addresses(port, carrier)
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
