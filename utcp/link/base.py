"""What a driver needs of whatever carries a stack's datagrams: a UDP socket, or a simulated network."""

from typing import Final, NamedTuple

from utcp.link.path import SocketAddress
from utcp.tcp.transmit import Remote, Transmit

BATCH_OCTETS: Final = 2 << 20
"""What `Link.receive` takes in at once: some milliseconds of work, in which the event loop serves nobody else."""

MAX_PATH_ERRORS: Final = 1024
"""What one call of `Link.path_errors` returns at most, some milliseconds of work."""

QUOTED: Final = 128
"""Octets of a quoted segment that a link keeps: a TCP header has at most 60."""


class Received(NamedTuple):
    """A datagram, or a train of them: `segment_size` octets each, the last perhaps shorter (None: one datagram).

    `data` is valid until the link's next `receive()`. `ecn` are the two ECN bits of the IP header.
    """

    data: bytes
    remote: Remote
    segment_size: int | None
    ecn: int


class SendError(NamedTuple):
    """A datagram or train that was not sent and is lost, and why (an `errno` value).

    `flows` are the (local port, remote port) pairs of the connections that had a segment in it (`Transmit.flows`).
    """

    remote: Remote
    errno: int
    flows: tuple[tuple[int, int], ...]


class PathError(NamedTuple):
    """What a router or the peer's host has said about a datagram of ours (ICMP: RFC 792, RFC 4443).

    `errno` is what Linux makes of the message: ECONNREFUSED for an unreachable port, EHOSTUNREACH, ENETUNREACH,
    EMSGSIZE and so on. `mtu` belongs to EMSGSIZE: the largest payload that gets through, counted as `Link.mtu` counts;
    None when the message does not say. `quoted` is the beginning of the segment that it is about, 64 octets or more
    where the router quotes so much, and empty when it quotes nothing of it (RFC 792 asks for 8 octets, which end with
    the UDP header). Anybody can forge ICMP: RFC 5927 says how the quoted sequence number is to be checked.
    """

    remote: Remote
    errno: int
    mtu: int | None
    quoted: bytes


class LinkCounters:
    """What passed through a link since it was made. A train is one call and many datagrams; bytes are UDP payload."""

    __slots__ = (
        "answers_dropped",
        "bytes_received",
        "bytes_sent",
        "datagrams_dropped",
        "datagrams_received",
        "datagrams_sent",
        "no_buffers",
        "no_source_port",
        "not_unicast",
        "path_errors",
        "path_errors_dropped",
        "receive_calls",
        "receive_errors",
        "segmentation_refused",
        "send_calls",
        "send_errors",
        "truncated",
    )

    def __init__(self) -> None:
        self.receive_calls = 0  # with those that found nothing
        self.datagrams_received = 0
        self.bytes_received = 0
        self.receive_errors = 0
        self.path_errors = 0  # those that `path_errors()` has returned
        self.path_errors_dropped = 0  # those that were too many
        self.not_unicast = 0  # datagrams to a broadcast or multicast address, dropped
        self.no_source_port = 0  # datagrams from UDP port 0, to which nothing can be sent; dropped
        self.truncated = 0  # datagrams that did not fit into the buffers, or their control messages; dropped
        self.send_calls = 0  # with those that failed
        self.datagrams_sent = 0
        self.bytes_sent = 0
        self.send_errors = 0
        self.segmentation_refused = 0  # trains that went out as single datagrams instead
        self.datagrams_dropped = 0  # that found no room in `pending`, waited there for too long, or met ICMP errors
        self.no_buffers = 0  # datagrams lost because a queue of the system was full, or memory was short
        self.answers_dropped = 0  # answers to strangers that could not leave at once


class Link:
    """One endpoint's way to its peers, and its clock."""

    counters: LinkCounters
    drained: bool = True
    """The last `receive()` took all that there was."""

    @property
    def address(self) -> SocketAddress:
        """Our own UDP address."""
        raise NotImplementedError

    def fileno(self) -> int:
        """The descriptor that an event loop watches."""
        raise NotImplementedError

    def now(self) -> float:
        """Seconds on the link's clock, monotonic; the only clock its stack is shown."""
        raise NotImplementedError

    def receive(self, limit: int = 512) -> list[Received]:
        """What has arrived, empty when nothing has. Never waits. It stops at `limit` datagrams or `BATCH_OCTETS`; the
        train that reaches either is taken whole."""
        raise NotImplementedError

    def send(self, transmits: list[Transmit]) -> list[SendError]:
        """Send in order, never waiting. What finds no room becomes `pending`; what fails is lost and reported."""
        raise NotImplementedError

    @property
    def has_path_errors(self) -> bool:
        """`path_errors` may have something to return."""
        return True

    def path_errors(self) -> list[PathError]:
        """What ICMP has said about our datagrams since the last call, at most MAX_PATH_ERRORS of it: to be asked after
        every `receive()` and `send()`. What is more is dropped."""
        return []

    @property
    def pending(self) -> bool:
        """Whether something waits for room. Until it has gone, ask the stack for no more: its timers do not know."""
        raise NotImplementedError

    def flush_pending(self) -> list[SendError]:
        """Go on sending what waited: when there may be room again (`watch_room`)."""
        raise NotImplementedError

    def watch_room(self, wanted: bool) -> bool:
        """Whether the descriptor, for as long as that is `wanted`, becomes readable also when there is room to send.

        False: it does not; watch the descriptor for being writable.
        """
        return False

    def remote(self, address: SocketAddress) -> Remote:
        """How the stack names a peer's UDP address. Raises OSError when there is no route to it."""
        raise NotImplementedError

    def peername(self, remote: Remote) -> SocketAddress:
        """The peer's UDP address."""
        raise NotImplementedError

    def sockname(self, remote: Remote) -> SocketAddress:
        """Our UDP address as that remote sees it (before any NAT)."""
        raise NotImplementedError

    def receives_at(self, address: SocketAddress) -> bool:
        """Whether this link receives what this host sends to the UDP address `address`."""
        return address == self.address

    def mtu(self, remote: Remote) -> int:
        """The largest payload of one datagram towards `remote`, in octets: a whole TCP segment with its header."""
        raise NotImplementedError

    @property
    def receive_capacity(self) -> int:
        """Octets of full-sized segments that can wait for `receive()` before some are dropped."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the descriptor back; what is pending is lost. Idempotent."""
        raise NotImplementedError
