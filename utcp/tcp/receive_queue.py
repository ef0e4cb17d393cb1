"""The queue of text received in order and not yet read."""

from typing import Final

from utcp._compiled import mypyc_attr
from utcp.tcp.transmit import Buffer

SMALL: Final = 512
"""Length below which two adjacent pieces are joined, octets, because a peer may send single octets while the
application does not read. A join copies at most twice this length."""

PIECE: Final = 56
"""Memory overhead of a piece, octets."""

NO_PIECES: Final[list[Buffer]] = []
"""The list of all empty queues, which never changes: the first piece brings a list of its own."""


@mypyc_attr(acyclic=True)
class ReceiveQueue:
    """Received text, in the pieces of its segments. Only small pieces are copied before they are read. The subclass,
    `ReceiveSide`, keeps the number of octets, and begins with NO_PIECES."""

    __slots__ = ("_pieces",)

    _pieces: list[Buffer]

    def add(self, piece: Buffer) -> None:
        """Append text."""
        pieces = self._pieces
        if not pieces:
            self._pieces = [piece]
        elif len(piece) < SMALL and len(pieces[-1]) < SMALL:
            pieces[-1] = b"".join((pieces[-1], piece))
        else:
            pieces.append(piece)

    def extend(self, pieces: list[Buffer]) -> int:
        """Append text in several pieces. Return its length, octets."""
        size = 0
        for piece in pieces:
            size += len(piece)
            self.add(piece)
        return size

    def take_all(self) -> bytes:
        """Remove and return all text. If this raises, no text is lost."""
        pieces = self._pieces
        data = b"".join(pieces) if len(pieces) != 1 else bytes(pieces[0])
        self._pieces = NO_PIECES  # no call, as in `ReceiveSide.read`
        return data

    def take(self, size: int) -> bytes:
        """Remove and return the first `size` octets, which must exist. If this raises, no text is lost."""
        pieces = self._pieces
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
