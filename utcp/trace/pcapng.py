"""Captures for Wireshark and its like: pcapng files of what one or several stacks sent and received.

    with open("life.pcapng", "wb") as file:
        async with Endpoint(("192.0.2.1", 9000)) as endpoint:
            stop = endpoint.observe(CaptureObserver(Capture(file), endpoint.address, stack=endpoint.stack))
            ...

    with open("simulated.pcapng", "wb") as file:
        write_trace(Capture(file), network.trace, {host.name: host.address for host in network.hosts.values()})

The file format is draft-ietf-opsawg-pcapng: a section header, one interface of raw IP packets, a block per packet. What
a comment says of the connection that a segment met, `utcp.trace.annotation` tells; simulated networks are captured with
such comments by `utcp.testing.NetworkCapture`, endpoints of a running process by `utcp capture`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from struct import Struct
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from utcp.tcp.observer import Observer
from utcp.tcp.transmit import Buffer, Remote
from utcp.trace.annotation import Comment, format_comment
from utcp.trace.commentary import Commentary
from utcp.wire import Segment, encode, ip
from utcp.wire.checksum import fill, internet_checksum, pseudo_header

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection
    from utcp.tcp.stack import Stack

Address: TypeAlias = tuple[str, int]
"""A numeric IP address, and a UDP port."""

# Ports, length, checksum; and the part of its pseudo-header that follows the addresses: length, protocol.
_UDP_HEADER: Final = Struct("!HHHH")
_UDP_PSEUDO: Final = Struct("!IxxxB")

_SECTION_HEADER: Final = 0x0A0D0D0A
MAGIC: Final = _SECTION_HEADER.to_bytes(4, "big")
"""The octets with which every pcapng file begins."""
_INTERFACE: Final = 1
_INTERFACE_STATISTICS: Final = 5
_ENHANCED_PACKET: Final = 6

_LINKTYPE_RAW: Final = 101
"""Packets begin with their IP header, whose version field tells IPv4 from IPv6."""

_NANOSECONDS: Final = 9
"""if_tsresol: times count in units of 10**-9 s."""

_OPTION_COMMENT: Final = 1
_OPTION_RECEIVED: Final = 4
_OPTION_DROPPED: Final = 5
_OPTION_TIME_RESOLUTION: Final = 9
_MAX_OPTION: Final = 65535

_BLOCK: Final = Struct("!II")
_BLOCK_END: Final = Struct("!I")
_OPTION: Final = Struct("!HH")
_END_OF_OPTIONS: Final = bytes(4)
# Byte-order magic, version 1.0, section length (-1: until the next section or the end of the file).
_SECTION: Final = Struct("!IHHq").pack(0x1A2B3C4D, 1, 0, -1)
# Link type, reserved, snapshot length (0: packets are whole).
_INTERFACE_BODY: Final = Struct("!HHI").pack(_LINKTYPE_RAW, 0, 0)
# Interface, time (upper and lower half), octets captured, octets of the packet.
_PACKET: Final = Struct("!IQII")
# Interface, time; and a count in its options.
_STATISTICS: Final = Struct("!IQ")
_COUNT: Final = Struct("!Q")


class Writable(Protocol):
    """What is needed of a binary file."""

    def write(self, octets: bytes, /) -> object: ...


class Capture:
    """A capture, written to the binary `file` block by block, each in one piece; the caller closes the file.

    `form` says how a segment is shown:

    * `"tcp"`: as bare TCP in IP, its checksum filled in (over UDP it is 0); every tool decodes it without being told
      to. UDP ports are not shown, so that two endpoints of one host look like one.
    * `"udp"`: as it crossed the network, TCP in UDP; `tshark -d udp.port==9000,tcp` decodes it.

    A time in the capture is the stack's, later by `epoch_ns` nanoseconds: 0 keeps the times of a simulation (which then
    seems to begin in 1970), `time.time_ns() - time.monotonic_ns()` gives a real endpoint's their date.
    """

    def __init__(self, file: Writable, *, form: Literal["tcp", "udp"] = "tcp", epoch_ns: int = 0) -> None:
        self._file = file
        self._form = form
        self._epoch_ns = epoch_ns
        resolution = _option(_OPTION_TIME_RESOLUTION, bytes((_NANOSECONDS,)))
        interface = _block(_INTERFACE, _INTERFACE_BODY + resolution + _END_OF_OPTIONS)
        # At once: another thread that writes into the same file must not come between the two.
        file.write(_block(_SECTION_HEADER, _SECTION) + interface)

    def packet(self, now: float, source: Address, destination: Address, segment: bytes, comment: str = "") -> None:
        """`segment` went from `source` to `destination` at `now`, in seconds. Wireshark shows `comment` with it.

        Raises OSError for addresses that are not numeric or not of one family, ValueError for a comment beyond 65,535
        octets of UTF-8.
        """
        octets = segment_packet(source, destination, segment, self._form)
        time = round(now * 1_000_000_000) + self._epoch_ns
        body = _PACKET.pack(0, time, len(octets), len(octets)) + _padded(octets)
        if comment:
            body += _option(_OPTION_COMMENT, comment.encode()) + _END_OF_OPTIONS
        self._file.write(_block(_ENHANCED_PACKET, body))

    def statistics(self, now: float, received: int, dropped: int) -> None:
        """How many packets there were up to `now`, and how many of them the capture had no room for."""
        time = round(now * 1_000_000_000) + self._epoch_ns
        body = _STATISTICS.pack(0, time)
        body += _option(_OPTION_RECEIVED, _COUNT.pack(received)) + _option(_OPTION_DROPPED, _COUNT.pack(dropped))
        self._file.write(_block(_INTERFACE_STATISTICS, body + _END_OF_OPTIONS))


class CaptureObserver(Observer):
    """Captures what one endpoint sends and receives.

    `local` is the endpoint's UDP address; where the kernel is to choose the port, set it before the first segment. On a
    wildcard address, the one that the peer wrote to is taken in its place. What is received has been decoded before: it
    is shown as utcp would have sent it, without options that utcp does not know, and datagrams that are no segments are
    not shown.

    With the endpoint's `stack` each segment gets a comment about the connection that it met; `role` is this end's name
    there, "" for "client" or "server" by who opened each connection.

    Several observers may share a capture. If they are those of both ends, with `received=False` every segment is shown
    once, when it was sent, whether it arrived or not.
    """

    def __init__(
        self,
        capture: Capture,
        local: Address,
        *,
        received: bool | Callable[[Remote], bool] = True,
        stack: Stack | None = None,
        role: str = "",
    ) -> None:
        self.capture = capture
        self.local = local
        self._received = received
        self._commentary = None if stack is None else Commentary(stack, role)

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        local, peer = self._addresses(remote)
        commentary = self._commentary
        comment = "" if commentary is None else format_comment(commentary.sent(remote, buffers[0], now))
        self.capture.packet(now, local, peer, b"".join(buffers), comment)

    def segment_received(self, remote: Remote, segment: Segment, now: float) -> None:
        if self._received is True or (self._received and self._received(remote)):
            local, peer = self._addresses(remote)
            commentary = self._commentary
            comment = "" if commentary is None else format_comment(commentary.received(remote, segment, now))
            self.capture.packet(now, peer, local, encode(segment), comment)

    def timer_expired(self, connection: Connection, timer: int, now: float) -> None:
        if self._commentary is not None:
            self._commentary.timer_expired(connection, timer, now)

    def retransmitted(self, connection: Connection, seq: int, length: int, now: float) -> None:
        if self._commentary is not None:
            self._commentary.retransmitted(connection, seq)

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        if self._commentary is not None:
            self._commentary.state_changed(connection, after)

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        if self._commentary is not None:
            self._commentary.time_wait_ended((remote, remote_port, local_port))

    def _addresses(self, remote: Remote) -> tuple[Address, Address]:
        peer = getattr(remote, "peer", remote)  # a link on a wildcard address puts our own address beside the peer's
        if not isinstance(peer, tuple):
            raise TypeError(f"a capture needs remotes that are addresses, not {remote!r}")
        return (getattr(remote, "local", self.local[0]), self.local[1]), (peer[0], peer[1])


class TracedPacket(Protocol):
    """What is needed of `utcp.testing.Packet`."""

    @property
    def time(self) -> float: ...
    @property
    def source(self) -> str: ...
    @property
    def destination(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def segment(self) -> Segment | None: ...


class Traced(Protocol):
    """What is needed of `utcp.testing.Sent`."""

    @property
    def packet(self) -> TracedPacket: ...
    @property
    def arrivals(self) -> tuple[float, ...]: ...


def write_trace(
    capture: Capture,
    trace: Iterable[Traced],
    addresses: Mapping[str, str],
    comments: Callable[[TracedPacket], Comment] | None = None,
) -> None:
    """Write what a simulated network carried, `network.trace`, each segment when it was sent; comments tell for how
    long it was under way, whether it was `lost` or `duplicated`, and what `comments` says of a packet besides.
    `addresses` are the hosts' by name. Datagrams that are no segments are left out. The trace does not tell UDP ports:
    a segment's own ports, which are the same on servers, are shown for them.
    """
    for sent in trace:
        packet, segment = sent.packet, sent.packet.segment
        if segment is not None:
            source = (addresses[packet.source], segment.src_port)
            destination = (addresses[packet.destination], segment.dst_port)
            comment: Comment = {} if comments is None else comments(packet)
            if len(sent.arrivals) != 1:
                comment["duplicated" if sent.arrivals else "lost"] = True
            if sent.arrivals:
                sent_ns = round(packet.time * 1_000_000_000)
                flights = [round(time * 1_000_000_000) - sent_ns for time in sorted(sent.arrivals)]
                comment["flight"] = ",".join(f"{flight / 1e9:.9f}".rstrip("0").rstrip(".") for flight in flights)
            capture.packet(packet.time, source, destination, packet.data, format_comment(comment))


def segment_packet(source: Address, destination: Address, segment: bytes, form: Literal["tcp", "udp"]) -> bytes:
    """The IP packet that shows `segment`; see Capture for `form`, and for what it raises."""
    family = socket.AF_INET6 if ":" in source[0] else socket.AF_INET
    # A link-local IPv6 address carries its scope behind a percent sign: it is no part of the packet.
    sender, receiver = (socket.inet_pton(family, host.partition("%")[0]) for host, _ in (source, destination))
    if form == "tcp":
        return ip.build(sender, receiver, 0, fill(segment, pseudo_header(sender, receiver)))
    size = _UDP_HEADER.size + len(segment)
    ports = source[1], destination[1]
    summed = sender + receiver + _UDP_PSEUDO.pack(size, ip.UDP) + _UDP_HEADER.pack(*ports, size, 0) + segment
    checksum = internet_checksum(summed) or 0xFFFF  # RFC 768: 0 says that there is none
    return ip.build(sender, receiver, 0, _UDP_HEADER.pack(*ports, size, checksum) + segment, ip.UDP)


def _block(kind: int, body: bytes) -> bytes:
    """A block: its length stands at both ends, so that files can be read backwards."""
    length = _BLOCK.size + len(body) + _BLOCK_END.size
    return _BLOCK.pack(kind, length) + body + _BLOCK_END.pack(length)


def _option(code: int, value: bytes) -> bytes:
    if len(value) > _MAX_OPTION:
        raise ValueError(f"a comment has {len(value)} octets, and room for {_MAX_OPTION}")
    return _OPTION.pack(code, len(value)) + _padded(value)


def _padded(octets: bytes) -> bytes:
    """`octets`, up to the next multiple of four."""
    return octets + bytes(-len(octets) % 4)
