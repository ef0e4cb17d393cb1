"""Assigns the segments of a capture to connections, and finds which end opened each one and how much data each end
sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import repeat
from typing import NamedTuple

from utcp.trace.capture_file import Captured
from utcp.wire import ACK, SYN


class End(NamedTuple):
    """One end of a connection: IP address, UDP port (None for bare TCP), TCP port."""

    host: str
    udp_port: int | None
    tcp_port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        over = f" (UDP {self.udp_port})" if self.udp_port not in (None, self.tcp_port) else ""
        return f"{host}:{self.tcp_port}{over}"


@dataclass(slots=True, eq=False)
class CapturedConnection:
    """A captured connection. `client` is the sender of the first SYN or, if no SYN was captured, of the first
    segment."""

    number: int
    """Number from 1, in the order of first segments."""
    client: End
    server: End
    began_ns: int
    """Time of its first segment, nanoseconds since the epoch."""
    segments: int = 0
    octets: dict[End, int] = field(default_factory=dict)
    """Payload octets by sender, counted each time that they were captured."""
    syns: dict[End, int] = field(default_factory=dict)
    """Latest initial sequence number of each end whose SYN was captured."""

    def peer(self, end: End) -> End:
        """Return the other end."""
        return self.server if end == self.client else self.client


def find_connections(captures: Iterable[Iterable[Captured]]) -> list[CapturedConnection]:
    """Return the connections in captures, numbered from 1 in order of their first segments."""
    found: dict[int, CapturedConnection] = {}
    for _, _, connection in assigned(captures):
        found.setdefault(connection.number, connection)
    return list(found.values())


def assigned(captures: Iterable[Iterable[Captured]]) -> Iterator[tuple[int, Captured, CapturedConnection]]:
    """Yield all segments in order of time, each with the number of its capture and its connection, which counts it. A
    SYN with a new sequence number starts a new connection."""
    latest: dict[tuple[End, End], CapturedConnection] = {}
    count = 0
    numbered = [zip(repeat(number), capture) for number, capture in enumerate(captures)]
    for number, captured in merge(*numbered, key=lambda one: one[1].time_ns):
        segment = captured.segment
        sender, receiver = ends_of(captured)
        key = min(sender, receiver), max(sender, receiver)
        connection = latest.get(key)
        opens = segment.flags & (SYN | ACK) == SYN
        if connection is None or (opens and _is_another(connection, sender, segment.seq)):
            answers = segment.flags & SYN and not opens
            client, server = (receiver, sender) if answers else (sender, receiver)
            count += 1
            connection = latest[key] = CapturedConnection(count, client, server, captured.time_ns)
        if segment.flags & SYN:
            connection.syns[sender] = segment.seq
        connection.segments += 1
        if segment.payload:
            connection.octets[sender] = connection.octets.get(sender, 0) + len(segment.payload)
        yield number, captured, connection


def ends_of(captured: Captured) -> tuple[End, End]:
    """Return the sender and the receiver of a segment."""
    (host, port), (peer_host, peer_port), segment = captured.source, captured.destination, captured.segment
    return (
        End(host, port if captured.udp else None, segment.src_port),
        End(peer_host, peer_port if captured.udp else None, segment.dst_port),
    )


def _is_another(connection: CapturedConnection, sender: End, isn: int) -> bool:
    """Return whether a SYN of `sender` opens another connection on the same ports. In a simultaneous open both ends
    send one."""
    if sender in connection.syns:
        return connection.syns[sender] != isn
    return connection.peer(sender) not in connection.syns
