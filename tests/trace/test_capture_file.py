"""Captures read back: of every format, link and IP version that the reader knows, and those that are broken."""

from __future__ import annotations

import io
import struct
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trace.capture_files import (
    CLIENT,
    CLIENT6,
    ETHERNET,
    EXAMPLE,
    RAW,
    SERVER,
    SERVER6,
    TEXT,
    enhanced,
    ethernet,
    interface,
    ipv4,
    ipv6,
    obsolete,
    option,
    pcap_header,
    pcap_record,
    section,
    simple,
    summed,
    udp,
)
from tests.wire.strategies import segments
from utcp.trace.capture_file import Captured, CaptureError, iter_capture, read_capture
from utcp.trace.pcapng import Capture
from utcp.wire import ACK, FIN, RST, SYN, Segment, decode, encode

UNCHECKED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
TCP_PORTS = ("192.0.2.1", 50000), ("192.0.2.2", 80)
"""Of EXAMPLE between CLIENT and SERVER, in bare TCP."""

both_orders = pytest.mark.parametrize("order", ["<", ">"])


def read(tmp_path: Path, content: bytes, udp_ports: set[int] | None = None) -> list[Captured]:
    path = tmp_path / "capture"
    path.write_bytes(content)
    return read_capture(path, udp_ports=udp_ports)


def failure(tmp_path: Path, content: bytes) -> str:
    """What CaptureError says, without the path in front."""
    with pytest.raises(CaptureError) as caught:
        read(tmp_path, content)
    path, _, reason = str(caught.value).partition(": ")
    assert path == str(tmp_path / "capture")
    assert "\n" not in reason
    return reason


def in_pcap(frame: bytes, link_type: int = RAW, length: int | None = None) -> bytes:
    return pcap_header("<", link_type=link_type) + pcap_record("<", 1, 0, frame, length)


# --- our own writer's


@pytest.mark.parametrize("form", ["tcp", "udp"])
@given(segment=segments(), time_ns=st.integers(0, 2**50), comment=st.text(st.characters(exclude_categories=["Cs"])))
@settings(suppress_health_check=UNCHECKED)
def test_what_we_write_is_what_we_read(
    tmp_path: Path, form: Literal["tcp", "udp"], segment: Segment, time_ns: int, comment: str
) -> None:
    file = io.BytesIO()
    segment.checksum = 0
    Capture(file, form=form, epoch_ns=time_ns).packet(0.0, CLIENT, SERVER, encode(segment), comment)
    (captured,) = read(tmp_path, file.getvalue(), {CLIENT[1]})
    assert (captured.time_ns, captured.comment, captured.udp) == (time_ns, comment, form == "udp")
    if form == "udp":
        assert (captured.source, captured.destination) == (CLIENT, SERVER)
        assert captured.segment.checksum == 0
    else:
        assert captured.source == (CLIENT[0], segment.src_port)
        assert captured.destination == (SERVER[0], segment.dst_port)
        captured.segment.checksum = 0
    assert captured.segment == decode(encode(segment))


# --- pcapng


@both_orders
def test_sections_differ_in_byte_order_and_interfaces_in_units_of_time(tmp_path: Path, order: str) -> None:
    other = "<" if order == ">" else ">"
    packet = ipv4(TEXT)
    content = (
        section(order)
        + interface(order)  # without an option: microseconds
        + interface(order, ETHERNET, options=option(order, 9, b"\x03") + bytes(4))  # milliseconds
        + interface(order, options=option(order, 9, b"\x8a"))  # 2**-10 s, the end of the options left out
        + interface(order, options=option(order, 9, b"\x09") + option(order, 14, struct.pack(f"{order}q", -2)))
        + enhanced(order, 5_000_001, packet)
        + enhanced(order, 5_101, ethernet(packet), number=1)
        + enhanced(order, 5 * 1024 + 512, packet, number=2)
        + enhanced(order, 2**33, packet, number=3)
        + section(other)
        + interface(other)
        + enhanced(other, 7_000_000, packet)
    )
    found = read(tmp_path, content)
    assert [captured.time_ns for captured in found] == [
        5_000_001_000,
        5_101_000_000,
        5_500_000_000,
        2**33 - 2_000_000_000,
        7_000_000_000,
    ]
    assert all(captured.segment == EXAMPLE for captured in found)
    assert {(captured.source, captured.destination) for captured in found} == {TCP_PORTS}


@both_orders
def test_blocks_of_other_kinds_are_skipped(tmp_path: Path, order: str) -> None:
    names = struct.pack(f"{order}II", 4, 112) + bytes(100) + struct.pack(f"{order}I", 112)
    content = section(order, option(order, 4, b"a tool")) + names + interface(order) + names
    content += enhanced(order, 0, ipv4(TEXT)) + names
    assert [captured.segment for captured in read(tmp_path, content)] == [EXAMPLE]


@both_orders
def test_simple_packets_have_no_time(tmp_path: Path, order: str) -> None:
    packet = ipv4(TEXT)
    content = section(order) + interface(order, snapshot_length=52) + simple(order, packet[:52], len(packet))
    (captured,) = read(tmp_path, content)
    assert captured.time_ns == 0
    assert captured.segment.payload == bytes(4)
    whole = section(order) + interface(order) + simple(order, packet)
    assert [captured.segment for captured in read(tmp_path, whole)] == [EXAMPLE]


@both_orders
def test_packet_blocks_of_the_old_kind(tmp_path: Path, order: str) -> None:
    (captured,) = read(tmp_path, section(order) + interface(order) + obsolete(order, 2**32 + 1, ipv4(TEXT)))
    assert (captured.time_ns, captured.segment) == ((2**32 + 1) * 1000, EXAMPLE)


@both_orders
def test_several_comments_are_lines(tmp_path: Path, order: str) -> None:
    options = option(order, 1, "zwölf".encode()) + option(order, 2, bytes(4)) + option(order, 1, b"\xffx") + bytes(4)
    options += option(order, 1, b"behind the end")
    content = section(order) + interface(order) + enhanced(order, 0, ipv4(TEXT), options=options)
    (captured,) = read(tmp_path, content)
    assert captured.comment == "zwölf\n\N{REPLACEMENT CHARACTER}x"


# --- pcap


@both_orders
@pytest.mark.parametrize(("magic", "unit"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
def test_classic_pcap(tmp_path: Path, order: str, magic: int, unit: int) -> None:
    content = pcap_header(order, magic, RAW | 0x14000000)  # a length of a frame check sequence stands in front
    content += pcap_record(order, 3, 999_999, ipv4(TEXT)) + pcap_record(order, 2**32 - 1, 0, ipv4(TEXT))
    found = read(tmp_path, content)
    assert [captured.time_ns for captured in found] == [3_000_000_000 + 999_999 * unit, (2**32 - 1) * 10**9]
    assert [captured.comment for captured in found] == ["", ""]


# --- links


@pytest.mark.parametrize(
    ("link_type", "header"),
    [
        *((number, b"") for number in (101, 228, 12, 14)),
        (1, ethernet(b"")),
        (1, ethernet(b"", tags=(0x8100,))),
        (1, ethernet(b"", tags=(0x88A8, 0x8100))),
        (113, bytes(14) + b"\x08\x00"),
        (276, b"\x08\x00" + bytes(18)),
        (0, b"\x02\0\0\0"),
        (0, b"\0\0\0\x02"),
        (108, b"\0\0\0\x02"),
    ],
)
def test_links(tmp_path: Path, link_type: int, header: bytes) -> None:
    (captured,) = read(tmp_path, in_pcap(header + ipv4(TEXT) + b"padding", link_type))
    assert captured == Captured(1_000_000_000, *TCP_PORTS, EXAMPLE, "", udp=False)


@pytest.mark.parametrize(
    ("link_type", "header"),
    [
        (101, b""),
        (229, b""),
        (1, ethernet(b"", 0x86DD)),
        (113, bytes(14) + b"\x86\xdd"),
        (276, b"\x86\xdd" + bytes(18)),
        (0, b"\x1e\0\0\0"),
    ],
)
def test_links_that_carry_ipv6(tmp_path: Path, link_type: int, header: bytes) -> None:
    (captured,) = read(tmp_path, in_pcap(header + ipv6(udp(TEXT), 17), link_type))
    assert (captured.source, captured.destination, captured.udp) == (CLIENT6, SERVER6, True)


@pytest.mark.parametrize(
    ("link_type", "frame"),
    [
        (1, ethernet(bytes(46), 0x0806)),
        (1, ethernet(b"", tags=(0x8100,))),
        (1, bytes(13)),
        (1, b""),
        (113, bytes(60)),
        (276, b"\x08\x00"),
        (0, b"\x02"),
        (101, b"\x75" + bytes(60)),
    ],
)
def test_frames_without_ip_are_left_out(tmp_path: Path, link_type: int, frame: bytes) -> None:
    assert read(tmp_path, in_pcap(frame, link_type) + pcap_record("<", 1, 0, frame)) == []


# --- IP


def test_ip_options_and_extension_headers_are_passed_over(tmp_path: Path) -> None:
    assert read(tmp_path, in_pcap(ipv4(TEXT, options=bytes(12))))[0].segment == EXAMPLE
    hop_by_hop, routing, authentication = b"\x2b\0" + bytes(6), b"\x33\x01" + bytes(14), b"\x06\x04" + bytes(22)
    extended = ipv6(hop_by_hop + routing + authentication + TEXT, 0)
    assert read(tmp_path, in_pcap(extended))[0].segment == EXAMPLE


def test_the_ecn_bits_are_the_segments(tmp_path: Path) -> None:
    assert read(tmp_path, in_pcap(ipv4(TEXT, tos=0xB8 | 3)))[0].segment.ecn == 3
    assert read(tmp_path, in_pcap(ipv6(TEXT, traffic_class=0xB8 | 2)))[0].segment.ecn == 2


def cooked2(packet: bytes, index: int) -> bytes:
    """A frame of tcpdump -i any, captured on the interface with this index."""
    return struct.pack("!HHIHBB8s", 0x0800, 0, index, 1, 0, 6, bytes(8)) + packet


def test_a_segment_that_passes_several_interfaces_is_read_once(tmp_path: Path) -> None:
    """As on a host that forwards it, with one TTL less."""
    packet = ipv4(TEXT)
    forwarded = packet[:8] + bytes([packet[8] - 1]) + packet[9:]
    again = struct.pack("!H", 7).join((packet[:4], packet[6:]))  # another identification: it was sent again
    frames = [(2, packet), (3, forwarded), (7, forwarded), (2, again), (3, again)]
    content = pcap_header("<", link_type=276)
    for number, (index, frame) in enumerate(frames):
        content += pcap_record("<", 1, number, cooked2(frame, index))
    content += pcap_record("<", 1, 200_000, cooked2(packet, 3))  # too late for a copy
    assert [captured.time_ns - 10**9 for captured in read(tmp_path, content)] == [0, 3000, 200_000_000]


@both_orders
def test_copies_on_other_interfaces_of_a_pcapng_file_are_read_once(tmp_path: Path, order: str) -> None:
    packet = ipv4(TEXT)
    content = section(order) + interface(order) + interface(order, ETHERNET)
    for time, number in ((10, 0), (11, 1), (12, 0), (13, 1)):
        content += enhanced(order, time, ethernet(packet) if number else packet, number=number)
    assert [captured.time_ns for captured in read(tmp_path, content)] == [10_000, 12_000]


def test_old_segments_are_not_kept_to_recognize_copies(tmp_path: Path) -> None:
    content = pcap_header("<", link_type=276)
    for number in range(3000):
        segment = Segment(1, 2, number, 0, ACK)
        content += pcap_record("<", 1, number, cooked2(ipv4(encode(segment)), 2))
    content += pcap_record("<", 1, 4000, cooked2(ipv4(encode(Segment(1, 2, 2500, 0, ACK))), 3))
    content += pcap_record("<", 1, 4000, cooked2(ipv4(encode(Segment(1, 2, 0, 0, ACK))), 3))
    assert len(read(tmp_path, content)) == 3001


def test_a_packet_that_a_network_card_is_to_cut_up_has_no_length_of_its_own(tmp_path: Path) -> None:
    packet = ipv4(TEXT)
    for unsized in (packet[:2] + b"\0\0" + packet[4:], ipv6(TEXT)[:4] + b"\0\0" + ipv6(TEXT)[6:]):
        assert read(tmp_path, in_pcap(unsized))[0].segment == EXAMPLE


@pytest.mark.parametrize(
    "packet",
    [
        ipv4(TEXT, fragment=0x2000),
        ipv4(TEXT, fragment=1),
        ipv6(b"\x06" + bytes(7) + TEXT, 44),
        ipv4(TEXT, protocol=1),
        ipv6(TEXT, 58),
        ipv6(b"\x06\xff" + bytes(60), 0),  # an extension header longer than the packet
        ipv6(b"\x06", 0),
        ipv4(TEXT[:19]),
        ipv4(TEXT[:12] + b"\x40" + TEXT[13:]),  # a header of four words
        ipv4(TEXT[:12] + b"\xf0" + TEXT[13:]),  # one longer than the packet
        b"\x44" + ipv4(TEXT)[1:],
        ipv4(TEXT)[:2] + b"\0\x10" + ipv4(TEXT)[4:],  # a total length shorter than the header
        ipv4(TEXT)[:-1],  # and one longer than the frame
        ipv6(TEXT)[:-1],
        ipv6(TEXT)[:39],
        ipv4(TEXT)[:19],
        ipv4(udp(TEXT)[:7], 17),
        ipv4(struct.pack("!HHHH", 7000, 9000, 7, 0) + TEXT, 17),  # UDP's length is less than its header
    ],
)
def test_what_holds_no_whole_segment_is_left_out(tmp_path: Path, packet: bytes) -> None:
    assert read(tmp_path, in_pcap(packet)) == []


# --- cut off by the capture


def test_a_payload_that_was_cut_off_keeps_its_length(tmp_path: Path) -> None:
    whole = Segment(50000, 80, 1, 2, ACK, 3, b"0123456789", ts_val=4, ts_ecr=5)
    for packet, udp_header in ((ipv4(encode(whole)), 0), (ipv4(udp(encode(whole)), 17), 8)):
        headers = 20 + udp_header + 32
        for captured, payload in ((headers + 4, b"0123" + bytes(6)), (headers, bytes(10))):
            found = read(tmp_path, in_pcap(packet[:captured], length=len(packet)))
            assert [one.segment.payload for one in found] == [payload]
            assert found[0].segment.ts_ecr == 5
        assert read(tmp_path, in_pcap(packet[: headers - 1], length=len(packet))) == []


def test_a_large_payload_that_was_cut_off_takes_no_memory(tmp_path: Path) -> None:
    """A megabyte of packets whose records give half a megabyte as their length, and whose IP headers give none."""
    header = ipv4(TEXT[:32])
    unsized = header[:2] + b"\0\0" + header[4:]
    count = 14_000
    path = tmp_path / "capture"
    path.write_bytes(pcap_header("<") + b"".join(pcap_record("<", 1, 0, unsized, 500_000 - n) for n in range(count)))
    assert path.stat().st_size < 1_000_000
    tracemalloc.start()
    try:
        found = read_capture(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [len(one.segment.payload) for one in found] == [500_000 - n - 52 for n in range(count)]
    assert peak < 20_000_000
    assert not any(found[0].segment.payload)


def test_a_payload_of_which_much_is_missing_is_zeros(tmp_path: Path) -> None:
    for missing, first in ((4096, b"0"), (4097, b"\0")):
        packet = ipv4(TEXT[:32] + b"0" + bytes(missing))
        (found,) = read(tmp_path, in_pcap(packet[:53], length=len(packet)))
        assert found.segment.payload == first + bytes(missing)
        assert found.segment.ts_ecr == 5


# --- TCP in UDP


def test_udp_ports_name_the_datagrams_that_are_segments(tmp_path: Path) -> None:
    content = in_pcap(ipv4(udp(summed(TEXT)), 17))
    for ports, count in (({CLIENT[1]}, 1), ({SERVER[1]}, 1), ({80, 50000}, 0), (set[int](), 0), (None, 0)):
        assert len(read(tmp_path, content, ports)) == count, ports


def test_udp_ports_do_not_concern_bare_tcp(tmp_path: Path) -> None:
    assert len(read(tmp_path, in_pcap(ipv4(TEXT)), set())) == 1


@pytest.mark.parametrize("flags", [SYN, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK])
def test_segments_of_every_kind_look_like_segments(tmp_path: Path, flags: int) -> None:
    segment = encode(Segment(50000, 80, 2**32 - 1, 0, flags, mss=1452 if flags & SYN else None))
    (captured,) = read(tmp_path, in_pcap(ipv4(udp(segment), 17)))
    assert captured == Captured(1_000_000_000, CLIENT, SERVER, decode(segment), "", udp=True)


@pytest.mark.parametrize(
    ("at", "octets"),
    [
        (0, b"\0\0"),  # no source port
        (2, b"\0\0"),
        (12, b"\x81"),  # a reserved bit
        (13, bytes((SYN | FIN,))),
        (13, bytes((SYN | RST | ACK,))),
        (13, bytes((FIN,))),
        (13, b"\0"),
        (16, b"\0\1"),  # a checksum, which utcp leaves out
        (18, b"\0\1"),  # an urgent pointer without URG
    ],
)
def test_what_utcp_never_sends_does_not_look_like_a_segment(tmp_path: Path, at: int, octets: bytes) -> None:
    datagram = TEXT[:at] + octets + TEXT[at + len(octets) :]
    assert read(tmp_path, in_pcap(ipv4(udp(datagram), 17))) == []
    assert len(read(tmp_path, in_pcap(ipv4(udp(datagram), 17)), {9000})) == 1


@given(payload=st.binary(max_size=64))
@settings(suppress_health_check=UNCHECKED)
def test_other_datagrams_are_left_out(tmp_path: Path, payload: bytes) -> None:
    question = bytes.fromhex("1234 0100 0001 0000 0000 0000 03 777777 04 7574637000 0001 0001")  # of DNS
    assert read(tmp_path, in_pcap(ipv4(udp(question), 17)) + pcap_record("<", 1, 0, ipv4(udp(payload), 17))) == []


# --- what is no capture


def test_no_tcp_is_no_error(tmp_path: Path) -> None:
    assert read(tmp_path, pcap_header("<")) == []
    assert read(tmp_path, section("<")) == []
    assert read(tmp_path, in_pcap(ipv4(udp(b"something else"), 17))) == []


def test_a_missing_file_is_open_s_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_capture(tmp_path / "nowhere.pcapng")
    with pytest.raises(IsADirectoryError):
        read_capture(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a capture: it is empty"),
        (b"GET", "not a capture: it is neither pcapng nor pcap"),
        (b"# A text\n", "not a capture: it is neither pcapng nor pcap"),
        (b"\x1f\x8b\x08\x00rest", "not a capture, but compressed by gzip: gunzip it first"),
        (
            bytes.fromhex("0a0d0d0a 0000001c 11223344"),
            "not a capture: the section header at byte 0 has no byte-order magic",
        ),
        (
            bytes.fromhex("0a0d0d0a 0000001c 1a2b3c4d 0002 0000"),
            "the section header at byte 0 is of version 2 of pcapng: only version 1 is known",
        ),
        (bytes.fromhex("0a0d0d0a 00000018 1a2b3c4d"), "damaged: the section header at byte 0 is too short"),
        (section("<")[:10], "truncated: it ends at byte 10, in the middle of the section header at byte 0"),
        (section("<") + b"\6\0", "truncated: it ends at byte 30, in the middle of a block"),
        (
            section("<") + enhanced("<", 0, ipv4(TEXT)),
            "damaged: the block that begins at byte 28 is of interface 0, which the file does not describe",
        ),
        (
            section("<") + interface("<") + section("<") + simple("<", ipv4(TEXT)),
            "damaged: the block that begins at byte 76 is of interface 0, which the file does not describe",
        ),
        (section("<") + struct.pack("<II", 5, 13), "damaged: the block that begins at byte 28 cannot have 13 bytes"),
        (section("<") + struct.pack("<II", 5, 8), "damaged: the block that begins at byte 28 cannot have 8 bytes"),
        (
            section("<") + interface("<")[:-4] + b"\x18\0\0\0",
            "damaged: the block that begins at byte 28 has 20 bytes at its beginning and 24 at its end",
        ),
        (
            section("<") + struct.pack("<II", 6, 2**32 - 4),
            "damaged: the block that begins at byte 28 claims to have 4294967292 bytes",
        ),
        (
            section("<") + struct.pack("<II", 5, 2**32 - 4),
            "truncated: it ends at byte 36, in the middle of the block that begins at byte 28",
        ),
        (
            section("<") + struct.pack("<IIII", 1, 16, 0, 16),
            "damaged: the block that begins at byte 28 is too short",
        ),
        (
            section("<") + interface("<") + struct.pack("<IIII", 6, 16, 0, 16),
            "damaged: the block that begins at byte 48 is too short",
        ),
        (
            section("<") + interface("<") + struct.pack("<II5II", 6, 32, 0, 0, 0, 1, 1, 32),
            "damaged: the block that begins at byte 48 claims to hold 1 bytes of a packet",
        ),
        (
            section("<") + interface("<") + enhanced("<", 0, b"", options=struct.pack("<HH", 1, 5) + bytes(4)),
            "damaged: an option of the block that begins at byte 48 claims to have 5 bytes",
        ),
        (pcap_header("<")[:-1], "truncated: it ends at byte 23, in the middle of its header"),
        (
            pcap_header("<") + pcap_record("<", 1, 0, ipv4(TEXT))[:-1],
            "truncated: it ends at byte 95, in the middle of the packet that begins at byte 24",
        ),
        (
            pcap_header("<") + b"\0",
            "truncated: it ends at byte 25, in the middle of the packet that begins at byte 24",
        ),
        (
            pcap_header("<") + struct.pack("<IIII", 0, 0, 2**31, 2**31),
            "damaged: the packet that begins at byte 24 claims to have 2147483648 bytes",
        ),
        (
            in_pcap(b"beacon", 105),
            "link type 105 is not supported: raw IP, Ethernet, Linux cooked and BSD loopback are known",
        ),
    ],
)
def test_what_is_wrong_is_told_in_a_line(tmp_path: Path, content: bytes, reason: str) -> None:
    assert failure(tmp_path, content) == reason


def test_what_stands_in_front_of_the_trouble_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes((in_pcap(ipv4(TEXT)) + pcap_record("<", 1, 0, ipv4(TEXT)))[:-1])
    found = iter_capture(path)
    assert next(found).segment == EXAMPLE
    with pytest.raises(CaptureError, match="truncated"):
        next(found)


def test_an_interface_of_an_unknown_link_type_matters_once_it_has_a_packet(tmp_path: Path) -> None:
    content = section("<") + interface("<") + interface("<", 189) + enhanced("<", 0, ipv4(TEXT))
    assert len(read(tmp_path, content)) == 1
    assert failure(tmp_path, content + enhanced("<", 0, b"usb", number=1)).startswith("link type 189")


SEED_FILES = [
    section(order)
    + interface(order, ETHERNET, 96, option(order, 9, b"\x89") + option(order, 14, bytes(8)) + bytes(4))
    + interface(order)
    + enhanced(order, 1, ethernet(ipv4(udp(TEXT), 17), tags=(0x8100,)), options=option(order, 1, b"comment") + bytes(4))
    + enhanced(order, 1, ipv6(b"\x06\0" + bytes(6) + TEXT, 0), number=1)
    + simple(order, ethernet(ipv4(TEXT)))
    + obsolete(order, 1, ethernet(ipv4(TEXT)))
    for order in "<>"
] + [
    pcap_header(order, link_type=link) + 2 * pcap_record(order, 1, 2, frame)
    for order, link, frame in (("<", 276, b"\x08\0" + bytes(18) + ipv4(TEXT)), (">", 0, bytes(4) + ipv6(TEXT)))
]


@given(
    content=st.sampled_from(SEED_FILES),
    changes=st.lists(st.tuples(st.integers(0, 600), st.binary(max_size=8), st.booleans()), max_size=6),
    keep=st.integers(0, 700),
    udp_ports=st.none() | st.just({7000}),
)
@settings(max_examples=1000, suppress_health_check=UNCHECKED)
def test_whatever_the_file_holds_only_capture_errors_come(
    tmp_path: Path, content: bytes, changes: list[tuple[int, bytes, bool]], keep: int, udp_ports: set[int] | None
) -> None:
    for at, octets, inserted in changes:
        content = content[:at] + octets + content[at if inserted else at + len(octets) :]
    with suppress(CaptureError):
        read(tmp_path, content[:keep], udp_ports)


@given(content=st.binary(max_size=200), start=st.sampled_from([file[:28] for file in SEED_FILES]))
@settings(suppress_health_check=UNCHECKED)
def test_noise_behind_a_header(tmp_path: Path, content: bytes, start: bytes) -> None:
    with suppress(CaptureError):
        read(tmp_path, start + content)


def test_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    """Nor is a block that nobody reads."""
    path = tmp_path / "large.pcapng"
    with path.open("wb") as file:
        file.write(section("<") + interface("<"))
        packet = enhanced("<", 0, ipv4(encode(Segment(50000, 80, 1, 2, ACK, 3, bytes(1400)))))
        for _ in range(2000):
            file.write(packet)
        file.write(struct.pack("<II", 5, 12 + 2**22) + bytes(2**22) + struct.pack("<I", 12 + 2**22))
    tracemalloc.start()
    try:
        assert sum(len(captured.segment.payload) for captured in iter_capture(path)) == 2000 * 1400
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 500_000


# --- trains: what a capture at the sender shows before the network card cuts it into datagrams


def train(*lengths: int, seq: int = 2**32 - 100, header: Segment = EXAMPLE) -> tuple[bytes, list[Segment]]:
    """Segments with so much text, one behind the other; their ports stand in the text, too."""
    found = []
    for length in lengths:
        text = (encode(header)[:4] * length)[:length]
        found.append(Segment(50000, 80, seq % 2**32, 2, ACK, 3, text, ts_val=4, ts_ecr=5))
        seq += length
    return b"".join(map(encode, found)), found


@pytest.mark.parametrize("lengths", [(100, 100, 100), (100, 100, 7), (100, 100, 0), (64, 64), (1400,) * 40])
def test_trains_are_taken_apart(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    octets, parts = train(*lengths)
    for ports in (None, {7000}):
        assert [captured.segment for captured in read(tmp_path, in_pcap(ipv4(udp(octets), 17)), ports)] == parts


def test_segments_without_text_are_a_train_whatever_their_connections(tmp_path: Path) -> None:
    parts = [Segment(50000 + number, 80, number, 2, ACK, 3, ts_val=4, ts_ecr=5) for number in range(5)]
    octets = b"".join(map(encode, parts))
    assert [captured.segment for captured in read(tmp_path, in_pcap(ipv4(udp(octets), 17)))] == parts


def test_text_that_looks_like_a_header_does_not_make_a_train(tmp_path: Path) -> None:
    """Neither the ports alone, nor a header that does not continue."""
    for text in (TEXT[:4] * 50, bytes(10) + TEXT, TEXT[:20] * 3, b"ten octets" + TEXT[:4] + b"\0\0\0\x0b"):
        segment = Segment(50000, 80, 1, 2, ACK, 3, text, ts_val=4, ts_ecr=5)
        (captured,) = read(tmp_path, in_pcap(ipv4(udp(encode(segment)), 17)))
        assert captured.segment == segment


@pytest.mark.parametrize("words", range(5))
def test_a_header_shorter_than_the_minimum_is_no_segment(tmp_path: Path, words: int) -> None:
    octets = bytearray(encode(EXAMPLE) + bytes(40))
    octets[12] = words << 4
    for ports in (None, {7000}):
        assert read(tmp_path, in_pcap(ipv4(udp(bytes(octets)), 17)), ports) == []


def test_a_train_that_was_cut_off_is_left_whole(tmp_path: Path) -> None:
    octets, _ = train(100, 100, 100)
    packet = ipv4(udp(octets), 17)
    (captured,) = read(tmp_path, in_pcap(packet[:-20], length=len(packet)))
    assert len(captured.segment.payload) == len(octets) - 32
