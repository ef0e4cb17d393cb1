"""Trains: equal-sized segments in one buffer, as the kernel sends and receives them with segmentation offload.

The segments of a flow that are sent together differ only in the sequence number. So they are encoded and decoded
together by `struct`, without Python code for each of them.
"""

from struct import Struct
from typing import Final

from utcp.wire.header import ACK, HEADER, HEADER_LENGTH, PSH
from utcp.wire.options import TIMESTAMPS_LENGTH
from utcp.wire.segment import Segment
from utcp.wire.seq import MASK

_SEQ: Final = 4
"""Position and length of the sequence number in a header, octets."""

_WITH_TIMESTAMPS: Final = HEADER_LENGTH + TIMESTAMPS_LENGTH
_ALIGNED_TIMESTAMPS: Final = b"\x01\x01\x08\x0a"
_TIMESTAMPS: Final = HEADER_LENGTH + len(_ALIGNED_TIMESTAMPS)
"""Position of TSval and TSecr in a header, octets."""
_VALUES: Final = Struct("!II")
_OFFSET: Final = 12
_FLAGS: Final = 13
"""Positions of the data offset and of the flags in a header, octets."""
MAX_SEGMENTS: Final = 128
"""Maximum segments in one train, as in Linux."""

_MOST: Final = MAX_SEGMENTS + 1
"""Maximum segments with a shorter one at the end."""
_BITS: Final = 32
_ONES: Final = sum([1 << _BITS * number for number in range(_MOST)])
_RAMP: Final = sum([number << _BITS * (_MOST - 1 - number) for number in range(_MOST)])
"""The numbers 1, 1, 1 and so on, and 0, 1, 2 and so on, each with the length of a sequence number."""

_MAX_LAYOUTS: Final = 64
"""Maximum number of cached layouts. There is a limit, because the peer determines some of them."""


class _Layout:
    """`count` segments, each with `header` octets of header and `size` octets of payload."""

    __slots__ = ("_count", "_offsets", "_ones", "texts", "whole")

    def __init__(self, header: int, size: int, count: int) -> None:
        self.whole = Struct(f"{header}s{size}s" * count)
        self.texts = Struct("0s" + f"{size}s" * count)
        """An empty text, and those of the segments."""
        self._count = count
        unused = _BITS * (_MOST - count)
        self._ones = _ONES >> unused
        self._offsets = size * (_RAMP >> unused)

    def number(self, headers: bytearray, step: int, seq: int) -> None:
        """Write the sequence numbers of the segments, of which the first is `seq`, into their headers, which begin
        `step` octets apart. The numbers must not wrap. All of them are computed as one number."""
        numbers = bytearray((seq * self._ones + self._offsets).to_bytes(_SEQ * self._count, "big"))
        for octet in range(_SEQ):
            headers[_SEQ + octet :: step] = numbers[octet::_SEQ]


_layouts: Final[dict[tuple[int, int, int], _Layout]] = {}


def _layout(header: int, size: int, count: int) -> _Layout:
    key = (header, size, count)
    layout = _layouts.get(key)
    if layout is None:
        if len(_layouts) >= _MAX_LAYOUTS:
            _layouts.clear()
        layout = _layouts[key] = _Layout(header, size, count)
    return layout


def write_train(header: bytes, seq: int, data: bytes | memoryview, begin: int, size: int, count: int) -> memoryview:
    """Return the octets of a train.

    Args:
        header: the header of all segments, without the right sequence number.
        seq: the sequence number of the first segment; it must not wrap within the train.
        data: a buffer that contains the payloads.
        begin: the offset of the first payload, octets.
        size: the payload of each segment, octets.
        count: the number of segments.
    """
    layout = _layout(len(header), size, count)
    train = bytearray(header).join(layout.texts.unpack_from(data, begin))
    layout.number(train, len(header) + size, seq)
    return memoryview(train)


class Train:
    """A received train, which is divided into stretches.

    A stretch consists of contiguous segments of one connection that differ only in the sequence number. Its last
    segment may be shorter and may have another PSH bit.

    `segments` is the number of segments. A rest too short for a segment with payload does not count. `size` is the
    payload of each segment except the last, octets.
    """

    __slots__ = ("_header", "_headers", "_texts", "segments", "size")

    def __init__(self, data: bytes, step: int, header: int) -> None:
        count = len(data) // step
        self.size = step - header
        self._header = header
        fields = _layout(header, self.size, count).whole.unpack_from(data)
        self._headers: tuple[bytes, ...] = fields[0::2]
        self._texts: tuple[bytes, ...] = fields[1::2]
        last = count * step
        if len(data) - last > header:
            self._headers += (data[last : last + header],)
            self._texts += (data[last + header :],)
        self.segments = len(self._headers)

    def stretch(self, first: int) -> int:
        """Return the exclusive end of the stretch that begins with segment `first`."""
        headers, size, end = self._headers, self.size, self.segments
        if first == 0 and self._is_one_stretch():  # the usual case
            return end
        header = headers[first]
        head = int.from_bytes(header[: 2 * _SEQ], "big")
        last = first + 1
        while last < end:
            other = headers[last]
            if int.from_bytes(other[: 2 * _SEQ], "big") != head + (last - first) * size:  # the ports differ, or SEQ
                break
            if other[2 * _SEQ :] != header[2 * _SEQ :]:
                return last + 1 if _differ_in_push(header, other) else last
            last += 1
        return last

    def _is_one_stretch(self) -> bool:
        first, count = self._headers[0], self.segments
        seq = int.from_bytes(first[_SEQ : 2 * _SEQ], "big")
        if seq + count * self.size > MASK:  # they wrap, so that they are not one long number
            return False
        expected = bytearray(first * count)
        _layout(len(first), self.size, count).number(expected, len(first), seq)
        expected[-len(first) + _FLAGS] ^= (first[_FLAGS] ^ self._headers[-1][_FLAGS]) & PSH
        return b"".join(self._headers) == bytes(expected)

    def is_plain(self, first: int) -> bool:
        """Return whether `segment()` can decode this segment: ACK, perhaps PSH, and no option except timestamps."""
        header = self._headers[first]
        if header[_FLAGS] & ~PSH != ACK or header[_OFFSET] >> 4 != self._header >> 2:
            return False
        return self._header == HEADER_LENGTH or header[HEADER_LENGTH:_TIMESTAMPS] == _ALIGNED_TIMESTAMPS

    def segment(self, first: int, end: int) -> Segment:
        """Return a stretch, which must be plain, as one segment with all its data."""
        header = self._headers[first]
        src_port, dst_port, seq, ack, offset_and_flags, window, checksum, urgent = HEADER.unpack_from(header)
        ts_val: int | None = None
        ts_ecr: int | None = None
        if self._header == _WITH_TIMESTAMPS:
            ts_val, ts_ecr = _VALUES.unpack_from(header, _TIMESTAMPS)
        text = b"".join(self._texts[first:end])
        return Segment(
            src_port, dst_port, seq, ack, offset_and_flags & 0xFF, window, text, ts_val, ts_ecr, urgent, checksum
        )


def read_train(data: bytes, step: int) -> Train | None:
    """Decode a train of segments of `step` octets each, of which the last may be shorter. Return None if its first and
    last headers show that decoding the segments separately is faster."""
    count = len(data) // step
    if not 2 <= count <= MAX_SEGMENTS or step <= HEADER_LENGTH:
        return None
    words = data[12] >> 4
    if words == HEADER_LENGTH >> 2:
        header = HEADER_LENGTH
    elif words == _WITH_TIMESTAMPS >> 2 and step > _WITH_TIMESTAMPS:
        header = _WITH_TIMESTAMPS
    else:
        return None
    last = (count - 1) * step
    if data[:4] != data[step : step + 4] and data[last : last + 4] != data[last - step : last - step + 4]:
        return None  # segments of several connections, such as pure ACKs, requests and replies
    return Train(data, step, header)


def _differ_in_push(one: bytes, other: bytes) -> bool:
    """Return whether two headers differ in PSH only, apart from ports and sequence number."""
    return (
        one[_FLAGS] ^ other[_FLAGS] == PSH
        and one[2 * _SEQ : _FLAGS] == other[2 * _SEQ : _FLAGS]
        and one[_FLAGS + 1 :] == other[_FLAGS + 1 :]
    )
