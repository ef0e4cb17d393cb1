"""A simulated network's packets as a capture for Wireshark, with what each sender was about."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, BinaryIO, Literal

from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack
from utcp.tcp.transmit import Buffer, Remote
from utcp.testing.host import Host
from utcp.testing.network import Network
from utcp.trace.annotation import Comment
from utcp.trace.commentary import Commentary
from utcp.trace.pcapng import Capture, TracedPacket, write_trace

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection


class NetworkCapture:
    """Watches a network from its beginning, and writes what it carried.

        network = Network(seed=1)
        capture = NetworkCapture(network)
        network.run(main())
        with open("run.pcapng", "wb") as file:
            capture.write(file)

    Each segment is shown once, when it was sent, with a comment (`utcp.trace.annotation`): the sending host, its
    connection's state, the timer that brought the segment about, the windows, for how long it was under way, and `lost`
    or `duplicated` if it was.
    Of endpoints that began before it was made it shows the segments, and nothing of their connections.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._said: dict[tuple[str, bytes], deque[Comment]] = {}
        network.watches.append(self._watch)

    def write(self, file: BinaryIO, *, form: Literal["tcp", "udp"] = "tcp", epoch_ns: int = 0) -> None:
        """Write all that was sent so far to the binary `file`; see `Capture` for `form` and `epoch_ns`. May be called
        again later, with another file: it writes everything again.

        Raises ValueError when the network keeps no trace (`keep_trace`).
        """
        network = self._network
        if not network.keep_trace:
            raise ValueError("the network keeps no trace of what it carries: leave keep_trace on to capture it")
        addresses = {host.name: host.address for host in network.hosts.values()}
        unread = {sent: deque(comments) for sent, comments in self._said.items()}

        def comment_on(packet: TracedPacket) -> Comment:
            # Equal octets from one host are told apart by their order alone.
            comments = unread.get((packet.source, packet.data))
            return {**comments.popleft()} if comments else {"role": packet.source, "direction": "out"}

        write_trace(Capture(file, form=form, epoch_ns=epoch_ns), network.trace, addresses, comment_on)

    def _watch(self, host: Host, stack: Stack) -> Observer:
        return _Sender(host.name, Commentary(stack, host.name), self._said)


class _Sender(Observer):
    """Comments on what one endpoint of a host sends."""

    def __init__(self, host: str, commentary: Commentary, said: dict[tuple[str, bytes], deque[Comment]]) -> None:
        self._host = host
        self._commentary = commentary
        self._said = said

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        comment = self._commentary.sent(remote, buffers[0], now)
        self._said.setdefault((self._host, b"".join(buffers)), deque()).append(comment)

    def timer_expired(self, connection: Connection, timer: int, now: float) -> None:
        self._commentary.timer_expired(connection, timer, now)

    def retransmitted(self, connection: Connection, seq: int, length: int, now: float) -> None:
        self._commentary.retransmitted(connection, seq)

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        self._commentary.state_changed(connection, after)

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        self._commentary.time_wait_ended((remote, remote_port, local_port))
