"""Plays an experiment: the script of a scene on its stage, with changed settings, packets and injected segments."""

from __future__ import annotations

import asyncio
import contextvars
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from typing import Any, Final, Literal

from utcp.aio.endpoint import Endpoint
from utcp.config import Config
from utcp.lab.experiment import KINDS, OWN, Edit, Experiment, Injection
from utcp.lab.own import OWN_SCENE, play_own
from utcp.lab.probe import Probe, is_busy
from utcp.lab.settings import changed_config, latency_of
from utcp.lab.words import checked, name_of, number, shown, text
from utcp.scenes import load
from utcp.scenes.scene import Scene
from utcp.scenes.stage import CLIENT_PORT, CLIENT_UDP_PORT, SERVER_PORT, Exhibit, Handler, Reader, Stage, Writer
from utcp.scenes.text import Language, Text
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack
from utcp.tcp.time_wait import ConnectionKey
from utcp.testing import DROP, PASS, Packet, Verdict
from utcp.testing.host import Host
from utcp.trace.ladder import End, Rung
from utcp.trace.ladder.rungs import ENDS, PEER
from utcp.wire import ACK, SYN, Segment, encode
from utcp.wire.seq import MASK

MAX_PACKETS: Final = 500
MAX_SECONDS: Final = 4000.0
"""Virtual seconds after which a run is ended."""
IDLE: Final = 130.0
"""Virtual seconds after which a script that waits while the protocol has nothing to do counts as waiting for ever. The
scenes' own longest silence is 90 s, and keepalive takes 110 s to find a dead peer."""
_STEP: Final = 1.0
"""Virtual seconds between two looks at whether the run is over."""
_FORGED_SYN: Final = 1_000_000
"""Relative sequence number of a forged SYN, unless the experiment says otherwise."""
_MSS: Final = 1460
_WINDOW: Final = 65535

EndingKind = Literal["finished", "error", "waiting", "limit"]


@dataclass(slots=True)
class Applied:
    """What became of an edit or an injected segment. `packet` is the number of the packet, if there is one."""

    part: str
    packet: int | None
    found: bool
    said: Text


@dataclass(slots=True)
class Played:
    """The result of an experiment, before it is told."""

    experiment: Experiment
    scene: Scene
    language: Language
    rungs: list[Rung] = field(default_factory=list)
    exhibits: list[Exhibit] = field(default_factory=list)
    checks: list[Text] = field(default_factory=list)
    """The script's checks that do not hold."""
    ending: tuple[EndingKind, Text] = ("finished", Text("-", "-"))
    applied: list[Applied] = field(default_factory=list)
    paths: dict[End, tuple[int, ...]] = field(default_factory=dict)
    packets: list[Packet] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)
    """Number of the packet, by the index of the rung."""
    forged: set[int] = field(default_factory=set)
    """Numbers of injected packets."""
    copies: set[int] = field(default_factory=set)
    """Numbers of packets that the network has duplicated, as the experiment wants it."""
    probes: dict[End, list[Probe]] = field(default_factory=dict)
    duration: float = 0.0
    digest: str = ""


def scene_of(experiment: Experiment) -> Scene:
    """Return the scene of an experiment."""
    if experiment.scene == OWN:
        return OWN_SCENE
    return load(experiment.scene)


def play(experiment: Experiment, language: Language = "en") -> Played:
    """Play an experiment. The same experiment gives the same packets at the same times."""
    scene = scene_of(experiment)
    played = Played(experiment, scene, language)
    stage = _LabStage(scene.texts, language, played)
    script = scene.script
    if experiment.scene == OWN:
        script = partial(play_own, actions=experiment.actions, writers=stage.writers)
    stage.direct(script)
    return played


class _LabStage(Stage):
    """A stage whose network and endpoints are those of an experiment."""

    def __init__(self, texts: Mapping[str, Text], language: Language, played: Played) -> None:
        super().__init__(texts, language)
        self._played = played
        self._experiment = experiment = played.experiment
        latency = latency_of(experiment.settings)
        if latency is not None:
            self.network.link(self.client, self.server, latency=latency)
        self._edits: dict[int, list[Edit]] = defaultdict(list)
        for edit in experiment.edits:
            self._edits[edit.packet].append(edit)
        self._hosts: dict[End, Host] = {"client": self.client, "server": self.server}
        self._initial: dict[End, dict[ConnectionKey, tuple[int, int]]] = {"client": {}, "server": {}}
        self._stamps: dict[End, tuple[Segment, float]] = {}
        """The latest segment with a timestamp and its time, by its sender."""
        self._latest: dict[End, Segment] = {}
        self._quiet_since = 0.0
        self._pending = len(experiment.injections)
        self._last_action = max((action.time for action in experiment.actions), default=0.0)
        self.writers: list[Writer] = []
        """The applications' ends of the connections, which a script that fails leaves open."""
        self._full = False
        played.probes = {"client": [], "server": []}
        self.network.watches.append(self._watch)

    def _watch(self, host: Host, stack: Stack) -> Observer:
        end: End = "client" if host is self.client else "server"
        probe = Probe(stack, self._initial[end])
        self._played.probes[end].append(probe)
        return probe

    def expect(self, what: str, actual: object, expected: object) -> None:
        if actual == expected:
            return
        if isinstance(actual, list) and isinstance(expected, list):  # the first element that differs is enough
            for place, (is_, should_be) in enumerate(zip_longest(actual, expected), 1):
                if is_ != should_be:
                    self._played.checks.append(
                        text("check_one", what=checked(what), place=place, actual=shown(is_), expected=shown(should_be))
                    )
                    return
        self._played.checks.append(text("check", what=checked(what), actual=shown(actual), expected=shown(expected)))

    def configured(self, end: End, config: Config | None) -> Config | None:
        return changed_config(config or Config(), end, self._experiment.settings)

    async def server_endpoint(
        self, handler: Handler, config: Config | None = None, ports: Sequence[int] = (SERVER_PORT,)
    ) -> Endpoint:
        async def handle(reader: Reader, writer: Writer) -> None:
            self.writers.append(writer)
            await handler(reader, writer)

        return await super().server_endpoint(handle, config, ports)

    async def open(self, endpoint: Endpoint, port: int | None = CLIENT_PORT) -> tuple[Reader, Writer]:
        reader, writer = await super().open(endpoint, port)
        self.writers.append(writer)
        return reader, writer

    # ------------------------------------------------------------------ directing

    def direct(self, script: Callable[[Stage], Awaitable[None]]) -> None:
        """Play `script`, and let the protocol run to its end if the script fails or waits for ever."""
        self.network.loop.set_exception_handler(_contain)
        try:
            self.network.run(self._direct(script))
        except ExceptionGroup as errors:  # of programs on the hosts, for which the script did not wait
            self._played.ending = "error", _ending("error", errors.exceptions[0], self.now)

    async def _direct(self, script: Callable[[Stage], Awaitable[None]]) -> None:
        loop, played = self.network.loop, self._played
        outside = contextvars.Context()
        for injection in self._experiment.injections:
            loop.call_at(injection.time, self._inject, injection, context=outside)
        with self.network.rule(self._decide):
            playing = asyncio.ensure_future(script(self))
            kind = await self._until_over(playing)
            error = None if not playing.done() or playing.cancelled() else playing.exception()
            if isinstance(error, Exception):
                kind = "error"
                self._quiet_since = self.now
                await self._until_quiet()
            elif playing.done() and (self._pending or self._experiment.scene == OWN):
                await self._until_quiet()  # the scenes' scripts have their own end
        self.rungs = self.recorder.rungs()
        played.ending = kind, _ending(kind, error, self._latest_event() if kind == "waiting" else self.now)
        played.rungs, played.exhibits = self.rungs, self.exhibits
        played.paths = {end: self.recorder.path(end) for end in ENDS}
        played.duration = self.now
        played.digest = self.network.digest()
        self._number_packets()
        self._report_unfound()
        for writer in self.writers:
            writer.close()

    def _latest_event(self) -> float:
        """Return the time of the last event in the ladder, seconds."""
        times = [0.0]
        for rung in self.rungs:
            times += [rung.time, (rung.arrow and rung.arrow.received) or 0.0]
        return max(times)

    async def _until_over(self, playing: asyncio.Future[None]) -> EndingKind:
        while not playing.done():
            await asyncio.wait([playing], timeout=_STEP)
            if self._full or self.now > MAX_SECONDS:
                return "limit"
            if not playing.done() and self._is_idle():
                return "waiting"
        return "finished"

    async def _until_quiet(self) -> None:
        """Wait until the protocol has nothing more to do."""
        while (self._is_busy() or self.now - self._quiet_since < 2 * _STEP) and not self._full:
            if self.now > MAX_SECONDS:
                return
            await asyncio.sleep(_STEP)

    def _is_busy(self) -> bool:
        return bool(self._pending or self.now < self._last_action) or any(
            is_busy(probes[-1].stack) for probes in self._played.probes.values() if probes
        )

    def _is_idle(self) -> bool:
        if self._is_busy():
            self._quiet_since = self.now
        return self.now - self._quiet_since > IDLE

    # ------------------------------------------------------------------ packets

    def _decide(self, packet: Packet) -> Verdict | float:
        end: End = "client" if packet.source == "client" else "server"
        segment = packet.segment
        played = self._played
        number_ = packet.number + 1
        if segment is not None and number_ not in played.forged:
            self._latest[end] = segment
            if segment.ts_val is not None:
                self._stamps[end] = segment, packet.time
        if number_ > MAX_PACKETS:
            self._full = True
            return DROP
        verdict: Verdict | float = PASS
        for edit in self._edits.pop(number_, ()):
            played.applied.append(self._applied(edit))
            if edit.kind in ("lose", "corrupt"):
                verdict = DROP
            elif edit.kind == "delay":
                verdict = edit.seconds
            else:
                self._pending += 1
                self.network.loop.call_later(edit.seconds, self._copy, packet, context=contextvars.Context())
        return verdict

    @staticmethod
    def _applied(edit: Edit) -> Applied:
        key = "copied_later" if edit.kind == "duplicate" and edit.seconds else f"applied_{edit.kind}"
        said = text(key, packet=edit.packet, seconds=number(edit.seconds))
        return Applied(edit.part(), edit.packet, found=True, said=said)

    def _copy(self, packet: Packet) -> None:
        self._pending -= 1
        self._played.copies.add(self.network.sent + 1)
        self._carry("client" if packet.source == "client" else "server", packet.data, packet.ecn)

    def _inject(self, injection: Injection) -> None:
        self._pending -= 1
        played, end = self._played, injection.end
        segment = self._forge(injection)
        self._played.forged.add(self.network.sent + 1)
        packet = self.network.sent + 1
        self.recorder.forged(end, segment, self.now)
        said = text("injected", end=name_of(end), kind=injection.kind, packet=packet)
        played.applied.append(Applied(injection.part(), packet, found=True, said=said))
        self._carry(end, encode(segment))

    def _carry(self, end: End, data: bytes, ecn: int = 0) -> None:
        addresses: dict[End, tuple[str, int]] = {
            "client": (self.client.address, CLIENT_UDP_PORT),
            "server": (self.server.address, SERVER_PORT),
        }
        self.network.carry(self._hosts[end], addresses[end], addresses[PEER[end]], data, ecn)

    def _forge(self, injection: Injection) -> Segment:
        """Return the segment of an injection: what `end` could send now, unless the experiment says otherwise."""
        end, peer, flags = injection.end, PEER[injection.end], KINDS[injection.kind]
        ends = {"client": self.recorder.client, "server": self.recorder.server}
        client_port, server_port = self.recorder.ports or (CLIENT_PORT, SERVER_PORT)
        ports = (client_port, server_port) if end == "client" else (server_port, client_port)
        seq, ack = (
            (ends[which].isns[-1] + relative) & MASK if ends[which].isns else relative & MASK
            for which, relative in ((end, injection.seq or 0), (peer, injection.ack or 0))
        )
        if injection.seq is None:
            seq = (seq + _FORGED_SYN) & MASK if flags & SYN else ends[end].snd_max or seq
        if injection.ack is None:
            ack = ends[peer].snd_max or ack
        ts_val = ts_ecr = None
        if injection.ts is not None and end in self._stamps:
            stamped, at = self._stamps[end]
            ts_val = ((stamped.ts_val or 0) + round((self.now - at) * 1000) + injection.ts) & MASK
            ts_ecr = self._stamps[peer][0].ts_val if flags & ACK and peer in self._stamps else 0
        latest = self._latest.get(end)
        return Segment(
            *ports,
            seq,
            ack if flags & ACK else 0,
            flags,
            _WINDOW if latest is None or flags & SYN else latest.window,
            bytes(ord("!") for _ in range(injection.length)),
            ts_val=ts_val,
            ts_ecr=ts_ecr,
            mss=_MSS if flags & SYN else None,
        )

    # ------------------------------------------------------------------ afterwards

    def _number_packets(self) -> None:
        """Find the packet of each rung, by its sender, its octets, and its time of sending or of arrival."""
        sent: dict[tuple[str, bytes, float], deque[int]] = defaultdict(deque)
        arrived: dict[tuple[str, bytes, float], deque[int]] = defaultdict(deque)
        for entry in self.network.trace:
            packet, segment = entry.packet, entry.packet.segment
            self._played.packets.append(packet)
            if segment is None:
                continue
            octets = encode(segment)
            sent[packet.source, octets, packet.time].append(packet.number + 1)
            for time in entry.arrivals:
                arrived[packet.source, octets, time].append(packet.number + 1)
        used: set[int] = set()
        for index, rung in enumerate(self.rungs):
            arrow = rung.arrow
            if arrow is None or arrow.segment is None or arrow.sent is None:
                continue
            candidates = sent[arrow.sender, encode(arrow.segment), arrow.sent]
            if candidates:
                self._played.numbers[index] = candidates.popleft()
                used.add(self._played.numbers[index])
        for index, rung in enumerate(self.rungs):
            arrow = rung.arrow
            if arrow is None or arrow.segment is None or arrow.sent is not None or arrow.received is None:
                continue
            for candidate in arrived[arrow.sender, encode(arrow.segment), arrow.received]:
                if candidate not in used:
                    self._played.numbers[index] = candidate
                    used.add(candidate)
                    break
        self._played.numbers = dict(sorted(self._played.numbers.items()))

    def _report_unfound(self) -> None:
        played = self._played
        sent = len(played.packets)
        for edits in self._edits.values():
            for edit in edits:
                there = edit.packet <= sent
                key = "scene_loses" if there else "no_packet"
                said = text(key, packet=edit.packet, sent=sent)
                played.applied.append(Applied(edit.part(), edit.packet if there else None, found=False, said=said))
        made = {applied.part for applied in played.applied}
        for injection in self._experiment.injections:
            if injection.part() not in made:
                said = text("too_late", time=number(injection.time), end=number(round(self.now, 6)))
                played.applied.append(Applied(injection.part(), None, found=False, said=said))
        order = {part: place for place, part in enumerate(self._experiment.parts())}
        played.applied.sort(key=lambda applied: order[applied.part])


def _contain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report the errors of plain callbacks, which are bugs. Those of the scene's tasks are part of the run."""
    if "handle" in context:
        loop.default_exception_handler(context)


def _ending(kind: EndingKind, error: BaseException | None, now: float) -> Text:
    if kind == "error" and error is not None:
        return text("ended_error", error=type(error).__name__, said=str(error) or type(error).__name__)
    return text(f"ended_{kind}", seconds=number(round(now, 3)), packets=MAX_PACKETS)
