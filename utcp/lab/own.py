"""The scene `own`, whose script is part of the experiment: what each end does, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Final

from utcp.aio.endpoint import Endpoint
from utcp.lab.words import tables
from utcp.scenes.scene import Scene
from utcp.scenes.stage import CLIENT_PORT, CLIENT_UDP_PORT, SERVER_PORT, Reader, Stage, Writer
from utcp.scenes.text import Text, texts_of
from utcp.trace.ladder import End
from utcp.trace.ladder.rungs import ENDS, PEER

if TYPE_CHECKING:
    from utcp.lab.experiment import Action

FIRST: Final = ord("a")
LATER: Final = ord("A")
"""The data is the alphabet, again and again: small letters in the first connection, capital letters in later ones."""

OLD: Final = "a-z (!)"
"""The mark of small letters that a later connection has read."""
_SHOWN: Final = {"small": "a-z", "capital": "A-Z", "other": "!"}

_PORTS: Final[dict[End, int]] = {"client": CLIENT_PORT, "server": SERVER_PORT}
_UDP_PORTS: Final[dict[End, int]] = {"client": CLIENT_UDP_PORT, "server": SERVER_PORT}


class _Player:
    """One end: its endpoint and its connection. It reads all that arrives."""

    def __init__(self, stage: Stage, end: End, endpoint: Endpoint, writers: list[Writer]) -> None:
        self._stage = stage
        self._writers = writers
        self._end: End = end
        self._endpoint = endpoint
        self._writer: Writer | None = None
        self._sent = 0
        self._has_finished = False
        self._reading: list[asyncio.Task[None]] = []
        self.read: list[bytearray] = []
        """The data of each connection."""

    def accept(self, reader: Reader, writer: Writer) -> None:
        self._writer = writer
        self._writers.append(writer)
        self._sent = 0
        self._has_finished = False
        read = bytearray()
        self.read.append(read)
        self._reading.append(asyncio.get_running_loop().create_task(self._read(reader, read)))

    async def accepted(self, reader: Reader, writer: Writer) -> None:
        """Handle a connection that the peer has opened."""
        self.accept(reader, writer)

    async def _read(self, reader: Reader, read: bytearray) -> None:
        try:
            while data := await reader.read(1 << 16):
                read += data
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        name = self._stage.text(self._end)
        self._stage.note("error", end=name, error=type(error).__name__, said=str(error) or type(error).__name__)

    async def perform(self, action: Action) -> None:
        stage = self._stage
        await asyncio.sleep(action.time - stage.now)
        peer = PEER[self._end]
        name = stage.text(self._end)
        try:
            if action.kind == "listen":
                await self._endpoint.start_server(self.accepted, _PORTS[self._end])
            elif action.kind == "open":
                stage.note("open", end=name)
                self._writer = None
                reader, writer = await self._endpoint.open_connection(
                    peer, _PORTS[peer], udp_port=_UDP_PORTS[peer], local_port=_PORTS[self._end]
                )
                self.accept(reader, writer)
            elif self._writer is None:
                stage.note("no_connection", end=name, action=action.kind)
            elif self._has_finished and action.kind in ("send", "finish"):
                stage.note("has_finished", end=name, action=action.kind)
            else:
                stage.note(action.kind, end=name, octets=action.octets)
                self._act(self._writer, action)
        except OSError as error:
            self._tell(error)

    def _act(self, writer: Writer, action: Action) -> None:
        self._has_finished |= action.kind != "send"
        if action.kind == "send":
            letter = FIRST if len(self.read) == 1 else LATER
            writer.write(bytes(letter + index % 26 for index in range(self._sent, self._sent + action.octets)))
            self._sent += action.octets
        elif action.kind == "finish":
            writer.write_eof()
        elif action.kind == "close":
            writer.close()
        else:
            writer.transport.abort()

    async def finish(self) -> None:
        """Wait until all that arrives has been read, and the connection is closed."""
        if self._reading:
            await asyncio.wait(self._reading)
        if self._writer is not None:
            self._writer.close()  # after a half-close, this is the end of the other direction
            try:
                await self._writer.wait_closed()
            except OSError:  # the reader or the last action has told of it
                return


async def play_own(stage: Stage, actions: Sequence[Action], writers: list[Writer]) -> None:
    """Play a script of one's own on a stage. All writers are added to `writers`, because some may stay open."""
    players: dict[End, _Player] = {}
    for end in ENDS:
        endpoint = Endpoint((None, _UDP_PORTS[end]), config=stage.configured(end, None), observer=stage.observer(end))
        host = stage.client if end == "client" else stage.server
        await host.run(endpoint.start())
        players[end] = _Player(stage, end, endpoint, writers)
    running = []
    for action in actions:
        host = stage.client if action.end == "client" else stage.server
        running.append(host.run(players[action.end].perform(action)))
    if running:
        await asyncio.wait(running)
    for player in players.values():
        await player.finish()
    for end in ENDS:
        lines = list(_lines(stage, players[end].read))
        if lines:
            stage.exhibit(f"{end}_read", lines)


def _lines(stage: Stage, read: Sequence[bytearray]) -> Iterator[str]:
    """Yield what each connection has read: its runs of small letters, capital letters, and other octets."""
    for number, data in enumerate(read, 1):
        start = 0
        for kind, run in groupby(data, key=_kind):
            length = sum(1 for _ in run)
            shown = OLD if kind == "small" and number > 1 else _SHOWN[kind]
            yield stage.text("run", number=number, first=start + 1, last=start + length, letters=shown)
            start += length


def _kind(octet: int) -> str:
    letter = chr(octet)
    return "small" if letter.islower() else "capital" if letter.isupper() else "other"


def _scene() -> Scene:
    found = tables("own")
    return Scene(
        name="own",
        title=Text(**found["title"]),
        before=tuple(Text(**text) for text in found["before"]),
        after=(),
        sources=found["sources"],
        knobs="",
        texts=texts_of(found["texts"]),
        script=lambda stage: play_own(stage, (), []),
    )


OWN_SCENE: Final = _scene()
