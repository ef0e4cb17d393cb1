"""TCP segments, with `decode` and `encode`."""

from struct import Struct
from typing import Final

from utcp._compiled import mypyc_attr
from utcp.wire.header import HEADER, HEADER_LENGTH, HEADER_OF_SYN, HEADER_WITH_TIMESTAMPS, flag_names
from utcp.wire.options import (
    ALIGNED_TIMESTAMPS,
    TIMESTAMPS_LENGTH,
    MalformedOptions,
    decode_options,
    encode_options,
)

NOT_ECT: Final = 0
ECN_CAPABLE: Final = 2
"""ECT(0)."""
CONGESTION_EXPERIENCED: Final = 3

LENGTH_WITH_TIMESTAMPS: Final = HEADER_LENGTH + TIMESTAMPS_LENGTH
"""Length of a header with timestamps as its only option, octets."""

# The options of nearly every SYN, in Linux's layout.
_SYN_OPTIONS_LENGTH: Final = 20
_MSS: Final = 0x0204
_SACK_AND_TIMESTAMPS: Final = 0x0402080A
_WINDOW_SCALE: Final = 0x0103
_SCALE_WORD: Final = 0x01030300
"""NOP, kind and length of the window scale, before the shift count."""
_SYN_OFFSET: Final = (HEADER_LENGTH + _SYN_OPTIONS_LENGTH) << 10
_LAST_WORDS: Final = Struct("!IHBB")
"""TSecr, NOP and kind of the window scale, its length, and the shift count."""

VIEW_ABOVE: Final = 4096
"""Size of a segment above which a view of its payload is cheaper than a copy, octets."""


class MalformedSegment(ValueError):
    """The data is not a TCP segment; the text is the reason. The receiver counts and drops it."""


@mypyc_attr(acyclic=True, free_list_len=1)
class Segment:
    """A segment: header fields with the RFC's names, options (None if absent), and payload.

    It is not a frozen dataclass, because creating one takes three times as long, and each received segment is one.
    `window` is the unscaled 16-bit field. `checksum` is 0 over UDP, whose checksum covers the same data. `ecn` holds
    the two ECN bits of the received IP header (RFC 3168 5); `encode` ignores it.
    """

    __slots__ = (
        "ack",
        "checksum",
        "dst_port",
        "ecn",
        "flags",
        "mss",
        "payload",
        "sack_blocks",
        "sack_permitted",
        "seq",
        "src_port",
        "ts_ecr",
        "ts_val",
        "urgent",
        "window",
        "window_scale",
    )

    def __init__(
        self,
        src_port: int,
        dst_port: int,
        seq: int,
        ack: int,
        flags: int,
        window: int = 0,
        payload: bytes | memoryview = b"",
        ts_val: int | None = None,
        ts_ecr: int | None = None,
        urgent: int = 0,
        checksum: int = 0,
        mss: int | None = None,
        window_scale: int | None = None,
        sack_permitted: bool = False,
        sack_blocks: tuple[tuple[int, int], ...] = (),
        ecn: int = 0,
    ) -> None:
        self.src_port = src_port
        self.dst_port = dst_port
        self.seq = seq
        self.ack = ack
        self.flags = flags
        self.window = window
        self.payload = payload
        self.ts_val = ts_val
        self.ts_ecr = ts_ecr
        self.mss = mss
        self.window_scale = window_scale
        self.sack_permitted = sack_permitted
        self.sack_blocks = sack_blocks
        self.urgent = urgent
        self.checksum = checksum
        self.ecn = ecn

    @property
    def length(self) -> int:
        """SEG.LEN: length in sequence space, octets, with SYN and FIN (RFC 9293 3.4)."""
        return len(self.payload) + (self.flags >> 1 & 1) + (self.flags & 1)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Segment):
            return NotImplemented
        return _values(self) == _values(other)

    __hash__ = None  # type: ignore[assignment]  # segments are mutable

    def __repr__(self) -> str:
        options = [
            f"{name}={value}"
            for name in ("mss", "window_scale", "ts_val", "ts_ecr")
            if (value := getattr(self, name)) is not None
        ]
        if self.sack_permitted:
            options.append("sack_permitted")
        if self.sack_blocks:
            options.append(f"sack={self.sack_blocks}")
        return (
            f"<Segment {self.src_port}>{self.dst_port} {flag_names(self.flags)} seq={self.seq} ack={self.ack}"
            f" win={self.window} len={len(self.payload)}{''.join(' ' + option for option in options)}>"
        )


def _values(segment: Segment) -> tuple[object, ...]:
    return (
        segment.src_port,
        segment.dst_port,
        segment.seq,
        segment.ack,
        segment.flags,
        segment.window,
        segment.payload,
        segment.ts_val,
        segment.ts_ecr,
        segment.mss,
        segment.window_scale,
        segment.sack_permitted,
        segment.sack_blocks,
        segment.urgent,
        segment.checksum,
        segment.ecn,
    )


def decode(
    data: bytes | memoryview, start: int = 0, end: int | None = None, view: bool = False, ecn: int = 0
) -> Segment:
    """Decode a segment. Reserved bits are ignored (RFC 9293 3.1). The checksum is not verified, because only some links
    use it.

    Args:
        data: a buffer that contains the segment.
        start: the offset of the segment, octets.
        end: the offset of its end; None: the end of `data`.
        view: whether the payload may be a view of `data`, which then must not change. Otherwise it is copied.
        ecn: the two ECN bits of the IP header.

    Raises MalformedSegment if the header is incomplete or its options are malformed.
    """
    stop = len(data) if end is None else end
    size = stop - start
    offset_and_flags: int  # for mypyc, because struct has no types
    kinds: int
    if size >= LENGTH_WITH_TIMESTAMPS:
        src_port, dst_port, seq, ack, offset_and_flags, window, checksum, urgent, kinds, ts_val, ts_ecr = (
            HEADER_WITH_TIMESTAMPS.unpack_from(data, start)
        )
        if kinds == ALIGNED_TIMESTAMPS and offset_and_flags >> 12 == 8:  # as in nearly every segment
            payload = take_text(data, start + LENGTH_WITH_TIMESTAMPS, stop, view)
            return Segment(
                src_port,
                dst_port,
                seq,
                ack,
                offset_and_flags & 0xFF,
                window,
                payload,
                ts_val,
                ts_ecr,
                urgent,
                checksum,
                ecn=ecn,
            )
        if (
            kinds >> 16 == _MSS
            and ts_val == _SACK_AND_TIMESTAMPS
            and size == HEADER_LENGTH + _SYN_OPTIONS_LENGTH
            and offset_and_flags >> 12 == 10
        ):
            echoed, last, length, scale = _LAST_WORDS.unpack_from(data, start + LENGTH_WITH_TIMESTAMPS)
            if last == _WINDOW_SCALE and length == 3:
                return Segment(
                    src_port,
                    dst_port,
                    seq,
                    ack,
                    offset_and_flags & 0xFF,
                    window,
                    ts_val=ts_ecr,  # the words are shifted by the options before
                    ts_ecr=echoed,
                    urgent=urgent,
                    checksum=checksum,
                    mss=kinds & 0xFFFF,
                    window_scale=scale,
                    sack_permitted=True,
                    ecn=ecn,
                )
    elif size >= HEADER_LENGTH:
        src_port, dst_port, seq, ack, offset_and_flags, window, checksum, urgent = HEADER.unpack_from(data, start)
    else:
        raise MalformedSegment("shorter than a TCP header")
    header_length = offset_and_flags >> 10 & 0x3C
    flags = offset_and_flags & 0xFF
    if header_length < HEADER_LENGTH:
        raise MalformedSegment("data offset below 5 words")
    if header_length > size:
        raise MalformedSegment("data offset past the end of the segment")
    segment = Segment(src_port, dst_port, seq, ack, flags, window, urgent=urgent, checksum=checksum, ecn=ecn)
    if header_length < size:
        segment.payload = take_text(data, start + header_length, stop, False)
    if header_length > HEADER_LENGTH:
        try:
            options = decode_options(bytes(data[start + HEADER_LENGTH : start + header_length]))
        except MalformedOptions as error:
            raise MalformedSegment(str(error)) from None
        segment.mss = options.mss
        segment.window_scale = options.window_scale
        segment.sack_permitted = options.sack_permitted
        segment.sack_blocks = options.sack_blocks
        segment.ts_val = options.ts_val
        segment.ts_ecr = options.ts_ecr
    return segment


def take_text(data: bytes | memoryview, start: int, stop: int, view: bool) -> bytes | memoryview:
    """Return `data[start:stop]`: a view of it if `view`, else a copy."""
    if view:
        return memoryview(data)[start:stop]
    # A slice of bytes is already bytes, and bytes() would take longer than the slice.
    return data[start:stop] if isinstance(data, bytes) else bytes(data[start:stop])


def encode(segment: Segment) -> bytes:
    """Return the octets of a segment, with its checksum field unchanged (0 over UDP)."""
    options = encode_options(
        segment.mss,
        segment.window_scale,
        segment.sack_permitted,
        segment.ts_val,
        segment.ts_ecr,
        segment.sack_blocks,
    )
    header = HEADER.pack(
        segment.src_port,
        segment.dst_port,
        segment.seq,
        segment.ack,
        (HEADER_LENGTH + len(options)) << 10 | segment.flags,
        segment.window,
        segment.checksum,
        segment.urgent,
    )
    return header + options + segment.payload


def encode_syn(
    src_port: int,
    dst_port: int,
    seq: int,
    ack: int,
    flags: int,
    window: int,
    mss: int | None,
    window_scale: int | None,
    sack_permitted: bool,
    ts_val: int | None,
    ts_ecr: int | None,
) -> bytes:
    """Return the octets of a SYN or SYN-ACK. An option is absent if its value is None or False."""
    if mss is None or window_scale is None or ts_val is None or not sack_permitted:
        return encode(
            Segment(
                src_port,
                dst_port,
                seq,
                ack,
                flags,
                window,
                mss=mss,
                window_scale=window_scale,
                sack_permitted=sack_permitted,
                ts_val=ts_val,
                ts_ecr=ts_ecr,
            )
        )
    return HEADER_OF_SYN.pack(  # nearly every SYN has all these options
        src_port,
        dst_port,
        seq,
        ack,
        _SYN_OFFSET | flags,
        window,
        0,
        0,
        _MSS,
        mss,
        _SACK_AND_TIMESTAMPS,
        ts_val,
        ts_ecr or 0,
        _SCALE_WORD | window_scale,
    )
