"""Assigns the segments of a capture to connections, and finds which end opened each one and how much data each end
sent.

Connections that use the same ports one after the other are told apart as follows:

* A SYN belongs to the connection with its initial sequence number, or opens a new one.
* Any other segment except RST belongs to the connection that sent it according to its comment, else to the connection
  that handled it (`utcp.trace.comments`).
* Otherwise, the sequence and acknowledgment numbers decide. An RST often answers a segment of a connection that its
  sender does not have, so that its comment does not name the connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import repeat
from typing import Final, NamedTuple

from utcp.trace.capture_file import Captured
from utcp.trace.comments import Comment, packet_comments
from utcp.wire import ACK, RST, SYN, Segment, seq

_RECENT: Final = 16
"""Maximum number of connections on the same ports to which a segment may belong."""


class End(NamedTuple):
    """One end of a connection: IP address, UDP port (None for bare TCP), TCP port."""

    host: str
    udp_port: int | None
    tcp_port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        over = f" (UDP {self.udp_port})" if self.udp_port not in (None, self.tcp_port) else ""
        return f"{host}:{self.tcp_port}{over}"


@dataclass(slots=True)
class Numbers:
    """The sequence space that one end has used, as captured: from `low` up to, but not including, `high`."""

    low: int
    high: int
    isn: int | None = None
    """The latest initial sequence number, if a SYN was captured."""

    def distance(self, number: int) -> int:
        """Return 0 for a number that is in the space or next to be used, else the distance to its nearer end."""
        below, above = seq.diff(self.low, number), seq.diff(number, self.high)
        return 0 if below <= 0 and above <= 0 else min(abs(below), abs(above))


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
    numbers: dict[End, Numbers] = field(default_factory=dict)
    """The sequence space of each end of which it is known."""
    captures: set[int] = field(default_factory=set)
    """Numbers of the captures, from 0, that contain the connection."""

    def peer(self, end: End) -> End:
        """Return the other end."""
        return self.server if end == self.client else self.client

    def shares_ports_with(self, other: CapturedConnection) -> bool:
        """Return whether both connections are between the same two ends."""
        return {self.client, self.server} == {other.client, other.server}

    def isn(self, end: End) -> int | None:
        """Return the latest initial sequence number of `end`, or None if no SYN was captured."""
        numbers = self.numbers.get(end)
        return None if numbers is None else numbers.isn

    def count(self, sender: End, segment: Segment) -> None:
        """Count a segment, and advance the sequence spaces."""
        self.segments += 1
        if segment.payload:
            self.octets[sender] = self.octets.get(sender, 0) + len(segment.payload)
        if segment.flags & RST:
            return  # its numbers are those of the segment that it answers
        if segment.flags & SYN:
            self.numbers[sender] = Numbers(segment.seq, segment.seq, segment.seq)
        self._advance(sender, segment.seq, seq.add(segment.seq, segment.length))
        if segment.flags & ACK:
            self._advance(self.peer(sender), segment.ack, segment.ack)

    def _advance(self, end: End, start: int, stop: int) -> None:
        numbers = self.numbers.get(end)
        if numbers is None:
            self.numbers[end] = Numbers(start, stop)
        elif seq.gt(stop, numbers.high):
            numbers.high = stop


def find_connections(captures: Iterable[Iterable[Captured]]) -> list[CapturedConnection]:
    """Return the connections in captures, numbered from 1 in order of their first segments."""
    found: dict[int, CapturedConnection] = {}
    for _, _, connection in assigned(captures):
        found.setdefault(connection.number, connection)
    return list(found.values())


def assigned(captures: Iterable[Iterable[Captured]]) -> Iterator[tuple[int, Captured, CapturedConnection]]:
    """Yield all segments in order of time, each with the number of its capture and its connection, which counts it."""
    recent: dict[tuple[End, End], deque[CapturedConnection]] = {}
    count = 0
    numbered = [zip(repeat(number), capture) for number, capture in enumerate(captures)]
    for number, captured in merge(*numbered, key=lambda one: one[1].time_ns):
        segment = captured.segment
        sender, receiver = ends_of(captured)
        key = min(sender, receiver), max(sender, receiver)
        earlier = recent.get(key)
        if earlier is None:
            earlier = recent[key] = deque(maxlen=_RECENT)
        connection = _connection(earlier, sender, captured)
        if connection is None:
            answers = segment.flags & (SYN | ACK) == SYN | ACK
            client, server = (receiver, sender) if answers else (sender, receiver)
            count += 1
            connection = CapturedConnection(count, client, server, captured.time_ns)
            earlier.append(connection)
        connection.count(sender, segment)
        connection.captures.add(number)
        yield number, captured, connection


def ends_of(captured: Captured) -> tuple[End, End]:
    """Return the sender and the receiver of a segment."""
    (host, port), (peer_host, peer_port), segment = captured.source, captured.destination, captured.segment
    return (
        End(host, port if captured.udp else None, segment.src_port),
        End(peer_host, peer_port if captured.udp else None, segment.dst_port),
    )


def made_at(capture: Iterable[Captured]) -> set[End]:
    """Return the ends at which a capture was made, as far as its comments show them."""
    found = set()
    for captured in capture:
        comments = packet_comments(captured.comment)
        sender, receiver = ends_of(captured)
        if "direction" in comments.sender:
            found.add(sender)
        if comments.arrivals:
            found.add(receiver)
    return found


def _connection(earlier: Sequence[CapturedConnection], sender: End, captured: Captured) -> CapturedConnection | None:
    """Return the connection of a segment, one of those on its ports so far, oldest first; None: a new one."""
    if not earlier:
        return None
    segment = captured.segment
    if segment.flags & SYN:
        return _of_syn(earlier, sender, segment)
    if len(earlier) == 1:
        return earlier[0]
    if captured.comment and not segment.flags & RST:
        found = _named(earlier, sender, captured.comment)
        if found is not None:
            return found
    return _nearest(earlier, sender, segment)


def _of_syn(earlier: Sequence[CapturedConnection], sender: End, segment: Segment) -> CapturedConnection | None:
    latest = earlier[-1]
    peer = latest.peer(sender)
    for connection in reversed(earlier):
        if segment.flags & ACK and connection.isn(peer) == seq.add(segment.ack, -1):
            return connection
        if connection.isn(sender) == segment.seq:
            return connection
    # Both ends send a SYN in a simultaneous open, and a SYN,ACK may answer a SYN that was not captured as it was sent.
    expected = latest.isn(peer) is not None and (segment.flags & ACK or latest.isn(sender) is None)
    return latest if expected else None


def _named(earlier: Sequence[CapturedConnection], sender: End, text: str) -> CapturedConnection | None:
    """Return the connection that sent the segment according to its comments or, if unknown, the one that handled it."""
    comments = packet_comments(text)
    receiver = earlier[-1].peer(sender)
    named: list[tuple[End, Comment]] = [(sender, comments.sender), *((receiver, one) for one in comments.arrivals[:1])]
    for end, comment in named:
        if "iss" in comment and "irs" in comment:
            for connection in reversed(earlier):
                if connection.isn(end) == comment["iss"]:
                    return connection
    return None


def _nearest(earlier: Sequence[CapturedConnection], sender: End, segment: Segment) -> CapturedConnection:
    """Return the connection to whose numbers those of the segment are nearest; the latest of several."""
    best, least = earlier[-1], -1
    for connection in reversed(earlier):
        distance = 0
        numbers = connection.numbers.get(sender)
        # An RST that answers a segment without ACK has number 0, which is not of its sender's space (RFC 9293
        # 3.10.7.1).
        if numbers is not None and not (segment.flags & RST and segment.seq == 0):
            distance += numbers.distance(segment.seq)
        numbers = connection.numbers.get(connection.peer(sender))
        if numbers is not None and segment.flags & ACK:
            distance += numbers.distance(segment.ack)
        if least < 0 or distance < least:
            best, least = connection, distance
        if not distance:
            break
    return best
