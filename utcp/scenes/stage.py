"""Where scenes are played: two hosts in a simulated network, a recorder of what both did, and checks of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from utcp.aio.endpoint import Endpoint
from utcp.config import Config
from utcp.scenes.exhibit import Exhibit
from utcp.scenes.text import Language, Text
from utcp.tcp.observer import Observer
from utcp.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    LISTEN,
    NAMES,
    SYN_RCVD,
    SYN_SENT,
    TIME_WAIT,
)
from utcp.tcp.transmit import Remote
from utcp.testing import Network, NetworkCapture
from utcp.trace.ladder import Arrow, End, LadderRecorder, Rung
from utcp.trace.tee import Tee
from utcp.wire import FIN, flag_names

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
Handler: TypeAlias = Callable[[Reader, Writer], Coroutine[Any, Any, None]]

SERVER_PORT: Final = 9000
CLIENT_PORT: Final = 50000
"""The utcp ports of the connection that the ladder shows, unless a scene says otherwise."""

CLIENT_UDP_PORT: Final = 40000

LATENCY: Final = 0.05
"""Seconds from one host to the other: long enough for a ladder in milliseconds to be read."""

PAUSE: Final = 0.5
"""Seconds between two phases, more than a delayed ACK and a round trip take: each has its segments to itself."""

ACTIVE: Final = (CLOSED, SYN_SENT, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, TIME_WAIT, CLOSED)
"""States of the end that opens and closes first."""

PASSIVE: Final = (LISTEN, SYN_RCVD, ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSED)
"""States of the end that listens and closes last."""


class Stage:
    """Two hosts, "client" and "server", and what they do: played once. `texts` are those that the script shows."""

    def __init__(self, texts: Mapping[str, Text], language: Language = "en") -> None:
        self._texts = texts
        self._language: Language = language
        self.network = Network(seed=1)
        self._capture = NetworkCapture(self.network)
        self.client = self.network.host("client")
        self.server = self.network.host("server")
        self.network.link(self.client, self.server, latency=LATENCY)
        self.recorder = LadderRecorder()
        self.rungs: list[Rung] = []
        self.exhibits: list[Exhibit] = []
        self.differences: list[str] = []
        self.captured = b""
        self.moments: dict[End, Moments] = {"client": Moments(), "server": Moments()}
        self._handling: list[asyncio.Task[None]] = []

    def run(self, script: Callable[[Stage], Awaitable[None]]) -> None:
        """Play `script`. What the endpoints do afterwards, when they are closed, is no part of the scene."""
        self.network.run(self._play(script))

    async def _play(self, script: Callable[[Stage], Awaitable[None]]) -> None:
        await script(self)
        self.rungs = self.recorder.rungs()
        file = BytesIO()
        self._capture.write(file)
        self.captured = file.getvalue()

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return self.network.loop.time()

    # ------------------------------------------------------------------ playing

    async def client_endpoint(self, config: Config | None = None) -> Endpoint:
        """An endpoint on the client, whose connections the ladder may show."""
        endpoint = Endpoint((None, CLIENT_UDP_PORT), config=config, observer=self._observer("client"))
        return await self.client.run(endpoint.start())

    async def server_endpoint(
        self, handler: Handler, config: Config | None = None, ports: Sequence[int] = (SERVER_PORT,)
    ) -> Endpoint:
        """An endpoint on the server that listens on these utcp ports, and calls `handler` for each connection."""
        endpoint = Endpoint((None, SERVER_PORT), config=config, observer=self._observer("server"))

        async def handle(reader: Reader, writer: Writer) -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101  # a coroutine runs in one
            self._handling.append(task)
            await handler(reader, writer)

        async def start() -> None:
            await endpoint.start()
            for port in ports:
                await endpoint.start_server(handle, port)

        await self.server.run(start())
        return endpoint

    def _observer(self, end: End) -> Observer:
        return Tee(self.recorder.client if end == "client" else self.recorder.server, self.moments[end])

    async def served(self) -> None:
        """Wait until the server has done with every connection that it has had so far. Raises what went wrong there."""
        while self._handling:
            await self._handling.pop()

    async def open(self, endpoint: Endpoint, port: int | None = CLIENT_PORT) -> tuple[Reader, Writer]:
        """A connection from the client's `endpoint` and utcp port `port`."""
        return await self.client.run(endpoint.open_connection("server", SERVER_PORT, local_port=port))

    async def until(self, end: End, state: int) -> None:
        """Wait until a connection of `end` enters `state` (CLOSED: also when its TIME_WAIT is over)."""
        await self.moments[end].next(state)

    def text(self, name: str, /, **values: object) -> str:
        """Return a text of the scene in the language of the stage, with `values` filled in as str.format() does."""
        return self._texts[name].format(**values).in_(self._language)

    def note(self, name: str, /, **values: object) -> None:
        """Put a text of the scene into the ladder, between what was and what will be."""
        self.recorder.note(self.text(name, **values), self.now)

    def exhibit(self, title: str, lines: Sequence[str]) -> None:
        """Show lines below the ladder. `title` is the name of a text of the scene."""
        self.exhibits.append(Exhibit(self.text(title), tuple(lines)))

    # ------------------------------------------------------------------ checking

    def expect(self, what: str, actual: object, expected: object) -> None:
        """Note a difference if the two are not equal."""
        if actual != expected:
            self.differences.append(f"{what}: {actual}, not {expected}")

    def expect_time_wait(self, end: End, seconds: float) -> None:
        """How long the last TIME_WAIT of `end` was, restarts included, to a hundredth."""
        self.expect(f"TIME_WAIT of the {end}, in seconds", round(self.moments[end].time_wait, 2), round(seconds, 2))

    def expect_paths(self, client: Sequence[int], server: Sequence[int]) -> None:
        """The states that the two ends took."""
        ends: tuple[tuple[End, Sequence[int]], ...] = (("client", client), ("server", server))
        for end, path in ends:
            self.expect(f"states of the {end}", state_names(self.recorder.path(end)), state_names(path))

    def expect_segments(self, arrows: Sequence[Arrow], *expected: str) -> None:
        """The segments, as `told` tells them."""
        self.expect("segments", [told(arrow) for arrow in arrows], list(expected))

    def arrows(self) -> list[Arrow]:
        """The segments so far, in the order in which they were sent."""
        return [rung.arrow for rung in self.recorder.rungs() if rung.arrow is not None]

    def closing(self) -> list[Arrow]:
        """The segments from the first FIN on."""
        arrows = self.arrows()
        first = next((i for i, arrow in enumerate(arrows) if arrow.flags & FIN), len(arrows))
        return arrows[first:]


class Moments(Observer):
    """When a connection of one end last entered which state."""

    def __init__(self) -> None:
        self._entered: dict[int, float] = {}
        self.time_wait = 0.0
        """How many seconds the TIME_WAIT that ended last had lasted."""
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    async def next(self, state: int) -> None:
        """Wait until a connection enters `state`."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((state, future))
        await future

    def at(self, state: int) -> float | None:
        """When a connection last entered `state`, in seconds of virtual time; None: none did."""
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


def told(arrow: Arrow) -> str:
    """A segment in short: "client FIN,ACK 21 ack 1", "server PSH,ACK 1:16 ack 21 lost"."""
    numbers = f"{arrow.seq}:{arrow.seq + arrow.length}" if arrow.length else f"{arrow.seq}"
    ack = "" if arrow.ack is None else f" ack {arrow.ack}"
    lost = "" if arrow.received is not None else " lost"
    return f"{arrow.sender} {flag_names(arrow.flags)} {numbers}{ack}{lost}"


def state_names(path: Sequence[int]) -> str:
    """The states as RFC 9293 names them, one after the other."""
    return " > ".join(NAMES[state] for state in path)
