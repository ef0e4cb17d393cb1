"""Writes pcapng captures, for Wireshark and similar tools, of the segments that one or more stacks sent and received.

    with open("life.pcapng", "wb") as file:
        async with Endpoint(("192.0.2.1", 9000)) as endpoint:
            stop = endpoint.observe(CaptureObserver(Capture(file), endpoint.address, stack=endpoint.stack))
            ...

The file format is draft-ietf-opsawg-pcapng: a section header, one interface of raw IP packets, one block per packet.
`utcp.trace.comments` describes the comments about connections. `utcp.testing.NetworkCapture` captures simulated
networks with such comments, `utcp capture` the endpoints of a running process.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from utcp.tcp.transmit import Buffer, Remote
from utcp.trace.comments import Commentary, format_comment
from utcp.wire import Segment, encode, ip
from utcp.wire.checksum import fill, internet_checksum, pseudo_header

if TYPE_CHECKING:
    from utcp.tcp.stack import Stack

Address: TypeAlias = tuple[str, int]
"""A numeric IP address and a UDP port."""

# Ports, length, checksum; then the part of the pseudo-header after the addresses: length, protocol.
_UDP_HEADER: Final = Struct("!HHHH")
_UDP_PSEUDO: Final = Struct("!IxxxB")

_SECTION_HEADER: Final = 0x0A0D0D0A
MAGIC: Final = _SECTION_HEADER.to_bytes(4, "big")
"""The first octets of every pcapng file."""
_INTERFACE: Final = 1
_INTERFACE_STATISTICS: Final = 5
_ENHANCED_PACKET: Final = 6

_LINKTYPE_RAW: Final = 101
"""Packets begin with their IP header, whose version field distinguishes IPv4 and IPv6."""

_NANOSECONDS: Final = 9
"""if_tsresol: times are in units of 10**-9 s."""

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
# Link type, reserved, snapshot length (0: whole packets).
_INTERFACE_BODY: Final = Struct("!HHI").pack(_LINKTYPE_RAW, 0, 0)
# Interface, time (upper and lower half), captured octets, original octets.
_PACKET: Final = Struct("!IQII")
# Interface, time; the options contain a count.
_STATISTICS: Final = Struct("!IQ")
_COUNT: Final = Struct("!Q")


class Writable(Protocol):
    """The required part of a binary file."""

    def write(self, octets: bytes, /) -> object: ...


class Capture:
    """A capture, written to a binary file block by block, each with a single write. The caller closes the file.

    Args:
        file: the binary file.
        form: "tcp" writes a segment as bare TCP in IP with its checksum filled in (over UDP it is 0), which every tool
            decodes by default. UDP ports are lost, so that two endpoints of one host look like one. "udp" writes it as
            sent, TCP in UDP, which `tshark -d udp.port==9000,tcp` decodes.
        epoch_ns: nanoseconds added to the stack's times. 0 keeps the times of a simulation (from 1970 on);
            `time.time_ns() - time.monotonic_ns()` gives the real date to a real endpoint.
    """

    def __init__(self, file: Writable, *, form: Literal["tcp", "udp"] = "tcp", epoch_ns: int = 0) -> None:
        self._file = file
        self._form = form
        self._epoch_ns = epoch_ns
        resolution = _option(_OPTION_TIME_RESOLUTION, bytes((_NANOSECONDS,)))
        interface = _block(_INTERFACE, _INTERFACE_BODY + resolution + _END_OF_OPTIONS)
        # A single write, because another thread may write to the same file.
        file.write(_block(_SECTION_HEADER, _SECTION) + interface)

    def packet(
        self,
        now: float,
        source: Address,
        destination: Address,
        segment: bytes,
        comment: str = "",
        *,
        form: Literal["tcp", "udp"] | None = None,
    ) -> None:
        """Write a segment that was sent from `source` to `destination` at `now`, seconds. Wireshark shows each line of
        `comment` as a comment of its own. `form` is that of this segment; None: that of the capture.

        Raises OSError for addresses that are not numeric or not of one family, ValueError for a line beyond 65,535
        octets of UTF-8.
        """
        octets = segment_packet(source, destination, segment, form or self._form)
        time = round(now * 1_000_000_000) + self._epoch_ns
        body = _PACKET.pack(0, time, len(octets), len(octets)) + _padded(octets)
        if comment:
            body += b"".join(_option(_OPTION_COMMENT, line.encode()) for line in comment.split("\n"))
            body += _END_OF_OPTIONS
        self._file.write(_block(_ENHANCED_PACKET, body))

    def statistics(self, now: float, received: int, dropped: int) -> None:
        """Write the number of packets up to `now`, and the number of those dropped for lack of buffer space."""
        time = round(now * 1_000_000_000) + self._epoch_ns
        body = _STATISTICS.pack(0, time)
        body += _option(_OPTION_RECEIVED, _COUNT.pack(received)) + _option(_OPTION_DROPPED, _COUNT.pack(dropped))
        self._file.write(_block(_INTERFACE_STATISTICS, body + _END_OF_OPTIONS))


class CaptureObserver(Commentary):
    """Captures the segments that one endpoint sends and receives.

    A received segment has been decoded before, so it is shown in utcp's own encoding, without unknown options.
    Datagrams that are not segments are not captured.

    Several observers may share a capture. If both ends have one, `received=False` shows every segment once, at its
    sending time, whether it arrived or not.

    Args:
        capture: the capture to write to.
        local: the endpoint's UDP address. If the kernel chooses the port, set it before the first segment. A wildcard
            address is replaced by the address that the peer used.
        received: whether received segments are captured; a function decides for each remote.
        stack: the endpoint's stack, for comments on each segment's connection; None: no comments.
        role: the name of this end in comments; "": "client" or "server", depending on which end opened the connection.
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
        super().__init__(stack, role)
        self.capture = capture
        self.local = local
        self._received = received

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        local, peer = self._addresses(remote)
        comment = format_comment(self.on_sent(remote, buffers[0], now))
        self.capture.packet(now, local, peer, b"".join(buffers), comment)

    def segment_received(self, remote: Remote, segment: Segment, now: float) -> None:
        if self._received is True or (self._received and self._received(remote)):
            local, peer = self._addresses(remote)
            comment = format_comment(self.on_received(remote, segment, now))
            self.capture.packet(now, peer, local, encode(segment), comment)

    def _addresses(self, remote: Remote) -> tuple[Address, Address]:
        # A link on a wildcard address pairs the peer's address with the local one.
        peer = getattr(remote, "peer", remote)
        if not isinstance(peer, tuple):
            raise TypeError(f"a capture needs remotes that are addresses, not {remote!r}")
        return (getattr(remote, "local", self.local[0]), self.local[1]), (peer[0], peer[1])


def segment_packet(source: Address, destination: Address, segment: bytes, form: Literal["tcp", "udp"]) -> bytes:
    """Return the IP packet that contains `segment`. For `form` and the errors see Capture."""
    family = socket.AF_INET6 if ":" in source[0] else socket.AF_INET
    # A link-local IPv6 address has a scope after a percent sign, which is not part of the packet.
    sender, receiver = (socket.inet_pton(family, host.partition("%")[0]) for host, _ in (source, destination))
    if form == "tcp":
        return ip.build(sender, receiver, 0, fill(segment, pseudo_header(sender, receiver)))
    size = _UDP_HEADER.size + len(segment)
    ports = source[1], destination[1]
    summed = sender + receiver + _UDP_PSEUDO.pack(size, ip.UDP) + _UDP_HEADER.pack(*ports, size, 0) + segment
    checksum = internet_checksum(summed) or 0xFFFF  # RFC 768: 0 means no checksum
    return ip.build(sender, receiver, 0, _UDP_HEADER.pack(*ports, size, checksum) + segment, ip.UDP)


def _block(kind: int, body: bytes) -> bytes:
    """Return a block. Its length is at both ends, so that files can be read backwards."""
    length = _BLOCK.size + len(body) + _BLOCK_END.size
    return _BLOCK.pack(kind, length) + body + _BLOCK_END.pack(length)


def _option(code: int, value: bytes) -> bytes:
    if len(value) > _MAX_OPTION:
        raise ValueError(f"a comment has {len(value)} octets: {_MAX_OPTION} fit")
    return _OPTION.pack(code, len(value)) + _padded(value)


def _padded(octets: bytes) -> bytes:
    """Return `octets` padded to a multiple of four."""
    return octets + bytes(-len(octets) % 4)
