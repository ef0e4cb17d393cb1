"""What stops packets between hosts besides the conditions of their path: partitions, holds, rules, firewalls."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from utcp.testing.firewall import Firewall
from utcp.testing.loop import VirtualLoop
from utcp.testing.routing import Addressed
from utcp.testing.rules import DROP, PASS, Packet, Rule, Verdict

Pair = tuple[str, str]
"""The names of the sending and the receiving host."""


class Interference:
    """The partitions, holds, rules and firewalls of a network. Each but the rules is one of a direction."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._cut: dict[Pair, None] = {}
        self._held: dict[Pair, list[Callable[[], None]]] = {}
        self._rules: list[Rule] = []
        self._firewalls: dict[Pair, list[Firewall]] = {}

    # ------------------------------------------------------------------ what a scenario sets

    def cut(self, pair: Pair) -> None:
        """Drop all packets until `repair()`."""
        self._cut[pair] = None

    def repair(self, pair: Pair) -> None:
        self._cut.pop(pair, None)

    def hold(self, pair: Pair) -> None:
        """Hold all packets until `release()`."""
        self._held.setdefault(pair, [])

    def release(self, pair: Pair) -> None:
        """Deliver the held packets now, in order, and stop holding."""
        for held in self._held.pop(pair, []):
            self._loop.call_soon(held)

    def add_firewall(self, pair: Pair, firewall: Firewall) -> None:
        """Add a firewall for both directions."""
        for one in (pair, pair[::-1]):
            self._firewalls.setdefault(one, []).append(firewall)

    def firewalls(self, pair: Pair) -> Sequence[Firewall]:
        return self._firewalls.get(pair, ())

    @contextlib.contextmanager
    def rule(self, decide: Rule) -> Iterator[None]:
        """Apply `decide` to every packet within the context, before the rules that there are."""
        self._rules.insert(0, decide)
        try:
            yield
        finally:
            self._rules.remove(decide)

    # ------------------------------------------------------------------ what becomes of packets

    def is_cut(self, pair: Pair) -> bool:
        return pair in self._cut

    def held(self, pair: Pair) -> list[Callable[[], None]] | None:
        """Return the deliveries that are held, for further ones, or None if packets are not held."""
        return self._held.get(pair)

    def judge(self, packet: Packet, outside: Addressed) -> Verdict | float:
        """Return DROP if a partition, a rule or a firewall stops a packet, otherwise the verdict of the rules.

        Args:
            packet: the packet.
            outside: the packet after the NATs of its sender.
        """
        pair = (packet.source, packet.destination)
        if pair in self._cut:
            return DROP
        verdict = self._verdict(packet)
        if verdict is not DROP:
            for firewall in self.firewalls(pair):
                if not firewall.passes(*pair, outside):
                    return DROP
        return verdict

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
            self._loop.fail(error)
            return DROP
        return PASS
