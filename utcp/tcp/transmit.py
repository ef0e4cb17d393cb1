"""What leaves a stack: datagrams, grouped so that a link sends many with one call."""

from collections.abc import Hashable
from typing import TypeAlias

Remote: TypeAlias = Hashable
"""Where a UDP datagram comes from or goes to, as the link names it; the stack only compares, hashes and prints it."""

Buffer: TypeAlias = bytes | memoryview


class Transmit:
    """A train of datagrams for one remote.

    `buffers`, joined, are cut into datagrams of `segment_size` octets, the last of which may be shorter; no buffer
    crosses a cut. With `segment_size` None they are one datagram. `size` is their length together. `ecn` are the two
    ECN bits of the IP header (RFC 3168), 0 for none.
    """

    __slots__ = ("buffers", "ecn", "remote", "segment_size", "size")

    def __init__(
        self, remote: Remote, buffers: list[Buffer], size: int, segment_size: int | None = None, ecn: int = 0
    ) -> None:
        self.remote = remote
        self.buffers = buffers
        self.size = size
        self.segment_size = segment_size
        self.ecn = ecn

    def datagrams(self) -> list[bytes]:
        """Each datagram by itself: for links without segmentation offload, and for tests."""
        data = b"".join(self.buffers)
        step = self.segment_size or len(data)
        return [data[start : start + step] for start in range(0, len(data), step)]
