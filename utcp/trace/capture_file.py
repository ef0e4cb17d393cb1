"""Reads the TCP segments of a pcapng or pcap file, with times, addresses and comments.

    for captured in iter_capture("life.pcapng"):
        print(captured.time_ns, captured.source, captured.destination, captured.segment, captured.comment)

Supports files by `utcp.trace.pcapng`, tcpdump, dumpcap, Wireshark and others: pcapng with any number of sections and
interfaces (draft-ietf-opsawg-pcapng); pcap with micro- or nanoseconds (draft-ietf-opsawg-pcap); either byte order; raw
IP, Ethernet (with VLANs), Linux cooked (v1 and v2), BSD loopback; IPv4 and IPv6; TCP, and utcp's TCP in UDP.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import BinaryIO, Final, Literal, NamedTuple, TypeAlias

from utcp.trace.dissect import LINK_TYPES, Address, Found, dissect, interface_index
from utcp.wire import Segment

ByteOrder: TypeAlias = Literal["<", ">"]

LARGEST: Final = 16 * 1024 * 1024
"""Maximum size of a packet or block, bytes. A larger size counts as damage (Wireshark's limit for blocks is the
same)."""

_CHUNK: Final = 65536

_COPY_NS: Final = 100_000_000
"""Maximum time, nanoseconds, between two captures of a segment on different interfaces. It is shorter than any
retransmission timeout."""

_COPIES_AMONG: Final = 1024
"""Number of segments among which copies are recognized."""

_SECTION_HEADER: Final = 0x0A0D0D0A
_INTERFACE: Final = 1
_OBSOLETE_PACKET: Final = 2
_SIMPLE_PACKET: Final = 3
_ENHANCED_PACKET: Final = 6

# The fixed fields of packet blocks: interface, time (upper and lower half), captured octets, original octets. The
# simple block has only the last, and the obsolete block also counts drops.
_PACKET_FIELDS: Final = {_OBSOLETE_PACKET: "HHIIII", _SIMPLE_PACKET: "I", _ENHANCED_PACKET: "IIIII"}

_END_OF_OPTIONS: Final = 0
_COMMENT: Final = 1
_TIME_RESOLUTION: Final = 9
_TIME_OFFSET: Final = 14

_BLOCK_OVERHEAD: Final = 12
"""Bytes of a block around its body: type and length before it, the length again after it."""

_BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D
_NANOSECOND: Final = 1_000_000_000

# Classic pcap: nanoseconds per unit of a record's second time field, by the file's magic number.
_PCAP_MAGIC: Final = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1}


class CaptureError(ValueError):
    """The file cannot be read as a capture. The text gives the reason in one line."""


class TruncatedCapture(CaptureError):
    """The file ends in the middle of a packet or of another part."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A captured segment. `comment` has the packet's comments, one per line; empty if there are none."""

    time_ns: int
    """Nanoseconds since the epoch, rounded down if the file is more precise; 0 for a packet without a time (pcapng
    simple packet block)."""
    source: Address
    """The sender's IP address and its UDP port, or its TCP port if the segment was not in UDP."""
    destination: Address
    segment: Segment
    """The segment with its captured checksum and ECN bits. Zeros replace payload beyond the snapshot length, so that
    the segment's length is right. If more than 4096 octets are missing, zeros replace all of the payload."""
    comment: str
    udp: bool


class RawPacket(NamedTuple):
    """A captured packet. `octets` may be cut off before its `length`. `time_ns` counts from the epoch. `interface` is
    the number of its interface in a pcapng file."""

    time_ns: int
    link_type: int
    octets: bytes
    length: int
    comment: str
    interface: int = 0


def iter_capture(
    path: str | PathLike[str],
    *,
    udp_ports: AbstractSet[int] | None = None,
    truncated: Callable[[TruncatedCapture], object] | None = None,
) -> Iterator[Captured]:
    """Yield the TCP segments of the file one by one, so that files of any size work.

    IP fragments, and packets that were cut off before the end of the TCP header, are skipped, as is everything else
    that is not TCP. So are copies of segments on other interfaces: `tcpdump -i any` on a host that forwards packets, or
    that has a bridge, captures each of them several times. Checksums are not checked, because a host's own segments are
    captured before the network card has filled them in.

    Raises OSError as `open()` does. Raises CaptureError (with the path) for a file that is not a capture, is truncated
    or damaged, or has an unsupported link type; segments before the error are yielded first.

    Args:
        path: the file.
        udp_ports: UDP ports whose datagrams carry segments; None: any datagram that looks like utcp's
            (`utcp.trace.dissect.is_plausible`).
        truncated: called for a truncated file at its end, instead of raising the error.
    """
    with Path(path).open("rb") as file:
        copies = _Copies()
        try:
            for packet in packets(file):
                if packet.link_type not in LINK_TYPES:
                    known = "raw IP, Ethernet, Linux cooked and BSD loopback are known"
                    raise CaptureError(f"link type {packet.link_type} is not supported: {known}")  # noqa: TRY301
                found = dissect(packet.link_type, packet.octets, packet.length, udp_ports)
                if found and copies.is_copy(packet, found[0]):
                    continue
                for source, destination, segment, udp in found:
                    yield Captured(packet.time_ns, source, destination, segment, packet.comment, udp)
        except CaptureError as error:
            named = type(error)(f"{path}: {error}")
            if truncated is None or not isinstance(named, TruncatedCapture):
                raise named from None
            truncated(named)


def read_capture(
    path: str | PathLike[str],
    *,
    udp_ports: AbstractSet[int] | None = None,
    truncated: Callable[[TruncatedCapture], object] | None = None,
) -> list[Captured]:
    """Return all segments of `iter_capture` as a list, empty if the file contains no TCP."""
    return list(iter_capture(path, udp_ports=udp_ports, truncated=truncated))


def packets(file: BinaryIO) -> Iterator[RawPacket]:
    """Yield the packets of the capture in `file`. Raises CaptureError."""
    source = _Source(file)
    start = source.read(4)
    if int.from_bytes(start, "big") == _SECTION_HEADER:
        yield from _Pcapng(source).packets()
        return
    orders: tuple[ByteOrder, ByteOrder] = ("<", ">")
    for order in orders:
        magic = int.from_bytes(start, "little" if order == "<" else "big")
        if magic in _PCAP_MAGIC:
            yield from _pcap(source, order, _PCAP_MAGIC[magic])
            return
    if not start:
        raise CaptureError("not a capture: it is empty")
    if start.startswith(b"\x1f\x8b"):
        raise CaptureError("not a capture, but compressed by gzip: gunzip it first")
    raise CaptureError("not a capture: it is neither pcapng nor pcap")


class _Copies:
    """Recognizes segments that were captured before on another interface."""

    def __init__(self) -> None:
        self._recent: OrderedDict[tuple[object, ...], tuple[int, tuple[int, int]]] = OrderedDict()
        """The latest segments, with the time and the interface of their first capture."""

    def is_copy(self, packet: RawPacket, found: Found) -> bool:
        """Return whether the first segment of `packet` was captured less than _COPY_NS before on another interface.

        A retransmission is not a copy, because it is on the same interface or comes later.
        """
        segment = found.segment
        numbers = segment.seq, segment.ack, segment.flags, segment.window, segment.ts_val, segment.ts_ecr
        key = (found.source, found.destination, *numbers, segment.sack_blocks, segment.length)
        interface = packet.interface, interface_index(packet.link_type, packet.octets)
        first = self._recent.get(key)
        if first is not None and packet.time_ns - first[0] < _COPY_NS:
            return first[1] != interface
        self._recent[key] = packet.time_ns, interface
        self._recent.move_to_end(key)
        if len(self._recent) > _COPIES_AMONG:
            self._recent.popitem(last=False)
        return False


class _Source:
    """A file that is read from beginning to end, with its current position."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.position = 0

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes, or fewer at the end of the file."""
        octets = self._file.read(count)
        self.position += len(octets)
        return octets

    def exactly(self, count: int, what: str) -> bytes:
        """Return the next `count` bytes of `what`. Raises CaptureError when there are fewer."""
        octets = self.read(count)
        if len(octets) < count:
            raise TruncatedCapture(f"truncated: it ends at byte {self.position}, in the middle of {what}")
        return octets

    def skip(self, count: int, what: str) -> None:
        while count:
            count -= len(self.exactly(min(count, _CHUNK), what))


def _pcap(source: _Source, order: ByteOrder, unit: int) -> Iterator[RawPacket]:
    # Version (major, minor), two reserved fields, snapshot length, link type; then seconds, fraction, captured octets,
    # original octets.
    header, record = struct.Struct(f"{order}HHIIII"), struct.Struct(f"{order}IIII")
    *_, link_type = header.unpack(source.exactly(header.size, "its header"))
    while start := source.read(1):
        what = f"the packet that begins at byte {source.position - 1}"
        seconds, fraction, captured, length = record.unpack(start + source.exactly(record.size - 1, what))
        if captured > LARGEST:
            raise CaptureError(f"damaged: {what} claims to have {captured} bytes")
        time_ns = seconds * _NANOSECOND + fraction * unit
        # The upper half of the link type describes a checksum after each frame, not the frame's header.
        yield RawPacket(time_ns, link_type & 0xFFFF, source.exactly(captured, what), length, "")


class _Interface(NamedTuple):
    """An interface description block, for the packets that refer to it."""

    link_type: int
    snapshot_length: int
    """Maximum bytes captured of each packet; 0: no limit."""
    ticks: int
    """Time units per second."""
    offset: int
    """Seconds added to every time."""


class _Pcapng:
    """The blocks of a pcapng file. Each section has its own byte order and interfaces."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._order: ByteOrder = "<"
        self._interfaces: list[_Interface] = []

    def packets(self) -> Iterator[RawPacket]:
        """Yield the packets of the file, whose first four bytes have been read already."""
        self._section()
        while start := self._source.read(4):
            at = self._source.position - len(start)
            if len(start) < 4:
                raise TruncatedCapture(f"truncated: it ends at byte {self._source.position}, in the middle of a block")
            kind = self._word(start)
            if kind == _SECTION_HEADER:
                self._section()
                continue
            what = f"the block that begins at byte {at}"
            length = self._word(self._source.exactly(4, what))
            size = self._body_size(length, what)
            if kind != _INTERFACE and kind not in _PACKET_FIELDS:
                self._source.skip(size, what)
                self._end(length, what)
                continue
            if size > LARGEST:
                raise CaptureError(f"damaged: {what} claims to have {length} bytes")
            body = self._source.exactly(size, what)
            self._end(length, what)
            if kind == _INTERFACE:
                self._interfaces.append(self._describe(body, what))
            else:
                yield self._packet(kind, body, what)

    def _word(self, octets: bytes) -> int:
        return int.from_bytes(octets, "little" if self._order == "<" else "big")

    def _fields(self, form: str, body: bytes, what: str) -> tuple[int, ...]:
        """Return the fields at the beginning of a block's body."""
        try:
            return struct.unpack_from(f"{self._order}{form}", body)
        except struct.error:
            raise CaptureError(f"damaged: {what} is too short") from None

    def _section(self) -> None:
        """Read a section header, whose type has been read already. It sets the byte order of the section."""
        what = f"the section header at byte {self._source.position - 4}"
        start = self._source.exactly(8, what)
        orders: tuple[ByteOrder, ByteOrder] = ("<", ">")
        for order in orders:
            self._order = order
            if self._word(start[4:]) == _BYTE_ORDER_MAGIC:
                break
        else:
            raise CaptureError(f"not a capture: {what} has no byte-order magic")
        length = self._word(start[:4])
        size = self._body_size(length, what) - 4  # the magic has been read
        if size < 12:
            raise CaptureError(f"damaged: {what} is too short")
        (major,) = struct.unpack(f"{self._order}H", self._source.exactly(2, what))
        if major != 1:
            raise CaptureError(f"{what} is of version {major} of pcapng: only version 1 is known")
        self._source.skip(size - 2, what)
        self._end(length, what)
        self._interfaces = []

    def _body_size(self, length: int, what: str) -> int:
        if length % 4 or length < _BLOCK_OVERHEAD:
            raise CaptureError(f"damaged: {what} cannot have {length} bytes")
        return length - _BLOCK_OVERHEAD

    def _end(self, length: int, what: str) -> None:
        again = self._word(self._source.exactly(4, what))
        if again != length:
            raise CaptureError(f"damaged: {what} has {length} bytes at its beginning and {again} at its end")

    def _describe(self, body: bytes, what: str) -> _Interface:
        link_type, _, snapshot_length = self._fields("HHI", body, what)
        ticks, offset = 1_000_000, 0
        for code, value in self._options(body, 8, what):
            if code == _TIME_RESOLUTION and len(value) == 1:
                exponent = value[0] & 0x7F
                ticks = 2**exponent if value[0] & 0x80 else 10**exponent
            elif code == _TIME_OFFSET and len(value) == 8:
                (offset,) = struct.unpack(f"{self._order}q", value)
        return _Interface(link_type, snapshot_length, ticks, offset)

    def _packet(self, kind: int, body: bytes, what: str) -> RawPacket:
        *fields, length = self._fields(_PACKET_FIELDS[kind], body, what)
        start = 4 if kind == _SIMPLE_PACKET else 20
        number, *_, high, low, captured = fields or (0, 0, 0, min(length, len(body) - start))
        if number >= len(self._interfaces):
            raise CaptureError(f"damaged: {what} is of interface {number}, which the file does not describe")
        if start + captured > len(body):
            raise CaptureError(f"damaged: {what} claims to hold {captured} bytes of a packet")
        interface = self._interfaces[number]
        octets = body[start : start + captured]
        if kind == _SIMPLE_PACKET:  # has neither time nor options
            limit = interface.snapshot_length or captured
            return RawPacket(0, interface.link_type, octets[:limit], length, "", number)
        comments = [
            value.decode(errors="replace")
            for code, value in self._options(body, start + captured + -captured % 4, what)
            if code == _COMMENT
        ]
        time_ns = (high << 32 | low) * _NANOSECOND // interface.ticks + interface.offset * _NANOSECOND
        return RawPacket(time_ns, interface.link_type, octets, length, "\n".join(comments), number)

    def _options(self, body: bytes, start: int, what: str) -> Iterator[tuple[int, bytes]]:
        while start + 4 <= len(body):
            code, length = struct.unpack_from(f"{self._order}HH", body, start)
            if code == _END_OF_OPTIONS:
                return
            start += 4
            if start + length > len(body):
                raise CaptureError(f"damaged: an option of {what} claims to have {length} bytes")
            yield code, body[start : start + length]
            start += length + -length % 4
