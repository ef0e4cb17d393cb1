"""The ladders of a simulated network's connections, to explain a failure."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from utcp.testing.capture import NetworkCapture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from utcp.testing.network import Network
    from utcp.trace.connections import CapturedConnection
    from utcp.trace.ladder import Rung

_LADDERS: Final = 3
_ROWS: Final = 30
_RUNGS: Final = 300
"""Most rungs of a page, the latest. The time to arrange them grows faster than their number."""
_PACKETS: Final = 20_000
"""Most packets of a network that are read for ladders."""


class Ladder(NamedTuple):
    """The ladder of one connection."""

    names: tuple[str, str]
    """The hosts of client and server, with their ports."""
    rungs: Sequence[Rung]

    @property
    def title(self) -> str:
        return " > ".join(self.names)

    def text(self) -> str:
        """Return the last rows as text."""
        from utcp.trace.ladder import render_text  # a failing run alone needs it

        heading, *rows = render_text(self.rungs, names=self.names).splitlines()
        left_out = len(rows) - _ROWS
        marks = [f"  ({left_out} rows before)"] if left_out > 0 else []
        return "\n".join([f"{self.title}, states inferred from the segments", heading, *marks, *rows[-_ROWS:]])

    def page(self) -> str:
        """Return the ladder, or the end of a long one, as an HTML page."""
        from utcp.trace.ladder import render_html

        left_out = len(self.rungs) - _RUNGS
        title = f"{self.title} ({left_out} segments before)" if left_out > 0 else self.title
        return render_html(self.rungs[-_RUNGS:], title=title, names=self.names)


def explain(network: Network, most: int = _LADDERS) -> list[Ladder]:
    """Return the ladders of the connections with the latest segments, at most `most`, the latest first. Empty if the
    network keeps no trace, or too long a one."""
    from utcp.trace.capture_file import read_capture
    from utcp.trace.connections import assigned
    from utcp.trace.ladder.from_capture import rungs_from_capture

    if not 0 < len(network.trace) <= _PACKETS or not network.keep_trace:
        return []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.pcapng"
        with path.open("wb") as file:
            NetworkCapture(network).write(file)
        captured = read_capture(path)
    latest: dict[CapturedConnection, None] = {}
    for _, _, connection in assigned([captured]):
        latest.pop(connection, None)
        latest[connection] = None
    hosts = {host.address: host.name for host in network.hosts.values()}
    ladders = []
    for connection in list(latest)[: -most - 1 : -1]:
        ends = (connection.client, connection.server)
        client, server = (f"{hosts.get(end.host, end.host)}:{end.tcp_port}" for end in ends)
        ladders.append(Ladder((client, server), rungs_from_capture([captured], connection)))
    return ladders
