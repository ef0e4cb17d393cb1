"""The TCP checksum, against packets from elsewhere, words added up one by one, and every single-bit error."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp.wire.checksum import fill, internet_checksum, pseudo_header, verify

addresses = st.sampled_from([4, 16]).flatmap(
    lambda size: st.tuples(st.binary(min_size=size, max_size=size), st.binary(min_size=size, max_size=size))
)
segments = st.binary(min_size=20, max_size=200)

# SYNs as Linux 6.18 wrote them to a TUN interface: source, destination, segment.
LINUX = (
    (
        socket.inet_pton(socket.AF_INET, "10.9.0.1"),
        socket.inet_pton(socket.AF_INET, "10.9.0.2"),
        bytes.fromhex("1388 1770 e1ce8703 00000000 a002 faf0 7b92 0000 020405b4 0402 080a c2436757 00000000 01 03030a"),
    ),
    (
        socket.inet_pton(socket.AF_INET6, "fd09::1"),
        socket.inet_pton(socket.AF_INET6, "fd09::2"),
        bytes.fromhex("1389 1770 34db80f0 00000000 a002 fd20 8a1f 0000 020405a0 0402 080a e9e4fc10 00000000 01 03030a"),
    ),
)


def plain_sum(data: bytes) -> int:
    """RFC 1071 1 to the letter: add 16-bit words, carries around the end, and take the complement."""
    total = 0
    for (word,) in struct.iter_unpack("!H", data + bytes(len(data) % 2)):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def plain_checksum(source: bytes, destination: bytes, segment: bytes) -> int:
    """With the pseudo-header of RFC 9293 3.1 (IPv4) or RFC 8200 8.1 written out."""
    if len(source) == 4:
        pseudo = source + destination + struct.pack("!BBH", 0, 6, len(segment))
    else:
        pseudo = source + destination + struct.pack("!IBBBB", len(segment), 0, 0, 0, 6)
    return plain_sum(pseudo + segment)


def test_the_example_of_rfc_1071() -> None:
    """RFC 1071 3: the words 0001 f203 f4f5 f6f7 sum to ddf2."""
    assert internet_checksum(bytes.fromhex("0001 f203 f4f5 f6f7")) == 0xDDF2 ^ 0xFFFF


def test_an_ipv4_header() -> None:
    header = bytes.fromhex("4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7")
    assert internet_checksum(header) == 0
    assert internet_checksum(header[:10] + bytes(2) + header[12:]) == 0xB861


@pytest.mark.parametrize(("source", "destination", "segment"), LINUX, ids=["ipv4", "ipv6"])
def test_segments_of_linux(source: bytes, destination: bytes, segment: bytes) -> None:
    pseudo = pseudo_header(source, destination)
    assert verify(segment, pseudo)
    assert fill(segment[:16] + bytes(2) + segment[18:], pseudo) == segment


def test_zero_is_written_as_zero() -> None:
    """Words that sum to 0xFFFF: TCP, unlike UDP, has no other way to write a checksum of 0."""
    source, destination = socket.inet_aton("10.0.0.1"), socket.inet_aton("10.0.0.2")
    segment = bytearray(20)
    segment[:2] = plain_checksum(source, destination, bytes(segment)).to_bytes(2, "big")
    filled = fill(bytes(segment), pseudo_header(source, destination))
    assert filled[16:18] == bytes(2)
    assert verify(filled, pseudo_header(source, destination))


@given(addresses, segments)
def test_as_the_words_add_up(pair: tuple[bytes, bytes], segment: bytes) -> None:
    blank = segment[:16] + bytes(2) + segment[18:]
    expected = blank[:16] + plain_checksum(*pair, blank).to_bytes(2, "big") + blank[18:]
    assert fill(segment, pseudo_header(*pair)) == expected


@given(addresses, segments)
def test_what_is_filled_verifies(pair: tuple[bytes, bytes], segment: bytes) -> None:
    pseudo = pseudo_header(*pair)
    filled = fill(segment, pseudo)
    assert verify(filled, pseudo)
    assert filled[:16] + filled[18:] == segment[:16] + segment[18:]
    assert fill(filled, pseudo) == filled


@given(addresses, segments, st.data())
def test_every_single_bit_counts(pair: tuple[bytes, bytes], segment: bytes, data: st.DataObject) -> None:
    """In the segment, and in the addresses: a packet that was delivered to the wrong host does not verify either."""
    everything = b"".join(pair) + fill(segment, pseudo_header(*pair))
    bit = data.draw(st.integers(0, 8 * len(everything) - 1))
    flipped = bytearray(everything)
    flipped[bit // 8] ^= 1 << bit % 8
    size = len(pair[0])
    source, destination, damaged = flipped[:size], flipped[size : 2 * size], flipped[2 * size :]
    assert not verify(bytes(damaged), pseudo_header(bytes(source), bytes(destination)))


@given(addresses, segments)
def test_a_segment_cut_short_does_not_verify_by_its_length_alone(pair: tuple[bytes, bytes], segment: bytes) -> None:
    """Zeros at the end change the sum by the length in the pseudo-header only."""
    pseudo = pseudo_header(*pair)
    assert not verify(fill(segment, pseudo) + bytes(2), pseudo)
