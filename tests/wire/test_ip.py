"""IP packets around segments: as Linux writes them, and everything that is no whole TCP packet."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp.wire import ip
from utcp.wire.checksum import internet_checksum


def octets(host: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)


IPV4, IPV6 = 4, 6
SOURCE: dict[int, bytes] = {
    IPV4: socket.inet_pton(socket.AF_INET, "10.9.0.1"),
    IPV6: socket.inet_pton(socket.AF_INET6, "fd09::1"),
}
DESTINATION: dict[int, bytes] = {
    IPV4: socket.inet_pton(socket.AF_INET, "10.9.0.2"),
    IPV6: socket.inet_pton(socket.AF_INET6, "fd09::2"),
}
SEGMENT = bytes.fromhex("1388 1770 e1ce8703 00000000 5010 faf0 7b92 0000") + b"text"

# The IPv4 header of a SYN of 40 octets from 10.9.0.1 to 10.9.0.2, as Linux 6.18 wrote it to a TUN interface.
LINUX = bytes.fromhex("4500 003c d8df 4000 40 06 4dc8 0a090001 0a090002") + bytes(40)

both_versions = pytest.mark.parametrize("version", [pytest.param(IPV4, id="ipv4"), pytest.param(IPV6, id="ipv6")])


def build(version: int, segment: bytes = SEGMENT, ecn: int = 0) -> bytes:
    return ip.build(SOURCE[version], DESTINATION[version], ecn, segment)


def ipv4(first: str, options: bytes = b"", length: int | None = None) -> bytes:
    """A packet that begins with `first` instead of what `build` puts there, with a good header checksum."""
    header = bytearray(build(IPV4)[:20] + options)
    header[: len(bytes.fromhex(first))] = bytes.fromhex(first)
    if length is not None:
        header[2:4] = length.to_bytes(2, "big")
    header[10:12] = bytes(2)
    header[10:12] = internet_checksum(bytes(header)).to_bytes(2, "big")
    return bytes(header) + SEGMENT


def test_ipv4_is_built_as_written_out() -> None:
    expected = "4500 002c 0000 4000 40 06 26b8 0a090001 0a090002".replace(" ", "")
    assert build(IPV4).hex() == expected + SEGMENT.hex()


def test_ipv6_is_built_as_written_out() -> None:
    addresses = (SOURCE[IPV6] + DESTINATION[IPV6]).hex()
    assert build(IPV6).hex() == "60000000" + "0018" + "06" + "40" + addresses + SEGMENT.hex()


def test_linux_is_understood() -> None:
    assert ip.parse(IPV4, LINUX) == ip.Packet(SOURCE[IPV4], DESTINATION[IPV4], 0, bytes(40))


@both_versions
@given(segment=st.binary(min_size=20, max_size=100), ecn=st.integers(0, 3), behind=st.binary(max_size=8))
def test_parse_undoes_build(version: int, segment: bytes, ecn: int, behind: bytes) -> None:
    packet = build(version, segment, ecn)
    assert ip.parse(version, packet + behind) == ip.Packet(SOURCE[version], DESTINATION[version], ecn, segment)


@pytest.mark.rfc9293("MUST-50")
def test_ipv4_options_are_skipped() -> None:
    packet = ipv4("47", options=b"\x94\x04\x00\x00" * 2, length=28 + len(SEGMENT))  # router alert, twice
    assert ip.parse(IPV4, packet).segment == SEGMENT


@pytest.mark.rfc9293("MUST-50")
def test_ipv6_options_are_skipped() -> None:
    options = b"\x3c\x00\x01\x04" + bytes(4) + b"\x06\x01\x01\x0c" + bytes(12)  # hop by hop, then destination
    packet = bytearray(build(IPV6, options + SEGMENT))
    packet[6] = 0
    assert ip.parse(IPV6, bytes(packet)).segment == SEGMENT


@pytest.mark.parametrize("packet", [ipv4("4500 002c 0000 2000"), ipv4("4500 002c 0000 0001")], ids=["first", "last"])
def test_ipv4_fragments(packet: bytes) -> None:
    with pytest.raises(ip.FragmentedPacket):
        ip.parse(IPV4, packet)


def test_ipv6_fragments() -> None:
    packet = bytearray(build(IPV6, b"\x06" + bytes(7) + SEGMENT))
    packet[6] = 44
    with pytest.raises(ip.FragmentedPacket):
        ip.parse(IPV6, bytes(packet))


@pytest.mark.parametrize(
    ("version", "packet"),
    [
        (IPV4, b""),
        (IPV4, build(IPV6)),
        (IPV6, build(IPV4)),
        (IPV4, ipv4("4500 002c 0000 4000 40 11")),
        (IPV6, build(IPV6)[:6] + b"\x11" + build(IPV6)[7:]),
        (IPV6, build(IPV6)[:6] + b"\x2b" + build(IPV6)[7:]),
    ],
    ids=["nothing", "ipv6-on-ipv4", "ipv4-on-ipv6", "udp-in-ipv4", "udp-in-ipv6", "routing-header"],
)
def test_foreign_packets(version: int, packet: bytes) -> None:
    with pytest.raises(ip.ForeignPacket):
        ip.parse(version, packet)


@pytest.mark.parametrize(
    ("version", "packet"),
    [
        (IPV4, build(IPV4)[:19]),
        (IPV4, ipv4("44")),
        (IPV4, ipv4("4f")[:24]),
        (IPV4, ipv4("45", length=19)),
        (IPV4, ipv4("45", length=21 + len(SEGMENT))),
        (IPV4, build(IPV4)[:8] + b"\x3f" + build(IPV4)[9:]),
        (IPV6, build(IPV6)[:39]),
        (IPV6, build(IPV6)[:-1]),
        (IPV6, build(IPV6)[:6] + b"\x00" + build(IPV6, b"")[7:]),
        (IPV6, build(IPV6, b"\x06\xff" + bytes(6))[:6] + b"\x00" + build(IPV6, b"\x06\xff" + bytes(6))[7:]),
    ],
    ids=[
        "ipv4-cut-in-the-header",
        "ipv4-header-length-below-5",
        "ipv4-header-past-the-end",
        "ipv4-total-length-below-the-header",
        "ipv4-total-length-past-the-end",
        "ipv4-header-checksum",
        "ipv6-cut-in-the-header",
        "ipv6-payload-past-the-end",
        "ipv6-options-missing",
        "ipv6-options-past-the-end",
    ],
)
def test_malformed_packets(version: int, packet: bytes) -> None:
    with pytest.raises(ip.MalformedPacket):
        ip.parse(version, packet)


@both_versions
@given(data=st.binary(max_size=120), marked=st.booleans())
def test_anything_else_is_one_of_the_three(version: int, data: bytes, marked: bool) -> None:
    if marked and data:
        data = (b"\x60" if version == IPV6 else b"\x45") + data[1:]
    try:
        ip.parse(version, data)
    except (ip.MalformedPacket, ip.FragmentedPacket, ip.ForeignPacket):
        pass


@pytest.mark.parametrize("address", ["10.9.0.1", "127.0.0.1", "223.255.255.255", "fd09::1", "::1", "fe80::1"])
def test_unicast(address: str) -> None:
    assert ip.is_unicast(octets(address))


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "ff02::1"])
@pytest.mark.rfc9293("MUST-63")
def test_not_unicast(address: str) -> None:
    assert not ip.is_unicast(octets(address))
