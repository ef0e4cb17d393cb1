"""The stream as far as it arrived in order and was not read yet."""

from typing import Final

from utcp._compiled import mypyc_attr
from utcp.tcp.reassembly import join_pieces, join_target
from utcp.tcp.transmit import Buffer

SMALL: Final = 512
"""Pieces below this are joined when there are too many: each costs some 40 octets more than its text."""

MAX_PIECES: Final = 4096


@mypyc_attr(acyclic=True)
class ReceiveQueue:
    """Received text, in the pieces that it came in: it is copied when it is read, and not before unless there are more
    than MAX_PIECES. How many octets there are is its owner's to know."""

    __slots__ = ("pieces",)

    def __init__(self) -> None:
        self.pieces: list[Buffer] = []

    def extend(self, pieces: list[Buffer]) -> int:
        """The next text of the stream, in several pieces; how many octets it has."""
        size = sum([len(piece) for piece in pieces])
        self.pieces += pieces
        if len(self.pieces) > MAX_PIECES:
            self.join()
        return size

    def join(self) -> None:
        """Too many pieces: at most half as many as may be there are left, so this happens seldom."""
        self.pieces = join_pieces(self.pieces, join_target(sum([len(piece) for piece in self.pieces])))

    def take_all(self) -> bytes:
        """All that is there."""
        pieces = self.pieces
        data = b"".join(pieces) if len(pieces) != 1 else bytes(pieces[0])
        pieces.clear()
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
