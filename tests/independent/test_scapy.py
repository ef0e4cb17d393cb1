"""scapy as a second codec: it and utcp agree on what every segment says, both ways."""

from __future__ import annotations

import socket
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from tests.wire.strategies import segments, u8, u16, u32
from utcp.trace.pcapng import segment_packet
from utcp.wire import Segment, decode, encode
from utcp.wire.checksum import fill, pseudo_header, verify

Options = list[tuple[str | int, Any]]
"""As scapy has them: names of those that it knows, kinds of the others."""

ipv4 = st.ip_addresses(v=4).map(str)
ipv6 = st.ip_addresses(v=6).map(str)
ports = st.tuples(u16, u16)

foreign_kinds = st.integers(6, 252).filter(lambda kind: kind not in (8, 14, 15, 19, 25, 28, 29, 34))
"""Options that neither side gives a meaning to."""


@st.composite
def scapy_options(draw: st.DrawFn) -> Options:
    """Known and unknown options in any order, at any alignment, in 40 octets."""
    sizes = {"MSS": 4, "WScale": 3, "SAckOK": 2, "Timestamp": 10}
    values: dict[str, st.SearchStrategy[Any]] = {
        "MSS": u16,
        "WScale": u8,
        "SAckOK": st.just(b""),
        "Timestamp": st.tuples(u32, u32),
    }
    names = draw(st.lists(st.sampled_from(list(sizes)), unique=True))
    options: Options = [(name, draw(values[name])) for name in names]
    room = 40 - sum(sizes[name] for name in names)
    blocks = draw(st.integers(0, max(0, (room - 2) // 8)))
    if blocks:
        options.append(("SAck", tuple(draw(st.lists(u32, min_size=2 * blocks, max_size=2 * blocks)))))
        room -= 2 + 8 * blocks
    if room >= 2 and draw(st.booleans()):
        value = draw(st.binary(max_size=room - 2))
        options.append((draw(foreign_kinds), value))
        room -= 2 + len(value)
    options += [("NOP", None)] * draw(st.integers(0, room))
    return draw(st.permutations(options))


def meaning(options: Options) -> dict[str | int, Any]:
    """What the options say: without order, padding, and what utcp skips."""
    return {name: value for name, value in options if isinstance(name, str) and name not in ("NOP", "EOL")}


def meaning_to_utcp(segment: Segment) -> dict[str | int, Any]:
    """The same of a decoded segment, in scapy's words."""
    said: dict[str | int, Any] = {
        "MSS": segment.mss,
        "WScale": segment.window_scale,
        "SAckOK": b"" if segment.sack_permitted else None,
        "Timestamp": None if segment.ts_val is None else (segment.ts_val, segment.ts_ecr),
        "SAck": tuple(edge for block in segment.sack_blocks for edge in block) or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def assert_same(segment: Segment, packet: TCP) -> None:
    """Both say the same, field by field."""
    assert (segment.src_port, segment.dst_port) == (packet.sport, packet.dport)
    assert (segment.seq, segment.ack) == (packet.seq, packet.ack)
    assert segment.flags == int(packet.flags)
    assert (segment.window, segment.checksum, segment.urgent) == (packet.window, packet.chksum, packet.urgptr)
    assert meaning_to_utcp(segment) == meaning(packet.options)
    assert segment.payload == bytes(packet.payload)


@given(segments())
def test_scapy_reads_what_utcp_writes(segment: Segment) -> None:
    assert_same(segment, TCP(encode(segment)))


@given(segments(), scapy_options())
def test_utcp_reads_what_scapy_writes(segment: Segment, options: Options) -> None:
    packet = TCP(
        sport=segment.src_port,
        dport=segment.dst_port,
        seq=segment.seq,
        ack=segment.ack,
        flags=segment.flags,
        window=segment.window,
        chksum=segment.checksum,
        urgptr=segment.urgent,
        options=options,
    )
    assert_same(decode(bytes(packet / segment.payload)), TCP(bytes(packet / segment.payload)))
    assert meaning_to_utcp(decode(bytes(packet))) == meaning(options)


@given(segments(), ipv4, ipv4)
def test_checksums_agree(segment: Segment, source: str, destination: str) -> None:
    octets = encode(segment)
    pseudo = pseudo_header(socket.inet_aton(source), socket.inet_aton(destination))
    packet = IP(src=source, dst=destination) / TCP(octets)
    del packet[TCP].chksum
    theirs = bytes(packet)[20:]
    assert fill(octets, pseudo) == theirs
    assert verify(theirs, pseudo)


@given(segments(), st.tuples(ipv4, ipv4) | st.tuples(ipv6, ipv6), ports)
def test_packets_of_captures_agree(segment: Segment, hosts: tuple[str, str], udp_ports: tuple[int, int]) -> None:
    """scapy builds the same packets around a segment: lengths, checksums and all."""
    source, destination = zip(hosts, udp_ports, strict=True)
    octets = encode(segment)
    outer = IPv6(src=hosts[0], dst=hosts[1], hlim=64) if ":" in hosts[0] else None
    ip = outer or IP(src=hosts[0], dst=hosts[1], id=0, flags="DF", ttl=64)
    bare = ip / TCP(octets)
    del bare[TCP].chksum
    assert segment_packet(source, destination, octets, "tcp") == bytes(bare)
    in_udp = ip / UDP(sport=udp_ports[0], dport=udp_ports[1]) / octets
    assert segment_packet(source, destination, octets, "udp") == bytes(in_udp)
