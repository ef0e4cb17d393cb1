"""Capture files and frames made by hand, in either byte order: what utcp's own writer never writes."""

from __future__ import annotations

import struct
from typing import Final

from utcp.wire import ACK, Segment, encode
from utcp.wire.checksum import fill, pseudo_header

CLIENT: Final = ("192.0.2.1", 7000)
SERVER: Final = ("192.0.2.2", 9000)
CLIENT6: Final = ("2001:db8::1", 7000)
SERVER6: Final = ("2001:db8::2", 9000)

RAW: Final = 101
ETHERNET: Final = 1

EXAMPLE: Final = Segment(50000, 80, 1, 2, ACK, 3, b"text", ts_val=4, ts_ecr=5)
TEXT: Final = encode(EXAMPLE)


def block(order: str, kind: int, body: bytes) -> bytes:
    """A pcapng block; `body` must be whole words."""
    length = 12 + len(body)
    return struct.pack(f"{order}II", kind, length) + body + struct.pack(f"{order}I", length)


def section(order: str, options: bytes = b"") -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1) + options)


def interface(order: str, link_type: int = RAW, snapshot_length: int = 0, options: bytes = b"") -> bytes:
    return block(order, 1, struct.pack(f"{order}HHI", link_type, 0, snapshot_length) + options)


def option(order: str, code: int, value: bytes) -> bytes:
    return struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


def enhanced(
    order: str, time: int, packet: bytes, *, number: int = 0, length: int | None = None, options: bytes = b""
) -> bytes:
    """An enhanced packet block; `length` is the packet's, where not all of it was captured."""
    whole = len(packet) if length is None else length
    header = struct.pack(f"{order}IIIII", number, time >> 32, time & 0xFFFFFFFF, len(packet), whole)
    return block(order, 6, header + packet + bytes(-len(packet) % 4) + options)


def simple(order: str, packet: bytes, length: int | None = None) -> bytes:
    whole = len(packet) if length is None else length
    return block(order, 3, struct.pack(f"{order}I", whole) + packet + bytes(-len(packet) % 4))


def obsolete(order: str, time: int, packet: bytes) -> bytes:
    header = struct.pack(f"{order}HHIIII", 0, 7, time >> 32, time & 0xFFFFFFFF, len(packet), len(packet))
    return block(order, 2, header + packet + bytes(-len(packet) % 4))


def pcap_header(order: str, magic: int = 0xA1B2C3D4, link_type: int = RAW) -> bytes:
    return struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link_type)


def pcap_record(order: str, seconds: int, fraction: int, packet: bytes, length: int | None = None) -> bytes:
    whole = len(packet) if length is None else length
    return struct.pack(f"{order}IIII", seconds, fraction, len(packet), whole) + packet


def ipv4(payload: bytes, protocol: int = 6, *, options: bytes = b"", tos: int = 0, fragment: int = 0) -> bytes:
    """A packet from CLIENT to SERVER; nobody reads its checksum."""
    total = 20 + len(options) + len(payload)
    first = 0x40 | 5 + len(options) // 4
    addresses = bytes((192, 0, 2, 1, 192, 0, 2, 2))
    return struct.pack("!BBHHHBBH", first, tos, total, 0, fragment, 64, protocol, 0) + addresses + options + payload


def ipv6(payload: bytes, next_header: int = 6, *, traffic_class: int = 0) -> bytes:
    """A packet from CLIENT6 to SERVER6."""
    prefix = bytes.fromhex("20010db8") + bytes(11)
    addresses = prefix + b"\1" + prefix + b"\2"
    return struct.pack("!IHBB", 6 << 28 | traffic_class << 20, len(payload), next_header, 64) + addresses + payload


def udp(payload: bytes, source: int = CLIENT[1], destination: int = SERVER[1]) -> bytes:
    return struct.pack("!HHHH", source, destination, 8 + len(payload), 0) + payload


def ethernet(packet: bytes, kind: int = 0x0800, tags: tuple[int, ...] = ()) -> bytes:
    """A frame, with VLAN tags of these types around the packet."""
    kinds = b"".join(struct.pack("!HH", tag, 42) for tag in tags)
    return bytes(12) + kinds + struct.pack("!H", kind) + packet


def summed(segment: bytes) -> bytes:
    """The segment as the kernel's TCP sends it from CLIENT to SERVER."""
    return fill(segment, pseudo_header(bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))))
