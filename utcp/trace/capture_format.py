"""Reads the packets of a capture file: pcapng and classic pcap, both in either byte order.

Formats: draft-ietf-opsawg-pcapng, draft-ietf-opsawg-pcap. `utcp.trace.dissect` decodes the packets.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import BinaryIO, Final, Literal, NamedTuple, TypeAlias

ByteOrder: TypeAlias = Literal["<", ">"]

LARGEST: Final = 16 * 1024 * 1024
"""Maximum size of a packet or block, octets. A larger size counts as damage (Wireshark's limit for blocks is the
same)."""

_CHUNK: Final = 65536

_SECTION_HEADER: Final = 0x0A0D0D0A
_INTERFACE: Final = 1
_OBSOLETE_PACKET: Final = 2
_SIMPLE_PACKET: Final = 3
_ENHANCED_PACKET: Final = 6

_END_OF_OPTIONS: Final = 0
_COMMENT: Final = 1
_TIME_RESOLUTION: Final = 9
_TIME_OFFSET: Final = 14

_BLOCK_OVERHEAD: Final = 12
"""Octets of a block around its body: type and length before it, the length again after it."""

_BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D
_NANOSECOND: Final = 1_000_000_000

# Classic pcap: nanoseconds per unit of a record's second time field, by the file's magic number.
_PCAP_MAGIC: Final = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1}


class CaptureError(ValueError):
    """The file cannot be read as a capture. The text gives the reason in one line."""


class RawPacket(NamedTuple):
    """A captured packet. `octets` may be cut off before its `length`. `time_ns` counts from the epoch."""

    time_ns: int
    link_type: int
    octets: bytes
    length: int
    comment: str


class _Source:
    """A file that is read from beginning to end, with its current position."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.position = 0

    def read(self, count: int) -> bytes:
        """Return the next `count` octets, or fewer at the end of the file."""
        octets = self._file.read(count)
        self.position += len(octets)
        return octets

    def exactly(self, count: int, what: str) -> bytes:
        """Return the next `count` octets of `what`. Raises CaptureError when there are fewer."""
        octets = self.read(count)
        if len(octets) < count:
            raise CaptureError(f"truncated: it ends at octet {self.position}, in the middle of {what}")
        return octets

    def skip(self, count: int, what: str) -> None:
        while count:
            count -= len(self.exactly(min(count, _CHUNK), what))


def packets(file: BinaryIO) -> Iterator[RawPacket]:
    """Yield the packets of the capture in `file`. Raises CaptureError."""
    source = _Source(file)
    start = source.read(4)
    if int.from_bytes(start, "big") == _SECTION_HEADER:
        yield from _Pcapng(source).packets()
        return
    if len(start) == 4:
        orders: tuple[ByteOrder, ByteOrder] = ("<", ">")
        for order in orders:
            (magic,) = Struct(f"{order}I").unpack(start)
            if magic in _PCAP_MAGIC:
                yield from _pcap(source, order, _PCAP_MAGIC[magic])
                return
    if not start:
        raise CaptureError("not a capture: it is empty")
    if start.startswith(b"\x1f\x8b"):
        raise CaptureError("not a capture, but compressed by gzip: gunzip it first")
    raise CaptureError("not a capture: it begins neither as pcapng nor as pcap")


def _pcap(source: _Source, order: ByteOrder, unit: int) -> Iterator[RawPacket]:
    # Version (major, minor), two reserved fields, snapshot length, link type; then seconds, fraction, captured octets,
    # original octets.
    header, record = Struct(f"{order}HHIIII"), Struct(f"{order}IIII")
    *_, link_type = header.unpack(source.exactly(header.size, "its header"))
    while start := source.read(1):
        at = source.position - 1
        what = f"the packet that begins at octet {at}"
        seconds, fraction, captured, length = record.unpack(start + source.exactly(record.size - 1, what))
        if captured > LARGEST:
            raise CaptureError(f"damaged: {what} claims to have {captured} octets")
        time_ns = seconds * _NANOSECOND + fraction * unit
        # The upper half of the link type describes a checksum after each frame, not the frame's header.
        yield RawPacket(time_ns, link_type & 0xFFFF, source.exactly(captured, what), length, "")


class _Interface(NamedTuple):
    """An interface description block, for the packets that refer to it."""

    link_type: int
    snapshot_length: int
    """Maximum octets captured of each packet; 0: no limit."""
    ticks: int
    """Time units per second."""
    offset: int
    """Seconds added to every time."""

    def nanoseconds(self, time: int) -> int:
        return time * _NANOSECOND // self.ticks + self.offset * _NANOSECOND


class _Pcapng:
    """The blocks of a pcapng file. Each section has its own byte order and interfaces."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._order: ByteOrder = ">"
        self._interfaces: list[_Interface] = []
        self._use("<")

    def _use(self, order: ByteOrder) -> None:
        if order == self._order:
            return
        self._order = order
        self._word = Struct(f"{order}I")
        self._option = Struct(f"{order}HH")
        self._interface_body = Struct(f"{order}HHI")  # link type, reserved, snapshot length
        # Interface, time (upper and lower half), captured octets, original octets; the obsolete block also counts
        # drops.
        self._enhanced = Struct(f"{order}IIIII")
        self._obsolete = Struct(f"{order}HHIIII")

    def packets(self) -> Iterator[RawPacket]:
        """Yield the packets of the file, whose first four octets have been read already."""
        self._section()
        while start := self._source.read(4):
            at = self._source.position - len(start)
            if len(start) < 4:
                raise CaptureError(f"truncated: it ends at octet {self._source.position}, in the middle of a block")
            (kind,) = self._word.unpack(start)
            if kind == _SECTION_HEADER:
                self._section()
                continue
            what = f"the block that begins at octet {at}"
            (length,) = self._word.unpack(self._source.exactly(4, what))
            size = self._body_size(length, what)
            if kind not in (_INTERFACE, _ENHANCED_PACKET, _SIMPLE_PACKET, _OBSOLETE_PACKET):
                self._source.skip(size, what)
                self._end(length, what)
                continue
            if size > LARGEST:
                raise CaptureError(f"damaged: {what} claims to have {length} octets")
            body = self._source.exactly(size, what)
            self._end(length, what)
            if kind == _INTERFACE:
                self._interfaces.append(self._describe(body, what))
            else:
                yield self._packet(kind, body, what)

    def _section(self) -> None:
        """Read a section header, whose type has been read already. It sets the byte order of the section."""
        at = self._source.position - 4
        what = f"the section header at octet {at}"
        start = self._source.exactly(8, what)
        if int.from_bytes(start[4:], "little") == _BYTE_ORDER_MAGIC:
            self._use("<")
        elif int.from_bytes(start[4:], "big") == _BYTE_ORDER_MAGIC:
            self._use(">")
        else:
            raise CaptureError(f"not a capture: {what} has no byte-order magic")
        (length,) = self._word.unpack(start[:4])
        size = self._body_size(length, what) - 4  # the magic has been read
        if size < 12:
            raise CaptureError(f"damaged: {what} is too short")
        (major, _) = self._option.unpack(self._source.exactly(4, what))
        if major != 1:
            raise CaptureError(f"{what} is of version {major} of pcapng: only version 1 is known")
        self._source.skip(size - 4, what)
        self._end(length, what)
        self._interfaces = []

    def _body_size(self, length: int, what: str) -> int:
        if length % 4 or length < _BLOCK_OVERHEAD:
            raise CaptureError(f"damaged: {what} cannot have {length} octets")
        return length - _BLOCK_OVERHEAD

    def _end(self, length: int, what: str) -> None:
        (again,) = self._word.unpack(self._source.exactly(4, what))
        if again != length:
            raise CaptureError(f"damaged: {what} has {length} octets by its beginning and {again} by its end")

    def _describe(self, body: bytes, what: str) -> _Interface:
        if len(body) < self._interface_body.size:
            raise CaptureError(f"damaged: {what} is too short")
        link_type, _, snapshot_length = self._interface_body.unpack_from(body)
        ticks, offset = 1_000_000, 0
        for code, value in self._options(body, self._interface_body.size, what):
            if code == _TIME_RESOLUTION and len(value) == 1:
                exponent = value[0] & 0x7F
                ticks = 2**exponent if value[0] & 0x80 else 10**exponent
            elif code == _TIME_OFFSET and len(value) == 8:
                offset = int.from_bytes(value, "little" if self._order == "<" else "big", signed=True)
        return _Interface(link_type, snapshot_length, ticks, offset)

    def _packet(self, kind: int, body: bytes, what: str) -> RawPacket:
        number = high = low = 0
        start = self._word.size if kind == _SIMPLE_PACKET else self._enhanced.size
        if len(body) < start:
            raise CaptureError(f"damaged: {what} is too short")
        if kind == _SIMPLE_PACKET:
            (length,) = self._word.unpack_from(body)
            captured = min(length, len(body) - start)
        elif kind == _ENHANCED_PACKET:
            number, high, low, captured, length = self._enhanced.unpack_from(body)
        else:
            number, _, high, low, captured, length = self._obsolete.unpack_from(body)
        if number >= len(self._interfaces):
            raise CaptureError(f"damaged: {what} is of interface {number}, which nothing describes")
        if start + captured > len(body):
            raise CaptureError(f"damaged: {what} claims to hold {captured} octets of a packet")
        interface = self._interfaces[number]
        octets = body[start : start + captured]
        if kind == _SIMPLE_PACKET:  # has neither time nor options
            limit = interface.snapshot_length or captured
            return RawPacket(0, interface.link_type, octets[:limit], length, "")
        comments = [
            value.decode(errors="replace")
            for code, value in self._options(body, start + captured + -captured % 4, what)
            if code == _COMMENT
        ]
        time_ns = interface.nanoseconds(high << 32 | low)
        return RawPacket(time_ns, interface.link_type, octets, length, "\n".join(comments))

    def _options(self, body: bytes, start: int, what: str) -> Iterator[tuple[int, bytes]]:
        while start + self._option.size <= len(body):
            code, length = self._option.unpack_from(body, start)
            if code == _END_OF_OPTIONS:
                return
            start += self._option.size
            if start + length > len(body):
                raise CaptureError(f"damaged: an option of {what} claims to have {length} octets")
            yield code, body[start : start + length]
            start += length + -length % 4
