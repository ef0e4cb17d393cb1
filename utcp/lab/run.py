"""A run as JSON: the ladder with each segment's fields, each end's variables, timers and states, and the reasons."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Final

from utcp.lab.experiment import Experiment
from utcp.lab.play import Played, play
from utcp.lab.probe import Around, Snapshot
from utcp.lab.reasons import Reason, received, sent
from utcp.lab.words import drawing_words, name_of, translated
from utcp.scenes.text import Language
from utcp.tcp.state import CLOSED, LISTEN
from utcp.trace.ladder import Arrow, End, Rung, render_svg
from utcp.trace.ladder.explain import Step, explain
from utcp.trace.ladder.rungs import ENDS, duration
from utcp.trace.ladder.told import Json, running, told_rung
from utcp.trace.ladder.words import Clock
from utcp.wire import encode

_SECONDS: Final = ("SRTT", "RTO")
"""Variables that are times."""


def run(experiment: Experiment, language: Language = "en") -> Json:
    """Simulate an experiment, and return the result as JSON. The same experiment gives the same JSON."""
    played = play(experiment, language)
    scene = played.scene
    called = (name_of("client").in_(language), name_of("server").in_(language))
    return {
        "address": experiment.to_address(),
        "scene": experiment.scene,
        "title": scene.title.in_(language),
        "language": language,
        "parts": experiment.parts(),
        "edited": experiment.edited,
        "origin": "simulation",
        "inferred": False,
        "names": list(called),
        "intro": [paragraph.in_(language) for paragraph in scene.before],
        "outro": [paragraph.in_(language) for paragraph in scene.after],
        "svg": drawings(played.rungs, called, language),
        "rungs": _Teller(played, called).rungs(),
        "exhibits": [{"title": exhibit.title, "lines": list(exhibit.lines)} for exhibit in played.exhibits],
        "edits": _edits(played),
        "checks": [check.in_(language) for check in played.checks],
        "ending": {"kind": played.ending[0], "text": played.ending[1].in_(language)},
        "paths": {end: list(played.paths[end]) for end in ENDS},
        "duration": round(played.duration, 6),
        "packets": len(played.packets),
        "digest": played.digest,
    }


def drawings(rungs: Sequence[Rung], called: tuple[str, str], language: Language) -> Json:
    """Return the ladder for wide and for narrow screens."""
    words = drawing_words(language)
    return {
        "wide": render_svg(rungs, names=called, steps=True, words=words),
        "narrow": render_svg(rungs, names=called, steps=True, narrow=True, words=words),
    }


def _edits(played: Played) -> list[Json]:
    rung_of = {packet: index for index, packet in played.numbers.items()}
    return [
        {
            "part": applied.part,
            "found": applied.found,
            "packet": applied.packet,
            "rung": None if applied.packet is None else rung_of.get(applied.packet),
            "text": applied.said.in_(played.language),
        }
        for applied in played.applied
    ]


class _Ends:
    """What the probes saw of one end, in the order of the events."""

    def __init__(self, played: Played, end: End) -> None:
        self._sent: dict[bytes, deque[Around]] = defaultdict(deque)
        self._received: dict[bytes, deque[Around]] = defaultdict(deque)
        self._history: list[Around] = []
        for probe in played.probes[end]:
            for octets, seen in probe.sent.items():
                self._sent[octets].extend(seen)
            for octets, seen in probe.received.items():
                self._received[octets].extend(seen)
            self._history += probe.history
        self.latest: Snapshot | None = None

    def sending(self, arrow: Arrow) -> Around | None:
        return self._take(self._sent, arrow, arrow.sent)

    def arrival(self, arrow: Arrow) -> Around | None:
        return self._take(self._received, arrow, arrow.received)

    @staticmethod
    def _take(seen: dict[bytes, deque[Around]], arrow: Arrow, time: float | None) -> Around | None:
        if arrow.segment is None or time is None:
            return None
        waiting = seen.get(encode(arrow.segment), deque())
        for around in waiting:
            if around.time == time:
                waiting.remove(around)
                return around
        return None

    def event(self, time: float) -> Around | None:
        """Return what happened last at this time."""
        return next((around for around in reversed(self._history) if around.time == time and around.after), None)


class _Teller:
    """Tells a played experiment rung by rung."""

    def __init__(self, played: Played, called: tuple[str, str]) -> None:
        self._played = played
        self._language = played.language
        self._translated = translated(played.language)
        self._steps = explain(played.rungs, called, self._translated)
        self._clock = Clock(played.rungs)
        self._ends: dict[End, _Ends] = {end: _Ends(played, end) for end in ENDS}
        self._states: dict[End, int | None] = {"client": None, "server": None}
        self._parts: dict[int, list[str]] = defaultdict(list)
        self._corrupt: set[int] = set()
        for applied in played.applied:
            if applied.packet is not None and applied.found:
                self._parts[applied.packet].append(applied.part)
                if applied.part.startswith("corrupt"):
                    self._corrupt.add(applied.packet)

    def rungs(self) -> list[Json]:
        return [self._rung(index, rung, self._steps[index]) for index, rung in enumerate(self._played.rungs)]

    def _rung(self, index: int, rung: Rung, step: Step) -> Json:
        played, arrow = self._played, rung.arrow
        packet = played.numbers.get(index)
        around: dict[End, Around | None] = {"client": None, "server": None}
        decision: list[Json] = []
        if arrow is not None:
            sending = None if packet in played.forged else self._ends[arrow.sender].sending(arrow)
            arrival = self._ends[arrow.receiver].arrival(arrow)
            around = {arrow.sender: sending, arrow.receiver: arrival}
            if sending is not None:
                decision += self._decided(arrow.sender, sent(arrow))
            if arrival is not None:
                decision += self._decided(arrow.receiver, received(arrow, arrival))
        elif index:
            for end in ENDS:
                if rung.state(end) is not None or (rung.expired and rung.expired[0] == end):
                    around[end] = self._ends[end].event(rung.time)
        return {
            **told_rung(index, rung, step, self._clock),
            "packet": packet,
            "edits": self._parts.get(packet or 0, []),
            "fate": self._fate(arrow, packet),
            "injected": packet in played.forged,
            "decision": decision,
            **{end: self._end(end, rung, step, around[end]) for end in ENDS},
        }

    def _fate(self, arrow: Arrow | None, packet: int | None) -> str | None:
        if arrow is None:
            return None
        if packet in self._corrupt:
            return "corrupt"
        if arrow.received is None:
            return "lost"
        return "copy" if packet in self._played.copies or arrow.sent is None else "arrived"

    def _decided(self, end: End, reasons: list[Reason]) -> list[Json]:
        return [{"end": end, "text": said.in_(self._language), "source": source} for said, source in reasons]

    def _end(self, end: End, rung: Rung, step: Step, around: Around | None) -> Json:
        ends = self._ends[end]
        before_state = self._states[end]
        state = rung.state(end)
        if state is not None:
            self._states[end] = state
        before = after = ends.latest
        if around is not None:
            before, after = around.before, around.after or around.before
            ends.latest = after
        if self._states[end] in (CLOSED, LISTEN):
            after = ends.latest = None
        now = max(rung.state_time(end), around.time if around is not None else 0.0)
        return {
            "state": self._states[end],
            "before": before_state,
            "edge": step[end]["edge"],
            "variables": _variables(before, after),
            "touched": around is not None or state is not None,
            "timers": [] if after is None else running(after.running, now, self._translated),
        }


def _variables(before: Snapshot | None, after: Snapshot | None) -> list[Json]:
    old = {} if before is None else before.numbers
    new = {} if after is None else after.numbers
    found = []
    for name in dict.fromkeys((*old, *new)):
        was, now = (_shown(name, numbers[name]) if name in numbers else "" for numbers in (old, new))
        found.append({"name": name, "before": was, "after": now, "changed": was != now})
    return found


def _shown(name: str, value: float) -> str:
    return duration(value) if name in _SECONDS else f"{value:.0f}"
