"""Write a simulated network's packets as a capture for Wireshark, with comments on the sender's state."""

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
    """Observes a network from its beginning and writes the segments that it carried.

        network = Network(seed=1)
        capture = NetworkCapture(network)
        network.run(main())
        with open("run.pcapng", "wb") as file:
            capture.write(file)

    Each segment appears once, at its sending time, with a comment (`utcp.trace.annotation`): the sending host, the
    state of its connection, the timer that caused the segment, the windows, the transit time, and `lost` or
    `duplicated` if that applies. For endpoints that started before the capture was created, the capture has the
    segments but no connection state.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._said: dict[tuple[str, bytes], deque[Comment]] = {}
        network.watches.append(self._watch)

    def write(self, file: BinaryIO, *, form: Literal["tcp", "udp"] = "tcp", epoch_ns: int = 0) -> None:
        """Write all segments sent so far to the binary `file`.

        Each call writes everything again, so that later calls need another file. `form` and `epoch_ns` are those of
        `Capture`. Raises ValueError when the network keeps no trace (`keep_trace`).
        """
        network = self._network
        if not network.keep_trace:
            raise ValueError("the network keeps no trace of what it carries: leave keep_trace on to capture it")
        addresses = {host.name: host.address for host in network.hosts.values()}
        unread = {sent: deque(comments) for sent, comments in self._said.items()}

        def comment_on(packet: TracedPacket) -> Comment:
            # Order alone distinguishes equal octets from one host.
            comments = unread.get((packet.source, packet.data))
            return {**comments.popleft()} if comments else {"role": packet.source, "direction": "out"}

        write_trace(Capture(file, form=form, epoch_ns=epoch_ns), network.trace, addresses, comment_on)

    def _watch(self, host: Host, stack: Stack) -> Observer:
        return _Sender(host.name, Commentary(stack, host.name), self._said)


class _Sender(Observer):
    """Records a comment on each segment that one endpoint of a host sends."""

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
