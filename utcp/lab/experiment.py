"""An experiment as a value, and as a short text: the address that a page keeps in its fragment.

    lost-last-ack?msl=2&lose=9&delay=12:0.3

The scene comes first, then settings, steps of the script (in the scene `own` only), edits of packets, and injected
segments. `utcp/lab/README.md` lists the parts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args
from urllib.parse import unquote

from utcp.lab.settings import Chosen, ExperimentError, is_setting, parse_setting
from utcp.lab.words import number, quoted, text
from utcp.scenes import NAMES
from utcp.trace.ladder import End
from utcp.trace.ladder.rungs import ENDS
from utcp.wire import ACK, FIN, PSH, RST, SYN

OWN: Final = "own"
"""The scene whose script is part of the experiment."""

SCENES: Final = (*NAMES, OWN)

EditKind: TypeAlias = Literal["lose", "delay", "duplicate", "corrupt"]
EDITS: Final[tuple[EditKind, ...]] = get_args(EditKind)

ActionKind: TypeAlias = Literal["open", "listen", "send", "finish", "close", "abort"]
ACTIONS: Final[tuple[ActionKind, ...]] = get_args(ActionKind)

KINDS: Final = {
    "SYN": SYN,
    "SYN-ACK": SYN | ACK,
    "RST": RST,
    "RST-ACK": RST | ACK,
    "FIN": FIN | ACK,
    "ACK": ACK,
    "DATA": PSH | ACK,
}
"""The control bits of the segments that can be injected."""

MAX_PARTS: Final = 60
MAX_PACKET: Final = 9999
MAX_TIME: Final = 3600.0
"""Seconds of virtual time."""
MAX_OCTETS: Final = 100_000
"""Octets that a step of a script sends."""
MAX_SEGMENT: Final = 1400
"""Octets of data in an injected segment."""
DATA: Final = 10
"""The same, unless the experiment says otherwise."""
MAX_NUMBER: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of the fate of packet number `packet`, from 1 in order of sending. `seconds` is the additional delay, or
    the delay of the copy."""

    kind: EditKind
    packet: int
    seconds: float = 0.0

    def part(self) -> str:
        """Return the part of the address."""
        return f"{self.kind}={self.packet}" + (f":{number(self.seconds)}" if self.seconds else "")


@dataclass(frozen=True, slots=True)
class Injection:
    """A forged segment that comes from `end` at `time`, virtual seconds.

    `seq` and `ack` are relative to the connection; None: the next ones. `ts` is the time by which its timestamp differs
    from the right one, milliseconds; None: it has no timestamp.
    """

    end: End
    time: float
    kind: str
    seq: int | None = None
    ack: int | None = None
    length: int = 0
    ts: int | None = 0

    def part(self) -> str:
        """Return the part of the address."""
        fields = [f"{name}={value}" for name, value in (("seq", self.seq), ("ack", self.ack)) if value is not None]
        if self.length != (DATA if self.kind == "DATA" else 0):
            fields.append(f"length={self.length}")
        if self.ts != 0:
            fields.append(f"ts={'none' if self.ts is None else self.ts}")
        return ",".join([f"inject={self.end}@{number(self.time)}:{self.kind}", *fields])


@dataclass(frozen=True, slots=True)
class Action:
    """A step of a script of one's own: what `end` does at `time`, virtual seconds."""

    end: End
    time: float
    kind: ActionKind
    octets: int = 0

    def part(self) -> str:
        """Return the part of the address."""
        return f"do={self.end}@{number(self.time)}:{self.kind}" + (f",{self.octets}" if self.kind == "send" else "")


DEFAULT_SCRIPT: Final = (
    Action("server", 0.0, "listen"),
    Action("client", 0.0, "open"),
    Action("client", 0.5, "send", 30),
    Action("client", 1.0, "finish"),
    Action("server", 1.5, "send", 20),
    Action("server", 2.0, "close"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A scene with settings, edits of packets, injected segments and, in the scene `own`, the script.

    Two experiments that differ only in the order of their parts are equal.
    """

    scene: str
    settings: tuple[Chosen, ...] = ()
    actions: tuple[Action, ...] = ()
    edits: tuple[Edit, ...] = ()
    injections: tuple[Injection, ...] = ()

    def __post_init__(self) -> None:
        actions = self.actions or (DEFAULT_SCRIPT if self.scene == OWN else ())
        edits = sorted(dict.fromkeys(self.edits), key=lambda edit: (edit.packet, EDITS.index(edit.kind)))
        object.__setattr__(self, "settings", tuple(sorted(self.settings, key=lambda chosen: chosen.order)))
        object.__setattr__(self, "actions", tuple(sorted(actions, key=lambda action: action.time)))
        object.__setattr__(self, "edits", tuple(edits))
        object.__setattr__(self, "injections", tuple(sorted(self.injections, key=lambda one: one.time)))
        self._check()

    def _check(self) -> None:
        if self.scene not in SCENES:
            raise ExperimentError(text("unknown_scene", name=quoted(self.scene), scenes=", ".join(SCENES)))
        if self.actions and self.scene != OWN:
            raise ExperimentError(text("own_only", scene=OWN))
        if len(self.parts()) > MAX_PARTS:
            raise ExperimentError(text("too_many_parts", most=MAX_PARTS))
        name, times = Counter(one.name for one in self.settings).most_common(1)[0] if self.settings else ("", 0)
        if times > 1:
            raise ExperimentError(text("chosen_twice", name=name))
        fates = Counter(edit.packet for edit in self.edits if edit.kind != "duplicate")
        packet, times = fates.most_common(1)[0] if fates else (0, 0)
        if times > 1:
            raise ExperimentError(text("two_fates", packet=packet))

    @property
    def edited(self) -> bool:
        """Whether the run may differ from that of the scene alone."""
        return bool(self.settings or self.edits or self.injections) or self.actions != self.unedited().actions

    def unedited(self) -> Experiment:
        """Return the experiment of the scene alone; of a script of one's own, this script without edits."""
        return Experiment(scene=self.scene, actions=self.actions)

    def parts(self) -> list[str]:
        """Return the parts of the address behind the name of the scene."""
        found: list[str] = []
        for parts in (self.settings, self.actions, self.edits, self.injections):
            found += [one.part() for one in parts]
        return found

    def to_address(self) -> str:
        """Return the address: the same for equal experiments."""
        parts = self.parts()
        return f"{self.scene}?{'&'.join(parts)}" if parts else self.scene

    @classmethod
    def from_address(cls, address: str) -> Experiment:
        """Return the experiment with this address. A leading "#", and all from the first ";" on, is ignored. Raises
        ExperimentError."""
        scene, _, rest = unquote(address).strip().removeprefix("#").partition(";")[0].partition("?")
        settings: list[Chosen] = []
        actions: list[Action] = []
        edits: list[Edit] = []
        injections: list[Injection] = []
        if scene not in SCENES:
            raise ExperimentError(text("unknown_scene", name=quoted(scene), scenes=", ".join(SCENES)))
        for part in filter(None, rest.split("&")):
            name, equals, value = part.partition("=")
            if not equals:
                raise ExperimentError(text("no_value", part=quoted(part)))
            if name in EDITS:
                edits.append(_edit(part, name, value))
            elif name == "inject":
                injections.append(_injection(part, value))
            elif name == "do":
                actions.append(_action(part, value))
            elif is_setting(name):
                settings.append(parse_setting(name, value))
            else:
                raise ExperimentError(text("unknown_part", name=quoted(name)))
        return cls(
            scene=scene,
            settings=tuple(settings),
            actions=tuple(actions),
            edits=tuple(edits),
            injections=tuple(injections),
        )


def _edit(part: str, name: str, value: str) -> Edit:
    kind = next(kind for kind in EDITS if kind == name)
    packet, colon, seconds = value.partition(":")
    if not _is_whole(packet) or not 1 <= int(packet) <= MAX_PACKET:
        raise ExperimentError(text("wrong_packet", part=quoted(part), most=MAX_PACKET))
    if colon and kind in ("lose", "corrupt"):
        raise ExperimentError(text("no_seconds", part=quoted(part), kind=kind))
    delay = _time(part, seconds) if colon else 0.0
    if kind == "delay" and not delay:
        raise ExperimentError(text("no_delay", part=quoted(part)))
    return Edit(kind, int(packet), delay)


def _injection(part: str, value: str) -> Injection:
    end, time, rest = _place(part, value)
    kind, *given = rest.split(",")
    if kind not in KINDS:
        raise ExperimentError(text("unknown_kind", part=quoted(part), kinds=", ".join(KINDS)))
    numbers: dict[str, int] = {}
    ts: int | None = 0
    for each in given:
        name, _, number_ = each.partition("=")
        if name not in ("seq", "ack", "length", "ts") or name in numbers:
            raise ExperimentError(text("unknown_field", part=quoted(part), name=quoted(each)))
        if name == "ts" and number_ in ("none", "now"):
            ts = None if number_ == "none" else 0
            continue
        if not _is_whole(number_.removeprefix("-")) or abs(int(number_)) > MAX_NUMBER:
            raise ExperimentError(text("wrong_number", part=quoted(part), name=name))
        if name == "ts":
            ts = int(number_)
        else:
            numbers[name] = int(number_)
    length = numbers.get("length", DATA if kind == "DATA" else 0)
    if not 0 <= length <= MAX_SEGMENT:
        raise ExperimentError(text("wrong_length", part=quoted(part), most=MAX_SEGMENT))
    if "ack" in numbers and not KINDS[kind] & ACK:
        raise ExperimentError(text("no_ack", part=quoted(part), kind=kind))
    return Injection(end, time, kind, numbers.get("seq"), numbers.get("ack"), length, ts)


def _action(part: str, value: str) -> Action:
    end, time, rest = _place(part, value)
    kind, comma, octets = rest.partition(",")
    if kind == "send":
        if not _is_whole(octets) or not 1 <= int(octets) <= MAX_OCTETS:
            raise ExperimentError(text("wrong_octets", part=quoted(part), most=MAX_OCTETS))
        return Action(end, time, "send", int(octets))
    for known in ACTIONS:
        if kind == known and not comma:
            return Action(end, time, known)
    raise ExperimentError(text("unknown_action", part=quoted(part), actions=", ".join(ACTIONS)))


def _place(part: str, value: str) -> tuple[End, float, str]:
    """Return END, TIME and the rest of END@TIME:REST."""
    place, colon, rest = value.partition(":")
    name, at, time = place.partition("@")
    for end in ENDS:
        if name == end and at and colon:
            return end, _time(part, time), rest
    raise ExperimentError(text("wrong_place", part=quoted(part)))


def _time(part: str, value: str) -> float:
    if not _is_whole(value.replace(".", "", 1)) or float(value) > MAX_TIME:
        raise ExperimentError(text("wrong_time", part=quoted(part), most=number(MAX_TIME)))
    return float(value)


def _is_whole(value: str) -> bool:
    return value.isascii() and value.isdecimal() and len(value) <= 12
