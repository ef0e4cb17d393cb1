"""Writes a simulated network's packets as a capture for Wireshark, with comments on the sender's state."""

from __future__ import annotations

from collections import deque
from typing import BinaryIO, Literal

from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack
from utcp.tcp.transmit import Buffer, Remote
from utcp.testing.host import Host
from utcp.testing.network import Network
from utcp.trace.comments import Comment, Commentary, format_comment
from utcp.trace.pcapng import Capture


class NetworkCapture:
    """Observes a network from its beginning and writes the segments that it carried.

        network = Network(seed=1)
        capture = NetworkCapture(network)
        network.run(main())
        with open("run.pcapng", "wb") as file:
            capture.write(file)

    Each segment appears once, at its sending time, with a comment (`utcp.trace.comments`): the sending host, the state
    of its connection, the timer that caused the segment, the windows, the transit time, and `lost` or `duplicated` if
    that applies. For endpoints that started before the capture was created, the capture has the segments but no
    connection state. Datagrams that are not segments are left out. The trace has no UDP ports; the segment's ports,
    which are the same on servers, replace them.
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
            raise ValueError("the network keeps no trace of its packets: leave keep_trace on")
        capture = Capture(file, form=form, epoch_ns=epoch_ns)
        unread = {sent: deque(comments) for sent, comments in self._said.items()}
        for sent in network.trace:
            packet, segment = sent.packet, sent.packet.segment
            if segment is None:
                continue
            # Order alone distinguishes equal octets from one host.
            comments = unread.get((packet.source, packet.data))
            comment: Comment = {**comments.popleft()} if comments else {"role": packet.source, "direction": "out"}
            if len(sent.arrivals) != 1:
                comment["duplicated" if sent.arrivals else "lost"] = True
            if sent.arrivals:
                sent_ns = round(packet.time * 1_000_000_000)
                flights = [round(time * 1_000_000_000) - sent_ns for time in sorted(sent.arrivals)]
                comment["flight"] = ",".join(f"{flight / 1e9:.9f}".rstrip("0").rstrip(".") for flight in flights)
            source = (network.hosts[packet.source].address, segment.src_port)
            destination = (network.hosts[packet.destination].address, segment.dst_port)
            capture.packet(packet.time, source, destination, packet.data, format_comment(comment))

    def _watch(self, host: Host, stack: Stack) -> Observer:
        return _Sender(host.name, stack, self._said)


class _Sender(Commentary):
    """Records a comment on each segment that one endpoint of a host sends."""

    def __init__(self, host: str, stack: Stack, said: dict[tuple[str, bytes], deque[Comment]]) -> None:
        super().__init__(stack, host)
        self._host = host
        self._said = said

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        comment = self.on_sent(remote, buffers[0], now)
        self._said.setdefault((self._host, b"".join(buffers)), deque()).append(comment)
