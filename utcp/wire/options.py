"""The supported TCP options (RFC 9293 3.2, RFC 7323, RFC 2018). Others are skipped by their length."""

from struct import Struct
from typing import Final

END_OF_LIST: Final = 0
NO_OPERATION: Final = 1
MAXIMUM_SEGMENT_SIZE: Final = 2
WINDOW_SCALE: Final = 3
SACK_PERMITTED: Final = 4
SACK: Final = 5
TIMESTAMPS: Final = 8

MAX_OPTIONS_LENGTH: Final = 40
MAX_WINDOW_SCALE: Final = 14
"""Maximum shift count. A larger one is treated as 14 (RFC 7323 2.3)."""

TIMESTAMPS_LENGTH: Final = 12
"""Length of the timestamps in a header with the two NOPs that align them, octets."""

# NOP, NOP, kind 8, length 10: the usual layout, which RFC 7323 appendix A recommends.
ALIGNED_TIMESTAMPS: Final = 0x0101080A
_SACK_BLOCK: Final = Struct("!II")
_TWO_WORDS: Final = Struct("!II")


class MalformedOptions(ValueError):
    """The length of an option is missing, below 2, beyond the header, or wrong for its kind."""


class Options:
    """The options of one segment. An absent option is None, absent SACK blocks are an empty tuple."""

    __slots__ = ("mss", "sack_blocks", "sack_permitted", "ts_ecr", "ts_val", "window_scale")

    def __init__(self) -> None:
        self.mss: int | None = None
        self.window_scale: int | None = None
        self.sack_permitted = False
        self.sack_blocks: tuple[tuple[int, int], ...] = ()
        self.ts_val: int | None = None
        self.ts_ecr: int | None = None


def decode_options(data: bytes) -> Options:
    """Decode the option list of a header, at any alignment (MUST-64). Unknown kinds are skipped (MUST-6).

    Raises MalformedOptions if the length of an option is missing, or wrong for its kind or for the header (MUST-7).
    """
    options = Options()
    position = 0
    end = len(data)
    while position < end:
        kind = data[position]
        if kind == END_OF_LIST:
            break
        if kind == NO_OPERATION:
            position += 1
            continue
        if position + 1 >= end:
            raise MalformedOptions("option without a length octet")
        length = data[position + 1]
        if length < 2:
            raise MalformedOptions("option length below 2")
        if position + length > end:
            raise MalformedOptions("option past the end of the header")
        body = position + 2
        if kind == TIMESTAMPS:
            _expect(length == 10, "timestamps")
            options.ts_val, options.ts_ecr = _TWO_WORDS.unpack_from(data, body)
        elif kind == SACK:
            _expect(length >= 10 and (length - 2) % 8 == 0, "SACK")
            options.sack_blocks = tuple(_SACK_BLOCK.iter_unpack(data[body : position + length]))
        elif kind == MAXIMUM_SEGMENT_SIZE:
            _expect(length == 4, "MSS")
            options.mss = data[body] << 8 | data[body + 1]
        elif kind == WINDOW_SCALE:
            _expect(length == 3, "window scale")
            options.window_scale = data[body]
        elif kind == SACK_PERMITTED:
            _expect(length == 2, "SACK-permitted")
            options.sack_permitted = True
        position += length
    return options


def encode_options(
    mss: int | None,
    window_scale: int | None,
    sack_permitted: bool,
    ts_val: int | None,
    ts_ecr: int | None,
    sack_blocks: tuple[tuple[int, int], ...],
) -> bytes:
    """Return the option list in the usual order, padded to whole 32-bit words.

    If the SACK blocks exceed the 40 octets, the last ones are omitted, because the first is the most recent
    (RFC 2018 4). All other options together take 20 octets.
    """
    parts: list[bytes] = []
    if mss is not None:
        parts.append(b"\x02\x04" + mss.to_bytes(2, "big"))
    if sack_permitted:
        parts.append(b"\x04\x02" if ts_val is not None else b"\x01\x01\x04\x02")
    if ts_val is not None:
        words = _TWO_WORDS.pack(ts_val, ts_ecr or 0)
        parts.append((b"\x08\x0a" if sack_permitted else b"\x01\x01\x08\x0a") + words)
    if window_scale is not None:
        parts.append(b"\x01\x03\x03" + bytes((window_scale,)))
    used = sum(map(len, parts))
    if sack_blocks:
        count = min(len(sack_blocks), (MAX_OPTIONS_LENGTH - used - 4) // 8)
        if count > 0:
            parts.append(b"\x01\x01\x05" + bytes((2 + 8 * count,)))
            parts += [_SACK_BLOCK.pack(left, right) for left, right in sack_blocks[:count]]
    return b"".join(parts)


def _expect(condition: bool, name: str) -> None:
    if not condition:
        raise MalformedOptions(f"{name} option with a wrong length")
