"""The stream as far as it arrived in order and was not read yet."""

from typing import Final

from utcp._compiled import mypyc_attr
from utcp.tcp.transmit import Buffer

SMALL: Final = 512
"""Octets below which two neighbouring pieces are joined: a peer may send single octets to a reader that pauses. A join
copies no more than twice this."""

PIECE: Final = 56
"""Octets that a piece takes beyond its text."""


@mypyc_attr(acyclic=True)
class ReceiveQueue:
    """Received text, in the pieces that it came in: it is copied when it is read, and not before unless it is small.
    How many octets there are is its owner's to know."""

    __slots__ = ("pieces",)

    def __init__(self) -> None:
        self.pieces: list[Buffer] = []

    def add_small(self, piece: Buffer) -> None:
        """The next text of the stream, shorter than SMALL; there is text before it."""
        pieces = self.pieces
        if len(pieces[-1]) < SMALL:
            pieces[-1] = b"".join((pieces[-1], piece))
        else:
            pieces.append(piece)

    def extend(self, pieces: list[Buffer]) -> int:
        """The next text of the stream, in several pieces; how many octets it has."""
        size = 0
        for piece in pieces:
            length = len(piece)
            size += length
            if length < SMALL and self.pieces:
                self.add_small(piece)
            else:
                self.pieces.append(piece)
        return size

    def take_all(self) -> bytes:
        """All that is there. If that raises, it is still there."""
        pieces = self.pieces
        data = b"".join(pieces) if len(pieces) != 1 else bytes(pieces[0])
        del pieces[:]  # no call, as in `ReceiveSide.read`
        return data

    def take(self, size: int) -> bytes:
        """The first `size` octets; so many must be there. If that raises, all are still there."""
        pieces = self.pieces
        parts: list[Buffer] = []
        index = 0
        rest: Buffer = b""
        while size:
            piece = pieces[index]
            index += 1
            if len(piece) > size:
                parts.append(piece[:size])
                rest = memoryview(piece)[size:]
                break
            parts.append(piece)
            size -= len(piece)
        data = b"".join(parts)
        if rest:
            index -= 1
            pieces[index] = rest
        del pieces[:index]
        return data
