"""The interface of a link, which carries a stack's datagrams over a UDP socket, a TUN device or a simulated network."""

from collections.abc import Sized
from typing import Final, NamedTuple

from utcp._compiled import mypyc_attr
from utcp.link.path import SocketAddress
from utcp.tcp.transmit import Remote, Transmit

BATCH_OCTETS: Final = 2 << 20
"""Octets that one `Link.receive` returns. Processing them takes some milliseconds, in which the event loop does nothing
else."""

MAX_PATH_ERRORS: Final = 1024
"""Maximum number of errors that one `Link.path_errors` returns, some milliseconds of work."""

QUOTED: Final = 128
"""Octets of a quoted segment that a link keeps. A TCP header has at most 60."""


@mypyc_attr(acyclic=True)
class Received:
    """A received datagram, or a train of datagrams with `segment_size` bytes each, of which the last may be shorter.

    Args:
        data: the payload, valid until the link's next `receive()`.
        remote: the sender.
        segment_size: bytes; None for a single datagram.
        ecn: the two ECN bits of the IP header.
    """

    __slots__ = ("data", "ecn", "remote", "segment_size")

    def __init__(self, data: bytes, remote: Remote, segment_size: int | None, ecn: int) -> None:
        self.data = data
        self.remote = remote
        self.segment_size = segment_size
        self.ecn = ecn


class SendError(NamedTuple):
    """A datagram or train that could not be sent and is lost. `errno` is the reason.

    `flows` holds the (local port, remote port) pairs of the connections with a segment in it (`Transmit.flows`).
    """

    remote: Remote
    errno: int
    flows: tuple[tuple[int, int], ...]


class PathError(NamedTuple):
    """An ICMP error from a router or the peer's host about a datagram of ours (RFC 792, RFC 4443).

    `errno` is the value that Linux reports for the message: ECONNREFUSED for an unreachable port, EHOSTUNREACH,
    ENETUNREACH, EMSGSIZE and so on. With EMSGSIZE, `mtu` is the largest payload that the path carries, in the units of
    `Link.mtu`, or None if the message does not contain it. `quoted` is the beginning of the segment, usually 64 octets
    or more. It is empty if the router quotes only the 8 octets that RFC 792 requires, which are the UDP header. ICMP
    can be forged, so the quoted sequence number must be checked (RFC 5927).
    """

    remote: Remote
    errno: int
    mtu: int | None
    quoted: bytes


@mypyc_attr(allow_interpreted_subclasses=True)
class LinkCounters:
    """Counters of a link since its creation. A train is one call and many datagrams; bytes are UDP payload."""

    def __init__(self) -> None:
        self.receive_calls = 0  # including those that found nothing
        self.datagrams_received = 0
        self.bytes_received = 0
        self.receive_errors = 0
        self.path_errors = 0  # returned by `path_errors()`
        self.path_errors_dropped = 0  # beyond the limits of `path_errors()`
        self.not_unicast = 0  # datagrams to a broadcast or multicast address; dropped
        self.no_source_port = 0  # datagrams from UDP port 0, which cannot be answered; dropped
        self.truncated = 0  # datagrams that exceed the buffer, or whose control messages do; dropped
        self.send_calls = 0  # including failed ones
        self.datagrams_sent = 0
        self.bytes_sent = 0
        self.send_errors = 0
        self.segmentation_refused = 0  # trains that were sent as single datagrams instead
        self.datagrams_dropped = 0  # no room in `pending`, waited too long there, or met ICMP errors
        self.no_buffers = 0  # datagrams lost because a queue of the system was full or memory was short
        self.answers_dropped = 0  # answers to unverified senders that could not be sent at once


@mypyc_attr(allow_interpreted_subclasses=True)
class Link:
    """An endpoint's connection to the network, and its clock."""

    counters: LinkCounters
    drained: bool = True
    """Whether the last `receive()` returned everything that had arrived."""
    has_path_errors: bool = True
    """Whether `path_errors()` may return errors."""
    pending: Sized = ()
    """Datagrams that wait for room in the socket, in a queue that the link changes. Nothing more is taken from a stack
    meanwhile, because its timers do not account for the wait."""

    @property
    def address(self) -> SocketAddress:
        """The local UDP address."""
        raise NotImplementedError

    def fileno(self) -> int:
        """Return the descriptor that an event loop watches."""
        raise NotImplementedError

    def now(self) -> float:
        """Return the time of the link's monotonic clock, seconds. The stack uses no other clock."""
        raise NotImplementedError

    def receive(self, limit: int = 512) -> list[Received]:
        """Return the datagrams that have arrived, at once and perhaps none.

        Stops after the datagram or whole train that reaches `limit` datagrams or `BATCH_OCTETS`.
        """
        raise NotImplementedError

    def send(self, transmits: list[Transmit]) -> list[SendError]:
        """Send in order and return at once. Datagrams without room in the socket become `pending`; failed ones are lost
        and returned."""
        raise NotImplementedError

    def path_errors(self) -> list[PathError]:
        """Return the ICMP errors about our datagrams since the last call, at most MAX_PATH_ERRORS. The rest is dropped.

        Call it after every `receive()` and `send()`.
        """
        return []

    def flush_pending(self) -> list[SendError]:
        """Send pending datagrams, when there may be room again (`watch_room`)."""
        raise NotImplementedError

    def watch_room(self, wanted: bool) -> bool:
        """Make the descriptor readable also when there is room to send, while `wanted`. Return whether that works.

        If it returns False, the caller watches the descriptor for being writable.
        """
        return False

    def watch_input(self, wanted: bool) -> bool:
        """Make the descriptor readable when datagrams have arrived, which is the rule, only while `wanted`. Return
        whether that works; if not, nothing has changed. ICMP errors may make it readable in any case."""
        return False

    def remote(self, address: SocketAddress) -> Remote:
        """Return the stack's name for a peer's UDP address. Raises OSError if there is no route to it."""
        raise NotImplementedError

    def peername(self, remote: Remote) -> SocketAddress:
        """Return the peer's UDP address."""
        raise NotImplementedError

    def sockname(self, remote: Remote) -> SocketAddress:
        """Return the local UDP address that is used with that remote (before any NAT)."""
        raise NotImplementedError

    def receives_at(self, address: SocketAddress) -> bool:
        """Return whether this link receives the datagrams that this host sends to the UDP address `address`."""
        return address == self.address

    def mtu(self, remote: Remote) -> int:
        """Return the largest payload of a datagram to `remote`, octets: a TCP segment with its header."""
        raise NotImplementedError

    @property
    def receive_capacity(self) -> int:
        """Octets of full-sized segments that can wait for `receive()` without being dropped."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the descriptor, and drop pending datagrams. Idempotent."""
        raise NotImplementedError
