"""The stage of a scene: two hosts in a simulated network, a recorder of both, and checks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from utcp.aio.endpoint import Endpoint
from utcp.config import Config
from utcp.scenes.text import Language, Text
from utcp.tcp.observer import Observer, Tee
from utcp.tcp.state import CLOSED, NAMES, TIME_WAIT
from utcp.tcp.transmit import Remote
from utcp.testing import Network, NetworkCapture
from utcp.trace.ladder import Arrow, End, LadderRecorder, Rung
from utcp.trace.ladder.rungs import ENDS
from utcp.wire import FIN, flag_names

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
Handler: TypeAlias = Callable[[Reader, Writer], Coroutine[Any, Any, None]]

SERVER_PORT: Final = 9000
CLIENT_PORT: Final = 50000
"""The utcp ports of the connection in the ladder, unless a scene sets others."""

CLIENT_UDP_PORT: Final = 40000

LATENCY: Final = 0.05
"""One-way delay, seconds, long enough for a ladder in milliseconds."""

PAUSE: Final = 0.5
"""Seconds between two phases, longer than a delayed ACK and a round trip, so that the phases' segments do not mix."""

OPEN: Final = "CLOSED > SYN_SENT > ESTABLISHED"
"""States of the end that opens the connection."""

ACCEPT: Final = "LISTEN > SYN_RCVD > ESTABLISHED"
"""States of the end that listens."""

ACTIVE: Final = f"{OPEN} > FIN_WAIT_1 > FIN_WAIT_2 > TIME_WAIT > CLOSED"
"""States of the end that opens and closes first."""

PASSIVE: Final = f"{ACCEPT} > CLOSE_WAIT > LAST_ACK > CLOSED"
"""States of the end that listens and closes last."""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A result below the ladder, such as the data that an application read or the state of each port. `lines` are not
    to be wrapped."""

    title: str
    lines: tuple[str, ...]


class Stage:
    """Two hosts, "client" and "server", for one run of a script. `texts` are those of the script."""

    def __init__(self, texts: Mapping[str, Text], language: Language = "en") -> None:
        self._texts = texts
        self._language: Language = language
        self.network = Network(seed=1)
        self._capture = NetworkCapture(self.network)
        # No host answers by ICMP, so that the scenes are about TCP alone.
        self.client = self.network.host("client", port_unreachable=False)
        self.server = self.network.host("server", port_unreachable=False)
        self.network.link(self.client, self.server, latency=LATENCY)
        self.recorder = LadderRecorder()
        self.rungs: list[Rung] = []
        self.exhibits: list[Exhibit] = []
        self.differences: list[str] = []
        self.captured = b""
        self.moments: dict[End, Moments] = {"client": Moments(), "server": Moments()}
        self._handling: list[asyncio.Task[None]] = []

    def run(self, script: Callable[[Stage], Awaitable[None]]) -> None:
        """Play `script`. The endpoints' segments after its end, when they are closed, are not part of the scene."""
        self.network.run(self._play(script))

    async def _play(self, script: Callable[[Stage], Awaitable[None]]) -> None:
        await script(self)
        self.rungs = self.recorder.rungs()
        file = BytesIO()
        self._capture.write(file)
        self.captured = file.getvalue()

    @property
    def now(self) -> float:
        """Return the virtual time, seconds."""
        return self.network.loop.time()

    # ------------------------------------------------------------------ playing

    async def client_endpoint(self, config: Config | None = None) -> Endpoint:
        """Start an endpoint on the client, whose connections the ladder may show."""
        config = self.configured("client", config)
        endpoint = Endpoint((None, CLIENT_UDP_PORT), config=config, observer=self.observer("client"))
        return await self.client.run(endpoint.start())

    async def server_endpoint(
        self, handler: Handler, config: Config | None = None, ports: Sequence[int] = (SERVER_PORT,)
    ) -> Endpoint:
        """Start an endpoint on the server that listens on these utcp ports, and calls `handler` for each connection."""
        config = self.configured("server", config)
        endpoint = Endpoint((None, SERVER_PORT), config=config, observer=self.observer("server"))

        async def handle(reader: Reader, writer: Writer) -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101  # a coroutine runs in a task
            self._handling.append(task)
            await handler(reader, writer)

        async def start() -> None:
            await endpoint.start()
            for port in ports:
                await endpoint.start_server(handle, port)

        await self.server.run(start())
        return endpoint

    def configured(self, end: End, config: Config | None) -> Config | None:
        """Return the configuration of an endpoint for which the script asks for `config`. Subclasses may change it."""
        return config

    def observer(self, end: End) -> Observer:
        return Tee(self.recorder.client if end == "client" else self.recorder.server, self.moments[end])

    async def served(self) -> None:
        """Wait until the server has finished with every connection so far. Raises the errors of the handlers."""
        while self._handling:
            await self._handling.pop()

    async def open(self, endpoint: Endpoint, port: int | None = CLIENT_PORT) -> tuple[Reader, Writer]:
        """Open a connection from the client's `endpoint` and utcp port `port`."""
        return await self.client.run(endpoint.open_connection("server", SERVER_PORT, local_port=port))

    async def until(self, end: End, state: int) -> None:
        """Wait until a connection of `end` enters `state` (CLOSED includes the end of its TIME_WAIT)."""
        await self.moments[end].next(state)

    def text(self, name: str, /, **values: object) -> str:
        """Return a text of the scene in the language of the stage, with `values` filled in as by str.format()."""
        return self._texts[name].format(**values).in_(self._language)

    def note(self, name: str, /, **values: object) -> None:
        """Add a text of the scene to the ladder, at this time."""
        self.recorder.note(self.text(name, **values), self.now)

    def exhibit(self, title: str, lines: Sequence[str]) -> None:
        """Show lines below the ladder. `title` is the name of a text of the scene."""
        self.exhibits.append(Exhibit(self.text(title), tuple(lines)))

    # ------------------------------------------------------------------ checking

    def expect(self, what: str, actual: object, expected: object) -> None:
        """Record a difference if the two are not equal."""
        if actual != expected:
            self.differences.append(f"{what}: {actual}, not {expected}")

    def expect_time_wait(self, end: End, seconds: float) -> None:
        """Check the duration of the last TIME_WAIT of `end`, including restarts, to a hundredth of a second."""
        lasted = self.moments[end].time_wait
        self.expect(f"TIME_WAIT of the {end}, in seconds", lasted and round(lasted, 2), round(seconds, 2))

    def expect_paths(self, client: str, server: str) -> None:
        """Check the states of both ends, in the format of `state_names`."""
        for end, path in zip(ENDS, (client, server), strict=True):
            self.expect(f"states of the {end}", state_names(self.recorder.path(end)), path)

    def expect_segments(self, arrows: Sequence[Arrow], *expected: str) -> None:
        """Check the segments, in the format of `segment_text`."""
        self.expect("segments", [segment_text(arrow) for arrow in arrows], list(expected))

    def arrows(self) -> list[Arrow]:
        """Return the segments so far, in the order of sending."""
        return [rung.arrow for rung in self.recorder.rungs() if rung.arrow is not None]

    def closing(self) -> list[Arrow]:
        """Return the segments from the first FIN on."""
        arrows = self.arrows()
        first = next((i for i, arrow in enumerate(arrows) if arrow.flags & FIN), len(arrows))
        return arrows[first:]


class Moments(Observer):
    """The times at which a connection of one end last entered each state."""

    def __init__(self) -> None:
        self._entered: dict[int, float] = {}
        self.time_wait: float | None = None
        """Duration of the last ended TIME_WAIT, seconds; None if none has ended."""
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    async def next(self, state: int) -> None:
        """Wait until a connection enters `state`."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((state, future))
        await future

    def at(self, state: int) -> float | None:
        """Return the virtual time, seconds, at which a connection last entered `state`, or None."""
        return self._entered.get(state)

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        self._enter(after, now)

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        self.time_wait = now - self._entered[TIME_WAIT]
        self._enter(CLOSED, now)

    def _enter(self, state: int, now: float) -> None:
        self._entered[state] = now
        for waiting in list(self._waiting):
            if waiting[0] == state:
                self._waiting.remove(waiting)
                waiting[1].set_result(None)


async def close(writer: Writer, errors: list[OSError] | None = None) -> None:
    """Close a connection and wait for its end. With `errors`, the error of its end is added to them, and not raised."""
    writer.close()
    try:
        await writer.wait_closed()
    except OSError as error:
        if errors is None:
            raise
        errors.append(error)


def segment_text(arrow: Arrow) -> str:
    """Return a segment as text: "client FIN,ACK 21 ack 1", "server PSH,ACK 1:16 ack 21 lost"."""
    numbers = f"{arrow.seq}:{arrow.seq + arrow.length}" if arrow.length else f"{arrow.seq}"
    ack = "" if arrow.ack is None else f" ack {arrow.ack}"
    lost = "" if arrow.received is not None else " lost"
    return f"{arrow.sender} {flag_names(arrow.flags)} {numbers}{ack}{lost}"


def state_names(path: Sequence[int]) -> str:
    """Return the states' names of RFC 9293 in order, as in "LISTEN > SYN_RCVD"."""
    return " > ".join(NAMES[state] for state in path)
