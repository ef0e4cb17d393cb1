"""One call that raises, chosen by where it is made and how often it has been made there."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from errno import ENOBUFS
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, Final, Self

import utcp

KINDS: Final[tuple[Callable[[], BaseException], ...]] = (
    MemoryError,
    lambda: RuntimeError("a bug"),
    lambda: OSError(ENOBUFS, "No buffer space available"),
)
"""What a call may raise and the program survives."""

CORE: Final = tuple(str(Path(utcp.__file__).parent / room) + "/" for room in ("tcp", "wire"))
OURS: Final = tuple(str(Path(utcp.__file__).parent / room) + "/" for room in ("aio", "tunnel"))
"""What calls an event loop."""

_INSISTENT: Final = {"call_soon": "soon", "call_later": "later"}
"""The functions of utcp that make such a call twice, if need be."""

LOOP_METHODS: Final = ("call_soon", "call_later", "add_reader", "add_writer")


@dataclass(frozen=True)
class Fault:
    """The call number `ordinal`, from 0, at `site` raises what `make` makes. With `Calls` only the calls in the entry
    number `entry` of the context are counted."""

    site: str
    ordinal: int
    make: Callable[[], BaseException]
    entry: int = 0

    def __str__(self) -> str:
        return f"{self.site} #{self.ordinal} of entry {self.entry}: {type(self.make()).__name__}"


class Faults:
    """Counts the calls at each site. The call that `fault` names raises, once."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.fault = fault
        self.counts: Counter[str] = Counter()
        self.error: BaseException | None = None
        """What was raised; None before."""

    def passes(self, site: str) -> None:
        """A call is about to be made at `site`."""
        number = self.counts[site]
        self.counts[site] = number + 1
        fault = self.fault
        if fault is not None and fault.site == site and fault.ordinal == number:
            self.error = fault.make()
            raise self.error

    def owns(self, error: BaseException | None) -> bool:
        """Whether it is this exception that was raised."""
        return error is not None and error is self.error

    def wrap(self, site: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, which fails as the fault says."""

        def called(*arguments: Any, **options: Any) -> Any:
            self.passes(site)
            return call(*arguments, **options)

        return called


def say(text: str) -> None:
    """For the program `python -m tests.injection`."""
    print(text, flush=True)  # noqa: T201


def plan(counts: Counter[str], kinds: Iterable[Callable[[], BaseException]] = KINDS) -> Iterator[Fault]:
    """The first, the middle and the last call at each site, each with another kind of exception in turn."""
    kinds = list(kinds)
    number = 0
    for site, count in sorted(counts.items()):
        for ordinal in sorted({0, count // 2, count - 1}):
            yield Fault(site, ordinal, kinds[number % len(kinds)])
            number += 1


@contextlib.contextmanager
def watch_loop(loop: Any, faults: Faults, methods: Iterable[str] = LOOP_METHODS) -> Iterator[None]:
    """While the context lasts, each method of the event loop is a site wherever utcp calls it, named by method, module
    and function."""

    def calls(code: CodeType, method: str) -> bool:
        return bool({method, _INSISTENT.get(method)} & {*code.co_names})

    def watched(method: str) -> Callable[..., Any]:
        real = getattr(loop, method)

        def called(*arguments: Any, **options: Any) -> Any:
            caller: FrameType | None = sys._getframe(1)
            if caller is not None and caller.f_code.co_filename.endswith("/containment.py"):
                caller = caller.f_back
            # Of what a function calls, asyncio's futures call the loop as well.
            if caller is not None and caller.f_code.co_filename.startswith(OURS) and calls(caller.f_code, method):
                code = caller.f_code
                faults.passes(f"loop.{method} {Path(code.co_filename).stem}.{code.co_name}")
            return real(*arguments, **options)

        return called

    for method in methods:
        setattr(loop, method, watched(method))
    try:
        yield
    finally:
        for method in methods:
            delattr(loop, method)


class Calls(Faults):
    """Counts the calls that the core makes while the context lasts, of Python functions and of C functions, by the line
    that makes them; one of them raises before it begins.

    That is everywhere where the core asks for memory by a call, or runs code that it was handed. With `after` it is
    each call of a C function, and the exception comes behind it, as that of a signal handler does: what the function
    changes is changed by then. The compiled core has no frames to be seen.
    """

    def __init__(self, fault: Fault | None = None, *, after: bool = False) -> None:
        super().__init__(fault)
        self.after = after
        self.entry = -1
        """How often the context was entered before."""
        self.seen: dict[str, list[tuple[int, int]]] = {}
        """Without a fault: by site, the entry of each call and how many calls were made there in that entry before."""
        self._sites: dict[tuple[int, int], str] = {}
        """By code object and instruction; "" where it is not the core's."""

    def __enter__(self) -> Self:
        self.entry += 1
        if self.fault is None or self.fault.entry == self.entry:
            self.counts.clear()
            sys.setprofile(self._event)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        sys.setprofile(None)

    def _event(self, frame: FrameType, event: str, argument: Any) -> None:
        if self.after:
            caller = frame if event == "c_return" else None
        else:
            caller = frame if event == "c_call" else frame.f_back if event == "call" else None
        if caller is None:
            return
        key = (id(caller.f_code), caller.f_lasti)
        site = self._sites.get(key)
        if site is None:
            site = self._sites[key] = _site(caller, frame.f_code.co_name if event == "call" else argument.__name__)
        if site:
            if self.fault is None:
                self.seen.setdefault(site, []).append((self.entry, self.counts[site]))
            self.passes(site)

    def plan(self, kinds: Iterable[Callable[[], BaseException]]) -> Iterator[Fault]:
        """The first, the middle and the last call at each site, each with another kind of exception in turn."""
        kinds = list(kinds)
        number = 0
        for site, calls in sorted(self.seen.items()):
            for entry, ordinal in sorted({calls[0], calls[len(calls) // 2], calls[-1]}):
                yield Fault(site, ordinal, kinds[number % len(kinds)], entry)
                number += 1


def _site(caller: FrameType, callee: str) -> str:
    code = caller.f_code
    if not code.co_filename.startswith(CORE):
        return ""
    return f"{Path(code.co_filename).name}:{caller.f_lineno}.{caller.f_lasti} {code.co_qualname}: {callee}"
