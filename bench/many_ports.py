"""Endpoints for more connections than one pair of ports allows.

Both UDP addresses and both utcp ports identify a connection. With one UDP socket at each end and one listening port,
only the client's ephemeral port differs, and there are 28,232 by default. Therefore the server listens on several utcp
ports behind its one UDP port. For kernel TCP one port suffices, because it runs out of descriptors earlier.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import utcp

from .frame import Trial
from .peers import find
from .stacks import BACKLOG, Setting, StreamApp, Streams

PER_PORT: Final = 10_000
"""Maximum number of connections to one listening port. Ports of earlier connections in TIME_WAIT are not free."""

_FIRST_PORT: Final = 1000


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends, in this process. `endpoints` are utcp's, for inspection."""

    connect: Callable[[], Awaitable[Streams]]
    endpoints: list[utcp.Endpoint] = field(default_factory=list)

    @property
    def time_wait(self) -> int:
        """Return the number of connections in TIME_WAIT (0 for kernel TCP, where it is unknown)."""
        return sum(len(endpoint.stack.time_wait) for endpoint in self.endpoints)

    def left(self) -> int:
        """Return the number of objects left in utcp: connections, transports, TIME_WAIT records, and endpoints with a
        timer."""
        return sum(
            len(endpoint.stack.connections)
            + len(endpoint.driver.transports)
            + len(endpoint.stack.time_wait)
            + (endpoint.stack.next_timeout() is not None)
            for endpoint in self.endpoints
        )

    def end_time_wait(self) -> None:
        """Advance the stacks' time by 2 MSL. Only for the end of a measurement, because their time continues from
        there."""
        for endpoint in self.endpoints:
            endpoint.stack.handle_timeout(endpoint.link.now() + 2 * endpoint.config.msl + 1)


@asynccontextmanager
async def open_ends(trial: Trial, app: StreamApp, connections: int) -> AsyncIterator[Ends]:
    """Serve `app` on as many ports as `connections` need."""
    setting = Setting(trial.host)
    if trial.stack != "utcp":
        stack = find(trial.stack)
        async with stack.serve(app, setting) as server, stack.dial(server.address, setting) as client:
            yield Ends(client.connect)
        return
    async with utcp.Endpoint((trial.host, 0)) as serving, utcp.Endpoint((trial.host, 0)) as connecting:
        ports = list(range(_FIRST_PORT, _FIRST_PORT + -(-connections // PER_PORT)))
        for port in ports:
            await serving.start_server(app.handle, port, backlog=BACKLOG)
        udp_port = serving.address[1]
        number = count()

        def connect() -> Awaitable[Streams]:
            port = ports[next(number) // PER_PORT % len(ports)]
            return connecting.open_connection(trial.host, port, udp_port=udp_port)

        yield Ends(connect, [serving, connecting])
