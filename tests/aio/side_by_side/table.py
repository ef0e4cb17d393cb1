"""Rows, and what is seen of each: results, exceptions, reports to the loop's handler, logs, warnings, time."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import re
import socket
import time
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, TypeAlias

import uvloop

from tests.aio.side_by_side.sides import Kernel, Side, Utcp, describe

Program: TypeAlias = Callable[[Side], Awaitable[Any]]

LOOPS: Final = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
SIDES: Final[dict[str, type[Side]]] = {side.name: side for side in (Kernel, Utcp)}

STRAY: Final = "(stray)"
"""A row of each table, for what cannot be attributed to one of its programs: warnings, and reports out of context."""

_AT_ONCE: Final = 64
"""Programs of a table that run at the same time."""
NAMES: Final = {"two-addresses.test": ("127.0.0.2", "127.0.0.1"), "both-refuse.test": ("127.0.0.2", "127.0.0.3")}
"""Names that the loop's resolver knows, and their addresses. A name that ends in ".invalid" is unknown at once."""


@dataclass(frozen=True, slots=True)
class Row:
    """A program, and the known defects that it would show."""

    name: str
    program: Program
    defects: tuple[int, ...] = ()


@dataclass(slots=True)
class Outcome:
    """What is seen of a program."""

    result: Any = None
    """What it returned, or how it failed."""
    told: list[str] = field(default_factory=list)
    """What the loop's exception handler was told, in order of the alphabet: exceptions, or else messages."""
    logged: list[str] = field(default_factory=list)
    """What asyncio logged itself."""
    warned: list[str] = field(default_factory=list)
    """Kinds of warnings. The interpreter does not attribute them, so that they are known of a row that runs alone."""
    seconds: float = 0.0

    def seen(self) -> tuple[Any, list[str], list[str], list[str]]:
        """All but the time."""
        return self.result, self.told, self.logged, self.warned


class Table:
    """Rows that run side by side on one loop."""

    def __init__(self, name: str, *, alone: bool = False, limit: float = 100.0) -> None:
        self.name: Final = name
        self.limit: Final = limit
        """Seconds after which a program is said to hang."""
        self.alone: Final = alone
        """The rows run one after another, each on a loop of its own."""
        self.rows: dict[str, Row] = {}

    def add(self, name: str, program: Program, *defects: int) -> None:
        assert name not in self.rows, f"{self.name}: {name} twice"
        self.rows[name] = Row(name, program, defects)

    def row(self, name: str, *defects: int) -> Callable[[Program], Program]:
        """`add` as a decorator."""

        def register(program: Program) -> Program:
            self.add(name, program, *defects)
            return program

        return register

    @cache  # noqa: B019  # the tables live as long as the process
    def outcomes(self, side: str, loop: str) -> dict[str, Outcome]:
        """What is seen of each row."""
        if not self.alone:
            return _run(list(self.rows.values()), self.limit, SIDES[side], LOOPS[loop])
        return {**{name: self.outcome_alone(name, side, loop) for name in self.rows}, STRAY: Outcome()}

    def outcome_alone(self, name: str, side: str, loop: str) -> Outcome:
        """What is seen of one row that runs without the others."""
        found = _run([self.rows[name]], self.limit, SIDES[side], LOOPS[loop])
        outcome, stray = found[name], found[STRAY]
        outcome.told += stray.told
        if self.alone:
            outcome.warned = stray.warned
        return outcome


_outcome: contextvars.ContextVar[Outcome] = contextvars.ContextVar("_outcome")


def _run(
    rows: list[Row], limit: float, side: type[Side], loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {row.name: Outcome() for row in rows}
    stray = found[STRAY] = Outcome()
    log = _Log()
    logging.getLogger("asyncio").addHandler(log)
    gc.freeze()  # so that collecting costs what the programs have left, not what pytest has
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                loop = runner.get_loop()
                loop.set_exception_handler(lambda _, context: _told(context, stray).append(_report(context)))
                loop.getaddrinfo = _Resolver(loop)  # type: ignore[method-assign]  # a fake
                runner.run(_run_all(rows, limit, side, found))
            gc.collect()
    finally:
        gc.unfreeze()
        logging.getLogger("asyncio").removeHandler(log)
    stray.warned = sorted({warning.category.__name__ for warning in caught})
    for outcome in found.values():
        outcome.told.sort()
    return found


async def _run_all(rows: list[Row], limit: float, side: type[Side], found: dict[str, Outcome]) -> None:
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def run(row: Row) -> None:
        outcome = found[row.name]
        async with at_once:
            _outcome.set(outcome)
            here = side()
            began = time.perf_counter()
            try:
                async with asyncio.timeout(limit):
                    outcome.result = await row.program(here)
            except (Exception, asyncio.CancelledError) as error:
                outcome.result = describe(error)
            outcome.seconds = time.perf_counter() - began
            here.clean()
        await asyncio.sleep(0.02)  # for what ends in the background

    await asyncio.gather(*(asyncio.create_task(run(row), name=row.name) for row in rows))


def _told(context: dict[str, Any], stray: Outcome) -> list[str]:
    """Where a report belongs. A handle's context is the current one only since 3.12."""
    of_handle: contextvars.Context | None = getattr(context.get("handle"), "_context", None)
    return (_outcome.get(stray) if of_handle is None else of_handle.get(_outcome, stray)).told


def _report(context: dict[str, Any]) -> str:
    # The text is each side's own.
    error = context.get("exception")
    return context["message"] if error is None else describe(error)


class _Log(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING and (outcome := _outcome.get(None)) is not None:
            outcome.logged.append(record.getMessage())


class _Resolver:
    """`loop.getaddrinfo` with names of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._others = loop.getaddrinfo

    async def __call__(self, host: Any, port: Any, **options: Any) -> list[Any]:
        if isinstance(host, str) and host.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        infos: list[Any] = []
        for each in NAMES.get(host, ()) if isinstance(host, str) else ():
            infos += await self._others(each, port, **options)
        return infos or await self._others(host, port, **options)


def same(ours: Any, model: Any) -> bool:
    """The same, but for an errno where asyncio's exception has none."""
    if isinstance(ours, (list, tuple)) and isinstance(model, (list, tuple)):
        return len(ours) == len(model) and all(map(same, ours, model))
    if isinstance(ours, str) and isinstance(model, str) and model.endswith("Error"):
        return re.sub(r" \d+$", "", ours) == model
    return bool(ours == model)
