"""The faults that a run suffers by chance, as data, so that the run can be repeated with some of them only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import quote

from utcp.testing.rules import Packet
from utcp.wire import flag_names

FaultKind: TypeAlias = Literal["lost", "corrupted", "reordered", "delayed", "duplicated", "happened"]
"""What a path does to a packet: it is lost; corrupted, so that its receiver drops it; delayed by `reorder_delay`;
delayed by `jitter`; delivered twice. "happened" is an event of `Network.chance()`."""

_SEED: Final = re.compile(r"(?P<base>.*?)(?P<shuffled> shuffled)?(?: keep (?P<keep>\S+))?", re.DOTALL)
_NOTHING: Final = "nothing"


class RunSeed(NamedTuple):
    """The seed of a run, with the choices that make it another run: "7", "7 shuffled", or for a run with two of its
    faults "7 keep client>server#3.lost,server>client#1.delayed"."""

    base: int | str
    """The seed of all random numbers."""
    shuffled: bool = False
    """Whether events that are due at the same time happen in a random order."""
    keep: frozenset[str] | None = None
    """The faults that may happen, by `Fault.key`; None: all."""

    @classmethod
    def parse(cls, seed: int | str) -> RunSeed:
        """Return the meaning of a seed, as `Network` and the option `--utcp-seed` take it."""
        if isinstance(seed, int):
            return cls(seed)
        match = _SEED.fullmatch(seed)
        assert match is not None  # noqa: S101  # everything matches
        keep = match["keep"]
        kept = None if keep is None else frozenset(() if keep == _NOTHING else keep.split(","))
        return cls(match["base"], match["shuffled"] is not None, kept)

    def __str__(self) -> str:
        text = f"{self.base}{' shuffled' if self.shuffled else ''}"
        if self.keep is None:
            return text
        return f"{text} keep {','.join(sorted(self.keep, key=_in_order)) or _NOTHING}"


class Fault(NamedTuple):
    """One fault of one packet, or an event of `Network.chance()`."""

    where: str
    """The path, as "client>server", or the name of the event."""
    ordinal: int
    """Number of the packet on its path, or of the call with this name, from 1."""
    kind: FaultKind
    time: float
    """Sending time of the packet, or time of the event, virtual seconds."""
    packet: Packet | None = None

    @property
    def key(self) -> str:
        """Return the fault's name in a seed. It is the same in each run of the same seed."""
        return _key(self.where, self.ordinal, self.kind)

    def __str__(self) -> str:
        """Return the fault in words: "the 3rd packet client > server (FIN,ACK) was lost at 0.512 s"."""
        packet = self.packet
        if packet is None:
            return f"{self.where} at {self.time:.6g} s ({_ordinal(self.ordinal)} chance)"
        what = f"{_ordinal(self.ordinal)} packet {packet.source} > {packet.destination} ({_contents(packet)})"
        return f"the {what} was {self.kind} at {self.time:.6g} s"


class FaultRecord:
    """The faults of a run, and the choice of those that may happen.

    Args:
        keep: the faults that may happen, by `Fault.key`; None: all.
    """

    def __init__(self, keep: frozenset[str] | None = None) -> None:
        self._keep = keep
        self._calls: Counter[str] = Counter()
        self.suffered: list[Fault] = []
        """The faults so far, in order."""

    def on_path(self, source: str, destination: str) -> Callable[[int, FaultKind], bool]:
        """Return whether a fault may happen to the packet with a number on this path, as a function."""
        if self._keep is None:
            return always
        where = f"{source}>{destination}"
        return lambda ordinal, kind: self._allows(where, ordinal, kind)

    def note(self, packet: Packet, faults: Iterable[tuple[int, FaultKind]]) -> None:
        """Record the faults of a packet, each with the number of the packet, or of its fragment, on the path."""
        where = f"{packet.source}>{packet.destination}"
        self.suffered += [Fault(where, ordinal, kind, packet.time, packet) for ordinal, kind in faults]

    def event(self, name: str, time: float, happens: bool) -> bool:
        """Return whether an event happens that would happen by chance alone if `happens`. Record it if so."""
        self._calls[name] += 1
        ordinal = self._calls[name]
        if not happens or not self._allows(name, ordinal, "happened"):
            return False
        self.suffered.append(Fault(name, ordinal, "happened", time))
        return True

    def _allows(self, where: str, ordinal: int, kind: FaultKind) -> bool:
        return self._keep is None or _key(where, ordinal, kind) in self._keep


def always(ordinal: int, kind: FaultKind) -> bool:
    """Allow all faults."""
    return True


def _key(where: str, ordinal: int, kind: FaultKind) -> str:
    return f"{quote(where, safe='>')}#{ordinal}" + ("" if kind == "happened" else f".{kind}")


def _in_order(key: str) -> tuple[str, int, str]:
    where, _, rest = key.partition("#")
    ordinal, _, kind = rest.partition(".")
    return where, int(ordinal) if ordinal.isdecimal() else 0, kind


def _contents(packet: Packet) -> str:
    segment = packet.segment
    if segment is None:
        return f"{len(packet.data)} bytes"
    length = len(segment.payload)
    return flag_names(segment.flags) + (f", {length} bytes" if length else "")


def _ordinal(number: int) -> str:
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
