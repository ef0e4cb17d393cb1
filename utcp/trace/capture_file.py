"""Captures read back: the TCP segments in a pcapng or pcap file, with times, addresses and comments.

    for captured in iter_capture("life.pcapng"):
        print(captured.time_ns, captured.source, captured.destination, captured.segment, captured.comment)

Files by `utcp.trace.pcapng`, tcpdump, dumpcap, Wireshark and others: pcapng with any number of sections and interfaces,
pcap with micro- or nanoseconds, either byte order; raw IP, Ethernet (VLANs too), Linux cooked (both), BSD loopback;
IPv4 and IPv6; TCP, and TCP in UDP as utcp speaks it.
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
    """A segment of a capture. `comment`: the packet's comments, a line each; empty without any."""

    time_ns: int
    """Nanoseconds since the epoch, rounded down where the file is more exact; 0 for a packet without time (a pcapng
    simple packet block)."""
    source: Address
    """The sender's IP address, and its UDP port if the segment came in UDP, else its TCP port."""
    destination: Address
    segment: Segment
    """With the checksum and the ECN bits that it was captured with. Of a packet that the capture cut off, the missing
    part of the payload is zeros, so that its length is right."""
    comment: str
    udp: bool


def iter_capture(path: str | PathLike[str], *, udp_ports: AbstractSet[int] | None = None) -> Iterator[Captured]:
    """The TCP segments in the file, one after the other, however many there are.

    `udp_ports`: take the payload of UDP datagrams from or to one of these ports for segments; None: of those that look
    like utcp's (`utcp.trace.dissect.is_plausible`). Left out is what is no TCP, fragments of IP packets, and packets
    that the capture cut off before the end of the TCP header.

    Raises OSError as `open()` does, and CaptureError (with the path) for what is no capture, a file that ends in the
    middle of something, damage, and a link type that is not known; segments in front of the trouble come first.
    """
    with Path(path).open("rb") as file:
        try:
            yield from _segments(file, udp_ports)
        except CaptureError as error:
            raise CaptureError(f"{path}: {error}") from None


def read_capture(path: str | PathLike[str], *, udp_ports: AbstractSet[int] | None = None) -> list[Captured]:
    """All of `iter_capture` at once; an empty list when there is no TCP in the file."""
    return list(iter_capture(path, udp_ports=udp_ports))


def _segments(file: BinaryIO, udp_ports: AbstractSet[int] | None) -> Iterator[Captured]:
    for packet in packets(file):
        if packet.link_type not in LINK_TYPES:
            known = "raw IP, Ethernet, Linux cooked and BSD loopback are known"
            raise CaptureError(f"link type {packet.link_type} is not supported: {known}")
        for source, destination, segment, udp in dissect(packet.link_type, packet.octets, packet.length, udp_ports):
            yield Captured(packet.time_ns, source, destination, segment, packet.comment, udp)
