"""The capture file block by block, and what an observer on a real endpoint puts into it.

What tshark and scapy make of captures stands in tests/independent.
"""

from __future__ import annotations

import asyncio
import io
import struct
import time
from typing import Literal, NamedTuple

import pytest

import utcp
from utcp.tcp.transmit import Remote
from utcp.trace.pcapng import Capture, CaptureObserver
from utcp.wire import ACK, FIN, RST, SYN, Segment, decode, encode

CLIENT = ("192.0.2.1", 7000)
SERVER = ("192.0.2.2", 9000)
SEGMENT = encode(Segment(50000, 80, 1, 2, ACK, 3, b"text"))


class Captured(NamedTuple):
    """An enhanced packet block."""

    time_ns: int
    packet: bytes
    options: bytes

    @property
    def hosts(self) -> tuple[str, str]:
        source, destination = (".".join(map(str, self.packet[start : start + 4])) for start in (12, 16))
        return source, destination

    @property
    def udp_ports(self) -> tuple[int, int]:
        source, destination = struct.unpack_from("!HH", self.packet, 20)
        return source, destination

    def segment(self, form: str) -> Segment:
        return decode(self.packet[20 if form == "tcp" else 28 :])


def blocks(data: bytes) -> list[tuple[int, bytes]]:
    """(type, body) of every block; their two lengths must agree, and be whole words."""
    found = []
    while data:
        kind, length = struct.unpack_from("!II", data)
        assert length % 4 == 0
        assert struct.unpack_from("!I", data, length - 4) == (length,)
        found.append((kind, data[8 : length - 4]))
        data = data[length:]
    return found


def packets(file: io.BytesIO) -> list[Captured]:
    found = []
    for kind, body in blocks(file.getvalue())[2:]:
        interface, high, low, captured, original = struct.unpack_from("!IIIII", body)
        assert (kind, interface) == (6, 0)
        assert captured == original
        padding = -captured % 4
        assert body[20 + captured : 20 + captured + padding] == bytes(padding)
        found.append(Captured(high << 32 | low, body[20 : 20 + captured], body[20 + captured + padding :]))
    return found


def test_a_file_begins_with_its_section_and_one_interface_of_raw_ip_in_nanoseconds() -> None:
    file = io.BytesIO()
    Capture(file)
    assert blocks(file.getvalue()) == [
        (0x0A0D0D0A, bytes.fromhex("1a2b3c4d 0001 0000 ffffffffffffffff")),
        (1, bytes.fromhex("0065 0000 00000000  0009 0001 09000000  0000 0000")),
    ]


def test_times_are_nanoseconds_after_the_epoch_given() -> None:
    file = io.BytesIO()
    Capture(file, epoch_ns=1_700_000_000_123_456_789).packet(2.000000001, CLIENT, SERVER, SEGMENT)
    assert [captured.time_ns for captured in packets(file)] == [1_700_000_002_123_456_790]


@pytest.mark.parametrize("form", ["tcp", "udp"])
def test_a_segment_goes_from_source_to_destination(form: Literal["tcp", "udp"]) -> None:
    file = io.BytesIO()
    Capture(file, form=form).packet(0.0, CLIENT, SERVER, SEGMENT)
    (captured,) = packets(file)
    assert captured.hosts == (CLIENT[0], SERVER[0])
    assert captured.udp_ports == ((50000, 80) if form == "tcp" else (7000, 9000))
    segment = captured.segment(form)
    assert (segment.checksum != 0) == (form == "tcp")
    segment.checksum = 0
    assert encode(segment) == SEGMENT
    assert captured.options == b""


def test_a_comment_is_an_option_in_utf_8() -> None:
    file = io.BytesIO()
    Capture(file).packet(0.0, CLIENT, SERVER, SEGMENT, "→ LAST_ACK")
    text = "→ LAST_ACK".encode()
    assert packets(file)[0].options == struct.pack("!HH", 1, len(text)) + text + bytes(-len(text) % 4) + bytes(4)


def test_a_comment_has_room_for_65535_octets() -> None:
    file = io.BytesIO()
    capture = Capture(file)
    capture.packet(0.0, CLIENT, SERVER, SEGMENT, "x" * 65535)
    written = file.getvalue()
    with pytest.raises(ValueError, match="65536 octets"):
        capture.packet(0.0, CLIENT, SERVER, SEGMENT, "x" * 65536)
    assert file.getvalue() == written


def test_addresses_must_be_numeric_and_of_one_family() -> None:
    capture = Capture(io.BytesIO())
    for source, destination in (("localhost", "192.0.2.2"), ("192.0.2.1", "::1"), ("::1", "192.0.2.1")):
        with pytest.raises(OSError, match=r"illegal IP address|invalid"):
            capture.packet(0.0, (source, 1), (destination, 2), SEGMENT)


def test_the_scope_of_an_address_is_not_part_of_a_packet() -> None:
    with_scope, without = io.BytesIO(), io.BytesIO()
    Capture(with_scope).packet(0.0, ("fe80::1%eth0", 1), ("fe80::2%eth0", 2), SEGMENT)
    Capture(without).packet(0.0, ("fe80::1", 1), ("fe80::2", 2), SEGMENT)
    assert with_scope.getvalue() == without.getvalue()
    assert packets(without)[0].packet[0] >> 4 == 6


def test_remotes_without_address_cannot_be_captured() -> None:
    remote: Remote = "peer"
    with pytest.raises(TypeError, match="'peer'"):
        CaptureObserver(Capture(io.BytesIO()), SERVER).segment_sent(remote, [SEGMENT], 0.0)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_a_real_endpoint(host: str) -> None:
    """Both directions, as the server saw them; on a wildcard address, the one that the client wrote to."""
    file = io.BytesIO()
    capture = Capture(file, form="udp", epoch_ns=time.time_ns() - time.monotonic_ns())
    observer = CaptureObserver(capture, (host, 0))
    begun = time.time_ns()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()

    async with (
        utcp.Endpoint((host, 0), observer=observer) as server,
        utcp.Endpoint(("127.0.0.1", 0)) as client,
        await server.start_server(talk, 80),
    ):
        udp_port = server.address[1]
        observer.local = (host, udp_port)
        reader, writer = await client.open_connection("127.0.0.1", 80, udp_port=udp_port)
        writer.write(b"text")
        writer.write_eof()
        assert await reader.read() == b"TEXT"
        writer.close()
        await writer.wait_closed()
        client_port = client.address[1]
    seen = packets(file)
    assert {captured.hosts for captured in seen} == {("127.0.0.1", "127.0.0.1")}
    assert {captured.udp_ports for captured in seen} == {(client_port, udp_port), (udp_port, client_port)}
    for port, text in ((client_port, b"text"), (udp_port, b"TEXT")):
        segments = [captured.segment("udp") for captured in seen if captured.udp_ports[0] == port]
        assert b"".join(segment.payload for segment in segments) == text
        assert segments[0].flags & SYN
        assert any(segment.flags & FIN for segment in segments)
    times = [captured.time_ns for captured in seen]
    assert times == sorted(times)
    # The two clocks of the machine are read one after the other, and corrected apart from each other.
    assert begun - 10**9 < times[0] <= times[-1] < time.time_ns() + 10**9


async def test_several_observers_share_a_capture_and_show_every_segment_once() -> None:
    file = io.BytesIO()
    capture = Capture(file)
    observers = [CaptureObserver(capture, ("127.0.0.1", 0), received=False) for _ in range(2)]
    async with (
        utcp.Endpoint(("127.0.0.1", 0), observer=observers[0]) as server,
        utcp.Endpoint(("127.0.0.1", 0), observer=observers[1]) as client,
    ):
        with pytest.raises(ConnectionRefusedError):
            await client.open_connection("127.0.0.1", 80, udp_port=server.address[1])
    assert [captured.segment("tcp").flags for captured in packets(file)] == [SYN, RST | ACK]


def test_the_head_is_written_in_one_piece() -> None:
    """Of two that write into one file, neither comes between the other's section and interface."""
    pieces: list[bytes] = []

    class Pieces:
        def write(self, octets: bytes, /) -> int:
            pieces.append(octets)
            return len(octets)

    Capture(Pieces())
    assert len(pieces) == 1
