"""Makes a failing run smaller: the same failure with as few faults as possible."""

from __future__ import annotations

import sysconfig
import time
import traceback
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from utcp.testing.faults import Fault, RunSeed
from utcp.testing.network import Network

MAX_RUNS: Final = 200
"""Largest number of runs that shrink a failure."""

MAX_SECONDS: Final = 30.0
"""Real time, seconds, after which no further run begins that shrinks a failure."""

_NOT_OWN: Final = tuple(
    f"{folder.resolve()}/"
    for folder in (
        *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        Path(__file__).parents[1],
    )
)
"""Folders of the standard library, of installed packages, and of utcp."""

_SHOWN_FAULTS: Final = 30


class Failure(NamedTuple):
    """A run that failed."""

    seed: RunSeed
    network: Network
    error: BaseException
    details: Any = None

    @property
    def faults(self) -> Sequence[Fault]:
        return self.network.faults.suffered


Attempt = Callable[[RunSeed], Failure | None]
"""A function that runs the program once, and returns the failure, or None if there is none."""


class Shrunk(NamedTuple):
    """A failure, and the smaller one that was found."""

    first: Failure
    smallest: Failure
    runs: int

    def report(self, replay: Callable[[str], str]) -> str:
        """Return the result in words. `replay` returns the line that repeats a run, from the text of its seed."""
        lines = [f"seed {self.first.seed} fails", f"replay: {replay(str(self.first.seed))}"]
        smallest = self.smallest
        faults = smallest.faults
        if smallest is not self.first:
            before, now = self.first.network, smallest.network
            lines.append(
                f"shrunk by {self.runs} runs from {len(before.faults.suffered)} faults and {before.loop.now:.6g} s to"
                f" {len(faults)} and {now.loop.now:.6g} s of virtual time"
            )
            lines.append(f"replay: {replay(str(smallest.seed))}")
        lines += ["faults:" if faults else "faults: none", *(f"  {fault}" for fault in faults[:_SHOWN_FAULTS])]
        if len(faults) > _SHOWN_FAULTS:
            lines.append(f"  and {len(faults) - _SHOWN_FAULTS} more")
        return "\n".join(lines)


def shrink(first: Failure, attempt: Attempt, *, max_runs: int = MAX_RUNS, max_seconds: float = MAX_SECONDS) -> Shrunk:
    """Repeat a failing run with fewer and fewer faults, and in the usual order of events, while it fails in the same
    way: with an exception of the same type from the same line of the program."""
    search = _Search(first, attempt, max_runs, time.monotonic() + max_seconds)
    search.run()
    return Shrunk(first, search.best, search.runs)


class _Search:
    """Delta debugging: leaves out parts of the faults, halves first, and the latest first, so that runs get shorter."""

    def __init__(self, first: Failure, attempt: Attempt, max_runs: int, until: float) -> None:
        self._attempt = attempt
        self._max_runs = max_runs
        self._until = until
        self._wanted = kind_of(first.error)
        self.best = first
        self.runs = 0

    def run(self) -> None:
        if self.best.seed.shuffled:
            self._fails(self.best.seed._replace(shuffled=False))
        if not self.best.faults or self._keeping([]):
            return
        parts = 2
        while len(self.best.faults) > 1 and not self._spent:
            keys = [fault.key for fault in self.best.faults]
            parts = min(parts, len(keys))
            bounds = [len(keys) * part // parts for part in range(parts + 1)]
            for part in reversed(range(parts)):
                if self._keeping(keys[: bounds[part]] + keys[bounds[part + 1] :]):
                    parts = max(2, parts - 1)
                    break
            else:
                if parts == len(keys):
                    return
                parts *= 2

    @property
    def _spent(self) -> bool:
        return self.runs >= self._max_runs or time.monotonic() > self._until

    def _keeping(self, keys: list[str]) -> bool:
        return self._fails(self.best.seed._replace(keep=frozenset(keys)))

    def _fails(self, seed: RunSeed) -> bool:
        """Run `seed`, and return whether it fails in the same way. It is then the best so far."""
        if self._spent:
            return False
        self.runs += 1
        found = self._attempt(seed)
        if found is None or kind_of(found.error) != self._wanted:
            return False
        if seed.keep is not None:  # without those that the run did not come to
            found = found._replace(seed=seed._replace(keep=frozenset(fault.key for fault in found.faults)))
        self.best = found
        return True


def kind_of(error: BaseException) -> Hashable:
    """Return the type of an exception and the innermost line of the program's own code that it came through. Groups are
    the kinds of their exceptions."""
    if isinstance(error, BaseExceptionGroup):
        return type(error), frozenset(map(kind_of, error.exceptions))
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not str(Path(frame.filename).resolve()).startswith(_NOT_OWN)]
    return type(error), *((place.filename, place.lineno) for place in (own or frames)[-1:])
