"""What a fuzzer runs: each target takes any octets, and raises when utcp breaks a promise."""

from collections.abc import Callable
from typing import Final

from tests.fuzz.ordeal import Ordeal
from tests.fuzz.source import Source
from utcp.wire import MalformedSegment, decode, encode


def decode_segment(data: bytes) -> None:
    """`decode` raises nothing but MalformedSegment, and what it makes of a segment survives `encode`."""
    try:
        segment = decode(data)
    except MalformedSegment:
        return
    assert decode(memoryview(b"\xff" + data + b"\xff"), 1, 1 + len(data)) == segment
    again = decode(encode(segment))
    assert decode(encode(again)) == again
    # Aligned as utcp sends them, the other options may leave less room for SACK blocks: the last ones go.
    assert again.sack_blocks == segment.sack_blocks[: len(again.sack_blocks)]
    again.sack_blocks = segment.sack_blocks
    assert again == segment


def receive_datagrams(data: bytes) -> None:
    """A stack in any state keeps its promises whatever arrives."""
    source = Source(data)
    ordeal = Ordeal(source)
    while not source.exhausted:
        ordeal.step()
    ordeal.end()


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {"decode": decode_segment, "stack": receive_datagrams}
