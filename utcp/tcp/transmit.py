"""The output of a stack: segments in trains, each of which a link sends with one call."""

from collections.abc import Hashable
from struct import Struct
from typing import Any, Final, TypeAlias

from utcp.tcp.counters import Counters

Remote: TypeAlias = Hashable
"""The address of a UDP datagram, as the link represents it. The stack only compares, hashes and prints it."""

Buffer: TypeAlias = bytes | memoryview

_PORTS: Final = Struct("!HH")


def address_text(remote: Remote) -> str:
    """Return `host:port` for a UDP address, otherwise the remote's string form."""
    # A link on a wildcard address pairs the peer's address with the local one.
    address = getattr(remote, "peer", remote)
    if not isinstance(address, tuple):
        return str(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Transmit:
    """A train of datagrams for one remote.

    Args:
        remote: the destination.
        buffers: the bytes of all datagrams. A buffer may hold several datagrams, or a part of one.
        size: the total length, octets.
        segment_size: the length of each datagram, octets; the last one may be shorter. None: there is one datagram.
        ecn: the two ECN bits of the IP header (RFC 3168); 0: none.
        unverified: the train answers senders whose address is unverified. If it cannot leave at once, it is dropped,
            so that it does not delay the segments of connections.
    """

    __slots__ = ("buffers", "ecn", "remote", "segment_size", "size", "unverified")

    def __init__(
        self,
        remote: Remote,
        buffers: list[Buffer],
        size: int,
        segment_size: int | None = None,
        ecn: int = 0,
        unverified: bool = False,
    ) -> None:
        self.remote = remote
        self.buffers = buffers
        self.size = size
        self.segment_size = segment_size
        self.ecn = ecn
        self.unverified = unverified

    def datagrams(self) -> list[bytes]:
        """Return the datagrams one by one, for links without segmentation offload, and for tests."""
        data = b"".join(self.buffers)
        step = self.segment_size or len(data)
        return [data[start : start + step] for start in range(0, len(data), step)]

    def flows(self) -> tuple[tuple[int, int], ...]:
        """Return the (local port, remote port) of each connection that has a segment in the train."""
        return tuple(dict.fromkeys(_PORTS.unpack_from(each) for each in self.datagrams() if len(each) >= _PORTS.size))


class Outbox:
    """Segments to send, grouped into trains of equal-sized segments for one remote, across connections.

    This makes thousands of concurrent closes cheap, because their ACKs and FINs have the same size and leave together.
    Every segment of a stack leaves through an outbox, which counts it and shows it to the segment tap.
    """

    __slots__ = ("_counters", "_largest", "_max_bytes", "_max_segments", "_open", "_tap", "_unverified", "trains")

    def __init__(self, max_segments: int, max_bytes: int, counters: Counters, *, unverified: bool = False) -> None:
        self._counters = counters
        self._tap: Any = None
        self._max_segments = max_segments
        self._max_bytes = max_bytes
        self._largest = max_bytes // 2 if max_segments > 1 else 0
        """Length of a segment up to which its train takes another one, octets."""
        self._unverified = unverified
        self.trains: list[Transmit] = []
        self._open: dict[tuple[Remote, int], int] = {}
        """Index of the train that takes the next segment, by the remote, length and ECN bits of the segment. The first
        train is entered with the second segment, because most flushes send one segment."""

    def __len__(self) -> int:
        return len(self.trains)

    def show(self, tap: Any) -> None:
        """Call `tap.segment_sent` for each segment from now on; None: stop. The type is Any for the same reason
        as that of `Context.observer`."""
        self._tap = tap

    def add(
        self,
        remote: Remote,
        header: bytes,
        payload: Buffer | None,
        size: int,
        now: float,
        after: int = 0,
        ecn: int = 0,
    ) -> int:
        """Add a segment of `size` octets to train `after` or a later one. Return the index of its train.

        A connection passes the index of its previous segment's train, so that its segments leave in order.
        """
        self._counters.out_segs += 1
        if self._tap is not None:
            self._tap.segment_sent(remote, [header] if payload is None else [header, payload], now)
        trains = self.trains
        index = 0
        if trains:
            if not self._open:
                self._enter_first()
            key = (remote, size << 2 | ecn)
            index = self._open.get(key, -1)
            if index >= after:
                train = trains[index]
                train.buffers.append(header)
                if payload is not None:
                    train.buffers.append(payload)
                train.segment_size = size
                train.size = filled = train.size + size
                if filled >= self._max_segments * size or filled + size > self._max_bytes:
                    del self._open[key]
                return index
            index = len(trains)
            if size <= self._largest:
                self._open[key] = index
        buffers: list[Buffer] = [header] if payload is None else [header, payload]
        trains.append(Transmit(remote, buffers, size, None, ecn, self._unverified))
        return index

    def _enter_first(self) -> None:
        """Enter the first train, if it is the only one and open: it is a single segment that is not too large."""
        if len(self.trains) == 1:
            first = self.trains[0]
            if first.segment_size is None and first.size <= self._largest:
                self._open[first.remote, first.size << 2 | first.ecn] = 0

    def room(self, remote: Remote, size: int, after: int, ecn: int) -> int:
        """Return the number of segments that `add_train` accepts at once, by the room in the train that it selects."""
        if not self._open:
            self._enter_first()
        index = self._open.get((remote, size << 2 | ecn), -1)
        if index < after:
            return max(min(self._max_segments, self._max_bytes // size), 1)
        filled = self.trains[index].size
        return min(self._max_segments - filled // size, (self._max_bytes - filled) // size)

    def add_train(
        self, remote: Remote, buffers: list[Buffer], count: int, size: int, now: float, after: int, ecn: int
    ) -> int:
        """Add `count` segments of `size` octets each, like `add`: one in any number of buffers, or all in one buffer.
        There must be `room` for them."""
        self._counters.out_segs += count
        if self._tap is not None:
            if count == 1:
                self._tap.segment_sent(remote, list(buffers), now)
            else:
                data = buffers[0]
                for start in range(0, len(data), size):
                    if self._tap is None:  # the last call has ended it
                        break
                    self._tap.segment_sent(remote, [data[start : start + size]], now)
        if not self._open:
            self._enter_first()
        key = (remote, size << 2 | ecn)
        index = self._open.get(key, -1)
        if index < after:
            index = len(self.trains)
            train = Transmit(remote, buffers, count * size, size if count > 1 else None, ecn, self._unverified)
            self.trains.append(train)
            if count >= self._max_segments or (count + 1) * size > self._max_bytes:
                self._open.pop(key, None)
            else:
                self._open[key] = index
            return index
        train = self.trains[index]
        train.buffers += buffers
        train.segment_size = size
        train.size += count * size
        if train.size >= self._max_segments * size or train.size + size > self._max_bytes:
            del self._open[key]
        return index

    def drop_incomplete(self) -> None:
        """Drop a train to which a segment was added only in part, because of an exception. It is lost like any other
        datagram."""
        self._open.clear()
        for index in range(len(self.trains) - 1, -1, -1):
            train = self.trains[index]
            if sum([len(buffer) for buffer in train.buffers]) != train.size:
                del self.trains[index]

    def take(self) -> list[Transmit]:
        """Remove and return all trains, in order."""
        trains = self.trains
        if not trains:
            return []
        self._open.clear()  # first, because it refers to trains of this list
        self.trains = []
        return self._joined(trains) if len(trains) > 1 else trains

    def _joined(self, trains: list[Transmit]) -> list[Transmit]:
        """Return the trains, after the shorter datagram behind a train has been added to it as its last one."""
        taken = [trains[0]]
        whole = True  # the last train taken does not end with a shorter datagram
        for train in trains[1:]:
            last = taken[-1]
            step = last.segment_size or last.size
            if (
                whole
                and train.segment_size is None
                and train.size < step
                and train.remote == last.remote
                and train.ecn == last.ecn
                and last.size < self._max_segments * step
                and last.size + train.size <= self._max_bytes
            ):
                last.buffers += train.buffers
                last.segment_size = step
                last.size += train.size
                whole = False
            else:
                taken.append(train)
                whole = True
        return taken
