"""The option list (RFC 9293 3.2, RFC 7323, RFC 2018): what is read, skipped, refused, and left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.strategies import segments, u32
from utcp.wire import ACK, MalformedSegment, Segment, decode, encode
from utcp.wire.options import END_OF_LIST, NO_OPERATION, MalformedOptions, decode_options

MSS = bytes.fromhex("020405b4")


def with_options(options: bytes) -> bytes:
    """A header with these options, padded with End of List to whole words."""
    options += bytes(-len(options) % 4)
    words = 5 + len(options) // 4
    return bytes(12) + bytes((words << 4, ACK)) + bytes(6) + options


@given(st.integers(9, 255).filter(lambda kind: kind != 8), st.binary(max_size=30))
@pytest.mark.rfc9293("MUST-6", "MUST-68")
def test_an_unknown_option_is_skipped_by_its_length(kind: int, body: bytes) -> None:
    options = decode_options(bytes((kind, 2 + len(body))) + body + MSS)
    assert options.mss == 1460


@pytest.mark.parametrize("kind", [6, 7])
def test_obsolete_options_are_skipped(kind: int) -> None:
    assert decode_options(bytes((kind, 6)) + bytes(4) + MSS).mss == 1460


@given(st.integers(0, 7))
@pytest.mark.rfc9293("MUST-4", "MUST-64")
def test_options_are_read_at_any_alignment(padding: int) -> None:
    options = decode_options(b"\x01" * padding + bytes.fromhex("080a 00000001 00000002 030305") + MSS)
    assert (options.ts_val, options.ts_ecr, options.window_scale, options.mss) == (1, 2, 5, 1460)


@pytest.mark.rfc9293("MUST-4")
def test_nothing_after_the_end_of_the_list_is_read() -> None:
    options = decode_options(b"\x00" + MSS)
    assert options.mss is None
    assert decode_options(b"\x00\x02").mss is None


def test_an_empty_list_has_no_options() -> None:
    options = decode_options(b"")
    assert (options.mss, options.window_scale, options.ts_val, options.ts_ecr) == (None, None, None, None)
    assert not options.sack_permitted
    assert options.sack_blocks == ()


@pytest.mark.parametrize("kind", [2, 3, 4, 5, 8, 30, 254])
@pytest.mark.parametrize(
    ("tail", "reason"),
    [(b"", "without a length"), (b"\x00", "below 2"), (b"\x01", "below 2"), (b"\x28", "past the end")],
)
@pytest.mark.rfc9293("MUST-7")
def test_a_list_that_cannot_be_walked(kind: int, tail: bytes, reason: str) -> None:
    with pytest.raises(MalformedOptions, match=reason):
        decode_options(b"\x01" + bytes((kind,)) + tail)


@pytest.mark.parametrize(
    ("kind", "length"),
    [(2, 3), (2, 5), (3, 2), (3, 4), (4, 3), (5, 2), (5, 9), (5, 11), (5, 14), (8, 9), (8, 11), (8, 2)],
)
def test_a_known_option_with_a_length_that_is_not_its_own(kind: int, length: int) -> None:
    option = bytes((kind, length)) + bytes(length - 2)
    with pytest.raises(MalformedOptions, match="wrong length"):
        decode_options(option)
    with pytest.raises(MalformedSegment, match="wrong length"):
        decode(with_options(option))


def test_window_scale_is_returned_as_sent() -> None:
    """RFC 7323 2.3 uses 15 and more as 14, and logs it: the connection's to do, which needs the number sent."""
    assert decode_options(b"\x03\x03\xff").window_scale == 255


@given(st.lists(st.tuples(u32, u32), min_size=1, max_size=8), st.booleans())
def test_sack_blocks_that_do_not_fit_are_left_out_from_the_last(
    blocks: list[tuple[int, int]], with_timestamps: bool
) -> None:
    timestamp = 7 if with_timestamps else None
    data = encode(Segment(1, 2, 3, 4, ACK, sack_blocks=tuple(blocks), ts_val=timestamp, ts_ecr=timestamp))
    assert len(data) <= 60
    assert decode(data).sack_blocks == tuple(blocks[: 3 if with_timestamps else 4])


def test_two_sack_blocks_fit_beside_every_option_of_a_handshake() -> None:
    segment = Segment(1, 2, 3, 4, ACK, mss=1, window_scale=1, sack_permitted=True, ts_val=1, ts_ecr=1)
    assert len(encode(segment)) == 40
    segment.sack_blocks = ((1, 2), (3, 4), (5, 6))
    assert decode(encode(segment)).sack_blocks == ((1, 2), (3, 4))


def test_sack_blocks_are_read_in_order() -> None:
    option = bytes.fromhex("0512 00000001 00000002 fffffff0 00000010")
    assert decode_options(option).sack_blocks == ((1, 2), (0xFFFFFFF0, 0x10))


@given(segments())
@pytest.mark.rfc9293("MUST-68", "MUST-69")
def test_what_is_written_can_be_walked_and_has_no_end(segment: Segment) -> None:
    """Every option but the padding has its length; the padding is NOPs, so that no zeros are due behind an end."""
    data = encode(segment)
    options = data[20 : data[12] >> 4 << 2]
    position = 0
    while position < len(options):
        assert options[position] != END_OF_LIST
        position += 1 if options[position] == NO_OPERATION else options[position + 1]
    assert position == len(options)
