"""Reads the TCP segments of a pcapng or pcap file, with times, addresses and comments.

    for captured in iter_capture("life.pcapng"):
        print(captured.time_ns, captured.source, captured.destination, captured.segment, captured.comment)

Supports files by `utcp.trace.pcapng`, tcpdump, dumpcap, Wireshark and others: pcapng with any number of sections and
interfaces; pcap with micro- or nanoseconds; either byte order; raw IP, Ethernet (with VLANs), Linux cooked (v1 and v2),
BSD loopback; IPv4 and IPv6; TCP, and utcp's TCP in UDP.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from utcp.trace.capture_format import CaptureError, packets
from utcp.trace.dissect import LINK_TYPES, Address, dissect
from utcp.wire import Segment

__all__ = ["CaptureError", "Captured", "iter_capture", "read_capture"]


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
    the segment's length is right."""
    comment: str
    udp: bool


def iter_capture(path: str | PathLike[str], *, udp_ports: AbstractSet[int] | None = None) -> Iterator[Captured]:
    """Yield the TCP segments of the file one by one, so that files of any size work.

    IP fragments, and packets that were cut off before the end of the TCP header, are skipped, as is everything else
    that is not TCP.

    Raises OSError as `open()` does. Raises CaptureError (with the path) for a file that is not a capture, is truncated
    or damaged, or has an unsupported link type; segments before the error are yielded first.

    Args:
        path: the file.
        udp_ports: UDP ports whose datagrams carry segments; None: any datagram that looks like utcp's
            (`utcp.trace.dissect.is_plausible`).
    """
    with Path(path).open("rb") as file:
        try:
            yield from _segments(file, udp_ports)
        except CaptureError as error:
            raise CaptureError(f"{path}: {error}") from None


def read_capture(path: str | PathLike[str], *, udp_ports: AbstractSet[int] | None = None) -> list[Captured]:
    """Return all segments of `iter_capture` as a list, empty if the file contains no TCP."""
    return list(iter_capture(path, udp_ports=udp_ports))


def _segments(file: BinaryIO, udp_ports: AbstractSet[int] | None) -> Iterator[Captured]:
    for packet in packets(file):
        if packet.link_type not in LINK_TYPES:
            known = "raw IP, Ethernet, Linux cooked and BSD loopback are known"
            raise CaptureError(f"link type {packet.link_type} is not supported: {known}")
        for source, destination, segment, udp in dissect(packet.link_type, packet.octets, packet.length, udp_ports):
            yield Captured(packet.time_ns, source, destination, segment, packet.comment, udp)
