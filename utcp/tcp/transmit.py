"""What leaves a stack: segments, grouped into trains that a link sends with one call each."""

from collections.abc import Hashable
from struct import Struct
from typing import Final, TypeAlias

Remote: TypeAlias = Hashable
"""Where a UDP datagram comes from or goes to, as the link names it; the stack only compares, hashes and prints it."""

Buffer: TypeAlias = bytes | memoryview

_PORTS: Final = Struct("!HH")


class Transmit:
    """A train of datagrams for one remote.

    `buffers`, joined, are cut into datagrams of `segment_size` octets, the last of which may be shorter; a buffer may
    hold several of them, or a part of one. With `segment_size` None they are one datagram. `size` is their length
    together. `ecn` are the two ECN bits of the IP header (RFC 3168), 0 for none.

    `to_stranger`: it answers senders that have not proven to be at their address. If it cannot leave at once, it is
    dropped, so that it delays the segments of no connection.
    """

    __slots__ = ("buffers", "ecn", "remote", "segment_size", "size", "to_stranger")

    def __init__(
        self,
        remote: Remote,
        buffers: list[Buffer],
        size: int,
        segment_size: int | None = None,
        ecn: int = 0,
        *,
        to_stranger: bool = False,
    ) -> None:
        self.remote = remote
        self.buffers = buffers
        self.size = size
        self.segment_size = segment_size
        self.ecn = ecn
        self.to_stranger = to_stranger

    def datagrams(self) -> list[bytes]:
        """Each datagram by itself: for links without segmentation offload, and for tests."""
        data = b"".join(self.buffers)
        step = self.segment_size or len(data)
        return [data[start : start + step] for start in range(0, len(data), step)]

    def flows(self) -> tuple[tuple[int, int], ...]:
        """Return the (local port, remote port) of each connection that has a segment in the train."""
        return tuple(dict.fromkeys(_PORTS.unpack_from(each) for each in self.datagrams() if len(each) >= _PORTS.size))


class Outbox:
    """Segments on their way out, grouped into trains of equal size for one remote, whatever connection they belong to.

    That is what makes thousands of concurrent closes cheap: their ACKs and FINs have one size and leave together.
    """

    __slots__ = ("_max_bytes", "_max_segments", "_open", "_to_strangers", "trains")

    def __init__(self, max_segments: int, max_bytes: int, *, to_strangers: bool = False) -> None:
        self._max_segments = max_segments
        self._to_strangers = to_strangers
        self._max_bytes = max_bytes
        self.trains: list[Transmit] = []
        self._open: dict[tuple[Remote, int], int] = {}

    def __len__(self) -> int:
        return len(self.trains)

    def add(
        self, remote: Remote, header: bytes, payload: Buffer | None, size: int, after: int = -1, ecn: int = 0
    ) -> int:
        """Put a segment of `size` octets into a train, not one before train `after`; the train's index.

        A connection passes the index of its previous segment's train, and so its segments leave in order.
        """
        key = (remote, size << 2 | ecn)
        index = self._open.get(key, -1)
        if index < 0 or index < after:
            index = len(self.trains)
            self.trains.append(Transmit(remote, [header] if payload is None else [header, payload], size, size, ecn))
            if self._max_segments > 1 and 2 * size <= self._max_bytes:
                self._open[key] = index
            return index
        train = self.trains[index]
        train.buffers.append(header)
        if payload is not None:
            train.buffers.append(payload)
        train.size += size
        if train.size >= self._max_segments * size or train.size + size > self._max_bytes:
            del self._open[key]
        return index

    def room(self, remote: Remote, size: int, after: int, ecn: int) -> int:
        """How many segments `add_train` takes at once: what the train has room for that `add` would choose."""
        index = self._open.get((remote, size << 2 | ecn), -1)
        if index < 0 or index < after:
            return max(min(self._max_segments, self._max_bytes // size), 1)
        filled = self.trains[index].size
        return min(self._max_segments - filled // size, (self._max_bytes - filled) // size)

    def add_train(self, remote: Remote, buffers: list[Buffer], count: int, size: int, after: int, ecn: int) -> int:
        """`add` for `count` segments of `size` octets each, in these buffers; there must be `room`."""
        key = (remote, size << 2 | ecn)
        index = self._open.get(key, -1)
        if index < 0 or index < after:
            index = len(self.trains)
            self.trains.append(Transmit(remote, buffers, count * size, size, ecn))
            if count >= self._max_segments or (count + 1) * size > self._max_bytes:
                self._open.pop(key, None)
            else:
                self._open[key] = index
            return index
        train = self.trains[index]
        train.buffers += buffers
        train.size += count * size
        if train.size >= self._max_segments * size or train.size + size > self._max_bytes:
            del self._open[key]
        return index

    def drop_incomplete(self) -> None:
        """An exception may have come between the steps by which a segment is added: drop the train with that segment.
        It is lost, as any datagram may be."""
        self._open.clear()
        for index in range(len(self.trains) - 1, -1, -1):
            train = self.trains[index]
            if sum([len(buffer) for buffer in train.buffers]) != train.size:
                del self.trains[index]

    def take(self) -> list[Transmit]:
        """All trains, in order; the outbox is empty then."""
        trains = self.trains
        if not trains:
            return []
        self._open.clear()  # first: it names trains of this list
        self.trains = []
        taken = [trains[0]]
        whole = True  # no shorter datagram ends the last train taken
        for train in trains[1:]:
            last = taken[-1]
            step = last.segment_size or 0
            if (
                whole
                and train.size == train.segment_size  # one datagram
                and train.size < step
                and train.remote == last.remote
                and train.ecn == last.ecn
                and last.size < self._max_segments * step
                and last.size + train.size <= self._max_bytes
            ):
                last.buffers += train.buffers
                last.size += train.size
                whole = False
                continue
            taken.append(train)
            whole = True
        for train in taken:
            train.to_stranger = self._to_strangers
            if train.size == train.segment_size:
                train.segment_size = None
        return taken
