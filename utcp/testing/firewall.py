"""A stateful firewall between two simulated hosts, which ends TCP connections by RST, or forgets them."""

from __future__ import annotations

import contextvars
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from utcp.testing.loop import VirtualLoop
from utcp.testing.nat import Address
from utcp.testing.routing import Addressed
from utcp.testing.rules import Carrier
from utcp.wire import ACK, FIN, RST, SYN, MalformedSegment, Segment, decode, encode, seq

_End: TypeAlias = tuple[Address, int]
"""The address of one end between the NATs, and its TCP port."""


@dataclass(slots=True, eq=False)
class _Way:
    """One direction of a connection: between which hosts, with which addresses."""

    source: str
    destination: str
    sender: _End
    target: _End
    carrier: Carrier
    next_seq: int | None = None
    """The sequence number after the last octet that has passed; None: nothing has."""
    fin: bool = False


@dataclass(slots=True, eq=False)
class _Flow:
    """A connection that the firewall knows."""

    used: float
    octets: int = 0
    ways: dict[_End, _Way] = field(default_factory=dict)
    """By the sending end."""
    reset_seen: bool = False

    @property
    def is_over(self) -> bool:
        return self.reset_seen or (len(self.ways) == 2 and all(way.fin for way in self.ways.values()))


class Firewall:
    """A stateful firewall on the path between two hosts. Created by `Network.firewall()`.

    It knows the TCP connections whose SYN it has seen, over utcp and in IP. When it ends one, it sends RST to both
    ends with the next sequence numbers, or nothing if it is silent. Segments of connections that it does not know are
    dropped, and answered by RST unless it is silent. A SYN makes it known again. Other UDP datagrams pass.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        inject: Callable[[str, str, Addressed], None],
        event: Callable[[bool], bool],
        seed: int | str,
        *,
        after_idle: float | None = None,
        after_octets: int | None = None,
        chance: float = 0.0,
        silent: bool = False,
    ) -> None:
        if after_idle is not None and after_idle <= 0:
            raise ValueError(f"after_idle must be above 0 seconds, or None, not {after_idle}")
        if after_octets is not None and after_octets < 0:
            raise ValueError(f"after_octets must be 0 or more, or None, not {after_octets}")
        if not 0 <= chance <= 1:
            raise ValueError(f"chance must be a share in 0..1, not {chance}")
        self._loop = loop
        self._inject = inject
        self._event = event
        self._context = contextvars.Context()  # without an owner, so that a crash ends no timer
        self._random = random.Random(seed)  # noqa: S311  # reproducible, not secret
        self._after_idle = after_idle
        self._after_octets = after_octets
        self._chance = chance
        self._silent = silent
        self._flows: dict[frozenset[_End], _Flow] = {}
        self.ended = 0
        """Number of connections that the firewall has ended."""

    def reset(self) -> None:
        """End all connections by RST to both ends, also if the firewall is silent."""
        for ends, flow in list(self._flows.items()):
            self._end(ends, flow, silent=False)

    def forget(self) -> None:
        """End all connections without sending anything, as a firewall that restarts."""
        for ends, flow in list(self._flows.items()):
            self._end(ends, flow, silent=True)

    def passes(self, source: str, destination: str, packet: Addressed) -> bool:
        """Return whether a packet between these hosts passes, and note its connection."""
        if packet.carrier == "udp":
            return True
        try:
            segment = decode(packet.data)
        except MalformedSegment:
            return False
        sender, target = (packet.sender, segment.src_port), (packet.target, segment.dst_port)
        ends = frozenset((sender, target))
        flow = self._flows.get(ends)
        now = self._loop.now
        if flow is not None and self._is_idle(flow):
            self._end(ends, flow, silent=True)
            flow = None
        if segment.flags & (SYN | ACK) == SYN and (flow is None or flow.is_over):
            flow = self._flows[ends] = _Flow(now)
            if self._after_idle is not None and not self._silent:
                self._at(now + self._after_idle, self._check_idle, ends, flow)
        if flow is None:
            self._refuse(_Way(destination, source, target, sender, packet.carrier), segment)
            return False
        way = flow.ways.get(sender)
        if way is None:
            way = flow.ways[sender] = _Way(source, destination, sender, target, packet.carrier)
        octets = flow.octets + len(segment.payload)
        ends_it = self._after_octets is not None and octets > self._after_octets
        if self._chance and self._event(self._random.random() < self._chance):
            ends_it = True
        if ends_it and not segment.flags & RST:
            self._end(ends, flow, silent=self._silent)
            return False
        flow.used, flow.octets = now, octets
        flow.reset_seen = flow.reset_seen or bool(segment.flags & RST)
        way.fin = way.fin or bool(segment.flags & FIN)
        number = seq.add(segment.seq, segment.length)
        if not segment.flags & RST and (way.next_seq is None or seq.gt(number, way.next_seq)):
            way.next_seq = number
        return True

    def _is_idle(self, flow: _Flow) -> bool:
        return self._after_idle is not None and self._loop.now - flow.used > self._after_idle

    def _check_idle(self, ends: frozenset[_End], flow: _Flow) -> None:
        """End a connection by RST at the end of its idle time."""
        if self._flows.get(ends) is not flow or self._after_idle is None or flow.is_over:
            return
        due = flow.used + self._after_idle
        if due <= self._loop.now:
            self._end(ends, flow, silent=False)
        else:
            self._at(due, self._check_idle, ends, flow)

    def _end(self, ends: frozenset[_End], flow: _Flow, *, silent: bool) -> None:
        del self._flows[ends]
        if flow.is_over:
            return
        self.ended += 1
        if silent:
            return
        for way in flow.ways.values():
            back = flow.ways.get(way.target)
            self._send_reset(way, way.next_seq, None if back is None else back.next_seq)
            if back is None:  # the peer has sent nothing, so that its RST acknowledges the SYN
                self._send_reset(
                    _Way(way.destination, way.source, way.target, way.sender, way.carrier), None, way.next_seq
                )

    def _refuse(self, way: _Way, segment: Segment) -> None:
        """Answer a segment of an unknown connection by RST (RFC 9293 3.10.7.1), over the way back."""
        if self._silent or segment.flags & RST:
            return
        if segment.flags & ACK:
            self._send_reset(way, segment.ack, None)
        else:
            self._send_reset(way, None, seq.add(segment.seq, segment.length))

    def _send_reset(self, way: _Way, number: int | None, ack: int | None) -> None:
        if number is None and ack is None:
            return
        flags = RST if ack is None else RST | ACK
        segment = Segment(way.sender[1], way.target[1], number or 0, ack or 0, flags)
        packet = Addressed(way.sender[0], way.target[0], encode(segment), way.carrier)
        # Later in the present moment, so that it leaves after the segment that has caused it.
        self._at(self._loop.now, self._inject, way.source, way.destination, packet)

    def _at(self, when: float, callback: Callable[..., object], *args: object) -> None:
        self._loop.at(when, callback, *args, context=self._context)
