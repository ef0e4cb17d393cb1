"""Trains: equal-sized segments in one buffer, as the kernel sends and receives them with segmentation offload.

The segments of a flow that are sent together differ only in the sequence number. So they are encoded and decoded
together by `struct`, without Python code for each of them.
"""

from struct import Struct
from typing import Final

from utcp.wire.header import ACK, HEADER, HEADER_LENGTH, PSH
from utcp.wire.options import TIMESTAMPS_LENGTH
from utcp.wire.segment import Segment

_HEAD: Final = 8
"""Length of the ports and the sequence number, which together identify a segment of a train, octets. They are read as
one signed number, because ranges of numbers beyond 63 bits take five times as long."""

_WITH_TIMESTAMPS: Final = HEADER_LENGTH + TIMESTAMPS_LENGTH
_ALIGNED_TIMESTAMPS: Final = b"\x01\x01\x08\x0a"
_TIMESTAMPS: Final = Struct("!II")
_MAX_SEGMENTS: Final = 128
"""Maximum segments in one train, as in Linux."""

_MAX_LAYOUTS: Final = 64
"""Maximum number of cached layouts. There is a limit, because the peer determines some of them."""


class _Layout:
    """The `struct` formats of `count` segments, each with `header` octets of header and `size` octets of payload."""

    __slots__ = ("texts", "whole")

    def __init__(self, header: int, size: int, count: int) -> None:
        self.whole = Struct("!" + f"q{header - _HEAD}s{size}s" * count)
        self.texts = Struct(f"{size}s" * count)


_layouts: Final[dict[tuple[int, int, int], _Layout]] = {}


def _layout(header: int, size: int, count: int) -> _Layout:
    key = (header, size, count)
    layout = _layouts.get(key)
    if layout is None:
        if len(_layouts) >= _MAX_LAYOUTS:
            _layouts.clear()
        layout = _layouts[key] = _Layout(header, size, count)
    return layout


def write_train(header: bytes, seq: int, data: bytes | memoryview, begin: int, size: int, count: int) -> bytes:
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
    head = int.from_bytes(header[:4], "big", signed=True) << 32 | seq
    fields: list[int | bytes] = [header[_HEAD:]] * (3 * count)
    fields[0::3] = range(head, head + count * size, size)
    fields[2::3] = layout.texts.unpack_from(data, begin)
    return layout.whole.pack(*fields)


class Train:
    """A received train, which is divided into stretches.

    A stretch consists of contiguous segments of one connection that differ only in the sequence number. Its last
    segment may be shorter and may have another PSH bit.

    `segments` is the number of segments. A rest too short for a segment with payload does not count. `size` is the
    payload of each segment except the last, octets.
    """

    __slots__ = ("_header", "_heads", "_rests", "_texts", "segments", "size")

    def __init__(self, data: bytes, step: int, header: int) -> None:
        count = len(data) // step
        self.size = step - header
        self._header = header
        fields = _layout(header, self.size, count).whole.unpack_from(data)
        self._heads: tuple[int, ...] = fields[0::3]
        self._rests: tuple[bytes, ...] = fields[1::3]
        self._texts: tuple[bytes, ...] = fields[2::3]
        last = count * step
        if len(data) - last > header:
            self._heads += (int.from_bytes(data[last : last + _HEAD], "big", signed=True),)
            self._rests += (data[last + _HEAD : last + header],)
            self._texts += (data[last + header :],)
        self.segments = len(self._heads)

    def stretch(self, first: int) -> int:
        """Return the exclusive end of the stretch that begins with segment `first`."""
        heads, rests, size, end = self._heads, self._rests, self.size, self.segments
        head, rest = heads[first], rests[first]
        if first == 0 and heads == tuple(range(head, head + end * size, size)):  # the usual case
            alike = rests.count(rest)
            if alike == end or (alike == end - 1 and _differ_in_push(rest, rests[-1])):
                return end
        last = first + 1
        while last < end and heads[last] == head + (last - first) * size:
            if rests[last] != rest:
                return last + 1 if _differ_in_push(rest, rests[last]) else last
            last += 1
        return last

    def is_plain(self, first: int) -> bool:
        """Return whether `segment()` can decode this segment: ACK, perhaps PSH, and no option except timestamps."""
        rest = self._rests[first]
        if rest[5] & ~PSH != ACK or rest[4] >> 4 != self._header >> 2:
            return False
        return self._header == HEADER_LENGTH or rest[12:16] == _ALIGNED_TIMESTAMPS

    def segment(self, first: int, end: int) -> Segment:
        """Return a stretch, which must be plain, as one segment with all its data."""
        head, rest = self._heads[first], self._rests[first]
        src_port, dst_port, seq, ack, offset_and_flags, window, checksum, urgent = HEADER.unpack(
            head.to_bytes(_HEAD, "big", signed=True) + rest[: HEADER_LENGTH - _HEAD]
        )
        ts_val: int | None = None
        ts_ecr: int | None = None
        if self._header == _WITH_TIMESTAMPS:
            ts_val, ts_ecr = _TIMESTAMPS.unpack_from(rest, 16)
        text = b"".join(self._texts[first:end])
        return Segment(
            src_port, dst_port, seq, ack, offset_and_flags & 0xFF, window, text, ts_val, ts_ecr, urgent, checksum
        )


def read_train(data: bytes, step: int) -> Train | None:
    """Decode a train of segments of `step` octets each, of which the last may be shorter. Return None if its first and
    last headers show that decoding the segments separately is faster."""
    count = len(data) // step
    if not 2 <= count <= _MAX_SEGMENTS or step <= HEADER_LENGTH:
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
    return one[5] ^ other[5] == PSH and one[:5] == other[:5] and one[6:] == other[6:]
