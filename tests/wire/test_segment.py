"""Bytes to segments and back, against bytes written out by hand and against everything hypothesis can think of."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.wire.strategies import segments
from utcp.wire import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG, MalformedSegment, Segment, decode, encode, flag_names
from utcp.wire.segment import encode_syn

# Ports 4096 and 9000, SEQ 0x01020304, ACK 0x05060708; a data offset of 5, 8 or 10 words; window 0x2000.
PORTS_AND_NUMBERS = bytes.fromhex("1000 2328 01020304 05060708")
BARE = PORTS_AND_NUMBERS + bytes.fromhex("5010 2000 0000 0000")
SYN_WITH_ALL = PORTS_AND_NUMBERS + bytes.fromhex(
    "a002 2000 0000 0000"
    "020405b4"  # MSS 1460
    "0402 080a 00000011 00000022"  # SACK permitted, timestamps
    "01030307"  # window scale 7
)
WITH_TIMESTAMPS = PORTS_AND_NUMBERS + bytes.fromhex("8018 2000 0000 0000 0101080a 00000011 00000022") + b"data"


def header(words: int) -> bytes:
    """A fixed header whose data offset is `words`."""
    return PORTS_AND_NUMBERS + bytes((words << 4, ACK)) + bytes.fromhex("2000 0000 0000")


def test_bare_header() -> None:
    expected = Segment(4096, 9000, 0x01020304, 0x05060708, ACK, 0x2000)
    assert decode(BARE) == expected
    assert encode(expected) == BARE


def test_syn_with_every_option_of_a_handshake() -> None:
    expected = Segment(
        4096,
        9000,
        0x01020304,
        0x05060708,
        SYN,
        0x2000,
        mss=1460,
        window_scale=7,
        sack_permitted=True,
        ts_val=0x11,
        ts_ecr=0x22,
    )
    assert decode(SYN_WITH_ALL) == expected
    assert encode(expected) == SYN_WITH_ALL


@pytest.mark.parametrize("mss", [None, 1460])
@pytest.mark.parametrize("scale", [None, 0, 14])
@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("ts_val", [None, 0, 0xFFFFFFFF])
def test_a_syn_is_encoded_like_its_segment(mss: int | None, scale: int | None, sack: bool, ts_val: int | None) -> None:
    for flags, ts_ecr in ((SYN, None), (SYN | ACK | ECE, 5)):
        segment = Segment(
            80, 9, 7, 8, flags, 65535, mss=mss, window_scale=scale, sack_permitted=sack, ts_val=ts_val, ts_ecr=ts_ecr
        )
        assert encode_syn(80, 9, 7, 8, flags, 65535, mss, scale, sack, ts_val, ts_ecr) == encode(segment)


def test_data_with_timestamps() -> None:
    expected = Segment(4096, 9000, 0x01020304, 0x05060708, PSH | ACK, 0x2000, b"data", ts_val=0x11, ts_ecr=0x22)
    assert decode(WITH_TIMESTAMPS) == expected
    assert encode(expected) == WITH_TIMESTAMPS


def test_timestamps_in_another_layout_read_the_same() -> None:
    usual = bytes.fromhex("0101080a 00000011 00000022")
    assert usual in WITH_TIMESTAMPS
    for layout in ("080a 00000011 00000022 0101", "01 080a 00000011 00000022 01", "080a 00000011 00000022 0000"):
        assert decode(WITH_TIMESTAMPS.replace(usual, bytes.fromhex(layout))) == decode(WITH_TIMESTAMPS)


def test_checksum_and_urgent_pointer_are_carried() -> None:
    segment = Segment(1, 2, 3, 4, URG | ACK, urgent=0x1234, checksum=0xABCD)
    data = encode(segment)
    assert data[16:20] == bytes.fromhex("abcd1234")
    assert decode(data) == segment


@given(segments())
def test_decode_undoes_encode(segment: Segment) -> None:
    data = encode(segment)
    assert decode(data) == segment
    assert data[12] >> 4 == (len(data) - len(segment.payload)) // 4


@given(segments(), st.binary(max_size=40), st.binary(max_size=40))
def test_decode_of_a_part_of_a_buffer(segment: Segment, before: bytes, after: bytes) -> None:
    data = encode(segment)
    assert decode(before + data + after, len(before), len(before) + len(data)) == segment
    assert decode(before + data, len(before)) == segment
    assert decode(memoryview(before + data + after), len(before), len(before) + len(data)) == segment


@pytest.mark.parametrize("data", [BARE + b"data", WITH_TIMESTAMPS, SYN_WITH_ALL + b"data"])
def test_each_segment_of_a_train_ends_where_the_next_begins(data: bytes) -> None:
    train = data * 3
    for start in range(0, len(train), len(data)):
        assert decode(train, start, start + len(data)) == decode(data)


@pytest.mark.parametrize("data", [BARE + b"data", WITH_TIMESTAMPS, SYN_WITH_ALL + b"data"])
def test_payload_is_independent_of_the_buffer(data: bytes) -> None:
    buffer = bytearray(data)
    segment = decode(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert segment.payload == b"data"
    assert type(segment.payload) is bytes


@pytest.mark.parametrize("size", range(20))
def test_shorter_than_a_header(size: int) -> None:
    with pytest.raises(MalformedSegment, match="shorter than"):
        decode(BARE[:size])
    with pytest.raises(MalformedSegment, match="shorter than"):
        decode(BARE + bytes(20), 20, 20 + size)


@pytest.mark.parametrize("words", range(5))
def test_data_offset_below_the_fixed_header(words: int) -> None:
    with pytest.raises(MalformedSegment, match="below 5"):
        decode(header(words) + bytes(40))


@pytest.mark.parametrize("words", range(6, 16))
def test_data_offset_past_the_end(words: int) -> None:
    with pytest.raises(MalformedSegment, match="past the end"):
        decode(header(words) + bytes(words * 4 - 21))
    assert decode(header(words) + bytes(words * 4 - 20)).payload == b""


def test_data_offset_past_the_end_of_the_part_but_not_of_the_buffer() -> None:
    with pytest.raises(MalformedSegment, match="past the end"):
        decode(WITH_TIMESTAMPS, 0, 31)


def test_reserved_bits_are_ignored() -> None:
    data = bytearray(BARE)
    data[12] |= 0x0F
    assert decode(bytes(data)) == decode(BARE)


@given(st.binary(max_size=120))
@example(b"")
@example(BARE[:12] + b"\xf0" + BARE[13:] + b"\x08" * 40)
def test_arbitrary_bytes_are_a_segment_or_malformed(data: bytes) -> None:
    try:
        segment = decode(data)
    except MalformedSegment:
        return
    assert data.endswith(segment.payload)


@given(st.binary(min_size=40, max_size=40), st.integers(5, 15), st.integers(0, 40))
def test_arbitrary_options_are_a_segment_or_malformed(options: bytes, words: int, size: int) -> None:
    data = header(words) + options[:size]
    try:
        segment = decode(data)
    except MalformedSegment:
        return
    assert segment.payload == data[words * 4 :]


@given(segments(), st.integers(0, 200), st.integers(0, 7))
def test_one_flipped_bit_is_a_segment_or_malformed(segment: Segment, position: int, bit: int) -> None:
    data = bytearray(encode(segment))
    data[position % len(data)] ^= 1 << bit
    try:
        decode(bytes(data))
    except MalformedSegment:
        return


@pytest.mark.parametrize(("flags", "length"), [(ACK, 3), (SYN, 4), (FIN | ACK, 4), (SYN | FIN, 5), (RST, 3)])
def test_syn_and_fin_occupy_sequence_space(flags: int, length: int) -> None:
    assert Segment(1, 2, 3, 4, flags, payload=b"abc").length == length


def test_segments_compare_by_value_and_are_no_keys() -> None:
    assert decode(BARE) == decode(BARE)
    assert decode(BARE) != decode(WITH_TIMESTAMPS)
    assert decode(BARE) != BARE
    with pytest.raises(TypeError):
        hash(decode(BARE))


def test_flag_names() -> None:
    assert flag_names(SYN | ACK) == "SYN,ACK"
    assert flag_names(FIN | PSH | ACK | URG) == "FIN,PSH,ACK,URG"
    assert flag_names(RST | ECE | CWR) == "RST,ECE,CWR"
    assert flag_names(0) == "none"


def test_repr_tells_what_is_there() -> None:
    assert repr(decode(BARE)) == "<Segment 4096>9000 ACK seq=16909060 ack=84281096 win=8192 len=0>"
    assert repr(decode(SYN_WITH_ALL)).endswith("len=0 mss=1460 window_scale=7 ts_val=17 ts_ecr=34 sack_permitted>")
    assert "sack=((1, 2),)" in repr(Segment(1, 2, 3, 4, ACK, sack_blocks=((1, 2),)))
