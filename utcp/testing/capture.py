"""Writes a simulated network's packets as a capture for Wireshark, with comments on the states of both ends."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, NamedTuple, TypeAlias

from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack
from utcp.tcp.state import CLOSED
from utcp.tcp.time_wait import ConnectionKey
from utcp.tcp.transmit import Buffer, Remote
from utcp.testing.host import Host
from utcp.testing.network import Network
from utcp.testing.record import Sent
from utcp.trace.comments import Comment, Commentary, format_comment
from utcp.trace.pcapng import Capture
from utcp.wire import Segment, decode, encode

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection

_At: TypeAlias = tuple[str, bytes]
"""A host's name and a segment."""

_ROUNDING: Final = 1e-9
"""Maximum difference, seconds, of two equal times."""


class _Seen(NamedTuple):
    """A segment at one end: the virtual time, seconds, and the comment."""

    time: float
    comment: Comment


class NetworkCapture:
    """Observes a network from its beginning and writes the segments that it carried.

        network = Network(seed=1)
        capture = NetworkCapture(network)
        network.run(main())
        with open("run.pcapng", "wb") as file:
            capture.write(file)

    Each segment appears once, at its sending time, with a comment of its sender and one of its receiver for each
    arrival (`utcp.trace.comments`): the host, the state of its connection, the timer that caused the segment, the
    windows. The sender's comment also has the transit time, and `lost`, `duplicated` or `copy` if that applies. For
    endpoints that started before the capture was created, the capture has the segments but no connection state.
    Segments of the hosts' own TCP are written as TCP in IP, whatever the `form`. Datagrams that are not segments are
    left out. The trace has no UDP ports; the segment's ports, which are the same on servers, replace them.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._sent: dict[_At, list[Comment]] = defaultdict(list)
        self._received: dict[_At, list[_Seen]] = defaultdict(list)
        network.watches.append(self._watch)

    def write(self, file: BinaryIO, *, form: Literal["tcp", "udp"] = "tcp", epoch_ns: int = 0) -> None:
        """Write all segments sent so far to the binary `file`.

        Each call writes everything again, so that later calls need another file. `form` and `epoch_ns` are those of
        `Capture`. Raises ValueError when the network keeps no trace (`keep_trace`).
        """
        network = self._network
        if not network.keep_trace:
            raise ValueError("the network keeps no trace of its packets: leave keep_trace on")
        capture = Capture(file, form=form, epoch_ns=epoch_ns)
        unread = {sent: deque(comments) for sent, comments in self._sent.items()}
        arrivals = self._arrivals()
        for sent in network.trace:
            packet, octets = sent.packet, self._octets(sent)
            segment = packet.segment
            if segment is None or packet.destination not in network.hosts:
                continue
            # Order alone distinguishes equal octets from one host.
            comments = unread.get((packet.source, packet.data))
            comment: Comment = {"role": packet.source, "direction": "out"}
            if comments:
                comment = {**comments.popleft()}
            elif comments is not None:
                comment["copy"] = True
            arrived = self._delivered(sent)
            if len(arrived) != 1:
                comment["duplicated" if arrived else "lost"] = True
            if arrived:
                sent_ns = round(packet.time * 1_000_000_000)
                flights = [round(time * 1_000_000_000) - sent_ns for time in arrived]
                comment["flight"] = ",".join(f"{flight / 1e9:.9f}".rstrip("0").rstrip(".") for flight in flights)
            source = (network.hosts[packet.source].address, int.from_bytes(octets[:2], "big"))
            destination = (network.hosts[packet.destination].address, int.from_bytes(octets[2:4], "big"))
            lines = [comment, *arrivals.get(packet.number, ())]
            text = "\n".join(map(format_comment, lines))
            in_ip: Literal["tcp"] | None = "tcp" if packet.carrier == "tcp" else None
            capture.packet(packet.time, source, destination, octets, text, form=in_ip)

    def _octets(self, sent: Sent) -> bytes:
        """Return the packet's data with the ports inside of a NAT, so that both directions have the same ports."""
        return sent.packet.data if self._network.hosts[sent.packet.source].behind else sent.arrived

    def _delivered(self, sent: Sent) -> list[float]:
        """Return the times at which the packet arrived at a link, so far."""
        packet, now = sent.packet, self._network.loop.now
        undelivered = self._network.undelivered
        return [
            time
            for time in sorted(sent.arrivals)
            if time <= now and (packet.destination, time, sent.arrived) not in undelivered
        ]

    def _arrivals(self) -> dict[int, list[Comment]]:
        """Return the comments of the receiver, by the number of the packet, in order of arrival."""
        packets: dict[_At, list[tuple[float, int]]] = defaultdict(list)
        for sent in self._network.trace:
            key = _arrival_key(sent)
            if key in self._received:
                packets[key] += [(time, sent.packet.number) for time in self._delivered(sent)]
        found: dict[int, list[Comment]] = defaultdict(list)
        for key, arrived in packets.items():
            # A host without an endpoint receives nothing, so that only the time tells which of equal packets was
            # handled.
            arrived.sort()
            for time, comment in self._received[key]:
                at = bisect_right(arrived, time + _ROUNDING, key=lambda arrival: arrival[0]) - 1
                if at >= 0:
                    found[arrived.pop(at)[1]].append(comment)
        return found

    def _watch(self, host: Host, stack: Stack) -> Observer:
        return _End(host, stack, self._sent, self._received)


def _arrival_key(sent: Sent) -> _At:
    segment = None if sent.packet.segment is None else decode(sent.arrived)
    return sent.packet.destination, b"" if segment is None else encode(segment)


class _End(Commentary):
    """Records a comment on each segment that one endpoint of a host sends and receives."""

    def __init__(
        self, host: Host, stack: Stack, sent: dict[_At, list[Comment]], received: dict[_At, list[_Seen]]
    ) -> None:
        super().__init__(stack, host.name)
        self._host = host
        self._sent = sent
        self._received = received
        self._latest: dict[ConnectionKey, _Seen] = {}
        """The latest segment of each connection."""

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        octets = b"".join(buffers)
        comment = self.on_sent(remote, octets, now)
        local_port, remote_port = int.from_bytes(octets[:2], "big"), int.from_bytes(octets[2:4], "big")
        self._latest[remote, remote_port, local_port] = self._seen(now, comment)
        self._sent[self._host.name, octets].append(comment)

    def segment_received(self, remote: Remote, segment: Segment, now: float) -> None:
        seen = self._seen(now, self.on_received(remote, segment, now))
        self._latest[remote, segment.src_port, segment.dst_port] = seen
        self._received[self._host.name, encode(segment)].append(seen)

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        super().state_changed(connection, before, after, now)
        if after == CLOSED:
            self._close(connection.key, now)

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        super().time_wait_ended(remote, remote_port, local_port, now)
        self._close((remote, remote_port, local_port), now)

    def _close(self, key: ConnectionKey, now: float) -> None:
        latest = self._latest.pop(key, None)
        if latest is not None:
            latest.comment["closed"] = now / self._host.clock_rate - latest.time

    def _seen(self, now: float, comment: Comment) -> _Seen:
        return _Seen(now / self._host.clock_rate, comment)  # the stack has the time of the host's clock
