"""The connections in a capture: which segment belongs to which, who opened it, how much each end said."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from utcp.trace.annotation import parse_comment
from utcp.trace.capture_file import Captured
from utcp.wire import ACK, SYN


class End(NamedTuple):
    """One end of a connection: IP address, UDP port (None in bare TCP), TCP port."""

    host: str
    udp_port: int | None
    tcp_port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        over = f" (UDP {self.udp_port})" if self.udp_port not in (None, self.tcp_port) else ""
        return f"{host}:{self.tcp_port}{over}"


@dataclass(slots=True, eq=False)
class CapturedConnection:
    """A connection as far as it was captured. `client` is who sent the first SYN or, when none was captured, who spoke
    first."""

    number: int
    """From 1, in the order of their first segments."""
    client: End
    server: End
    began_ns: int
    """The time of its first segment."""
    segments: int = 0
    octets: dict[End, int] = field(default_factory=dict)
    """Of payload, by who sent them, each time that they were seen."""
    tells_sent: set[End] = field(default_factory=set)
    """The ends at which utcp captured what they sent, by its comments; `tells_received`: what they received. A segment
    of the one kind and one of the other may be the same, seen twice."""
    tells_received: set[End] = field(default_factory=set)
    syns: dict[End, int] = field(default_factory=dict)
    """The latest initial sequence number of each end that was seen sending a SYN."""

    def peer(self, end: End) -> End:
        """The other end."""
        return self.server if end == self.client else self.client


class Connections:
    """Sorts the segments of a capture, which are handed to it in order, into `found`."""

    def __init__(self) -> None:
        self.found: list[CapturedConnection] = []
        self._latest: dict[tuple[End, End], CapturedConnection] = {}

    def of(self, captured: Captured) -> CapturedConnection:
        """The connection of this segment; counts it. A SYN with another sequence number begins a new one."""
        segment = captured.segment
        sender, receiver = ends_of(captured)
        key = min(sender, receiver), max(sender, receiver)
        connection = self._latest.get(key)
        opens = segment.flags & (SYN | ACK) == SYN
        if connection is None or (opens and _is_another(connection, sender, segment.seq)):
            answers = segment.flags & SYN and not opens
            client, server = (receiver, sender) if answers else (sender, receiver)
            connection = CapturedConnection(len(self.found) + 1, client, server, captured.time_ns)
            self.found.append(connection)
            self._latest[key] = connection
        if segment.flags & SYN:
            connection.syns[sender] = segment.seq
        connection.segments += 1
        if segment.payload:
            connection.octets[sender] = connection.octets.get(sender, 0) + len(segment.payload)
        if captured.comment:
            comment = parse_comment(captured.comment)
            direction = comment.get("direction")
            if direction == "out":
                connection.tells_sent.add(sender)
            elif direction == "in":
                connection.tells_received.add(receiver)
            elif comment:  # `flight`, `lost`, `duplicated`: a simulated network's, which shows what each end sent
                connection.tells_sent.update((sender, receiver))
        return connection


def ends_of(captured: Captured) -> tuple[End, End]:
    """Who sent the segment, and to whom."""
    (host, port), (peer_host, peer_port), segment = captured.source, captured.destination, captured.segment
    return (
        End(host, port if captured.udp else None, segment.src_port),
        End(peer_host, peer_port if captured.udp else None, segment.dst_port),
    )


def _is_another(connection: CapturedConnection, sender: End, isn: int) -> bool:
    """Whether a SYN of `sender` opens another connection on the same ports. In a simultaneous open both send one."""
    if sender in connection.syns:
        return connection.syns[sender] != isn
    return connection.peer(sender) not in connection.syns
