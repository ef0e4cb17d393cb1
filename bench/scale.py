"""How the costs of a connection grow with the number of connections, up to 100,000 at the same time.

All connections are opened, 100 at a time. Over each, 100 at a time, 64 octets are echoed. Then all are idle, and then
closed, 100 at a time, by the client first; the server's handler reads to the end of the stream and closes. utcp uses
two UDP sockets, one for each end, both in one process; the server listens on one utcp port for every 10,000
connections, because a pair of ports spans 16 bits. Kernel TCP needs two descriptors for each connection, and is
measured up to the limit of descriptors. Small numbers of connections are repeated, with new sockets each time, until
there were 5,000.

open, echo, close: processor time of the process per connection, for both ends together, including system calls.
Wall-clock time is not used, because other processes on the machine would affect it. (The kernel does part of its TCP's
work in interrupts, whose time may be charged to other processes.) Closing ends when both ends of every connection have
returned from `wait_closed()`.

cost: the sum of the three. The goal is about its growth from 1,000 connections to the maximum.

memory: resident memory with all connections open and idle, in excess of that before the first, per connection, for both
ends with streams and the handler's task. It is given from 1,000 connections on, because smaller numbers disappear in
the interpreter's reserves. The kernel's memory for its own TCP belongs to no process.

descriptors: the total number of additional descriptors of the process.

wakeups: the number of wakeups of the loop per second while all connections are idle, and the processor time that they
take. It is the number of the thread's voluntary context switches (getrusage), minus the one at the end of the
measurement, which starts after three idle seconds.

left: connections, transports, TIME_WAIT records, endpoints with a timer, and tasks that remain at the end. It must be
0. The measurement does not wait for TIME_WAIT: the stacks' time is advanced by 2 MSL. objects: growth of the number of
objects known to the garbage collector, since before the first connection, per connection.
"""

import asyncio
import gc
import resource
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time
from typing import Any, Final

from . import command, loops, resources
from .frame import Bench, Case, Figure, Figures, Goal, Option, Outcomes, Trial, Values, aims
from .many_ports import Ends, open_ends
from .stacks import StreamApp, Streams

AT_ONCE: Final = 100
MESSAGE: Final = bytes(range(64))
SETTLE: Final = 3.0
"""Seconds after which a connection counts as idle, longer than any timeout of a connection with a short round-trip
time."""

TIME_LIMIT: Final = 400.0

_FEW: Final = 1000
_LARGE: Final = 10_000
_MOST: Final = 100_000


class Server(StreamApp):
    """Echoes until the client has closed, then closes."""

    def __init__(self) -> None:
        self.open = 0
        self._changed = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self._changed.set()
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()
        await writer.wait_closed()
        self.open -= 1
        self._changed.set()

    async def until_open(self, count: int) -> None:
        """Wait until `count` connections are open at this end."""
        while self.open != count:
            self._changed.clear()
            await self._changed.wait()


@dataclass(slots=True)
class _Sums:
    """Processor seconds of all cycles."""

    open: float = 0.0
    echo: float = 0.0
    close: float = 0.0
    expire: float = 0.0
    figures: Figures = field(default_factory=dict)


async def _run(trial: Trial) -> Figures:
    connections = trial.integer("connections")
    if trial.stack != "utcp":
        resources.require_descriptors(2 * connections)
    cycles = max(1, trial.integer("sample") // connections)
    await _cycle(trial, 10, _Sums(), idle=0.0)  # so that one-time costs are not counted
    sums = _Sums()
    for number in range(cycles):
        await _cycle(trial, connections, sums, idle=float(trial.parameters["idle"]) if number == 0 else 0.0)
    per = 1e6 / cycles / connections
    return {
        "cost_us": (sums.open + sums.echo + sums.close) * per,
        "open_us": sums.open * per,
        "echo_us": sums.echo * per,
        "close_us": sums.close * per,
        "expire_us": sums.expire * per if trial.stack == "utcp" else None,
        **sums.figures,
    }


async def _cycle(trial: Trial, connections: int, sums: _Sums, *, idle: float) -> None:
    """Open, echo, idle, close. Figures that are not sums come from the first cycle."""
    gc.collect()
    memory, sockets, objects, tasks = (
        resources.resident(),
        open_descriptors(),
        len(gc.get_objects()),
        len(asyncio.all_tasks()),
    )
    app = Server()
    async with open_ends(trial, app, connections) as ends:
        streams: list[Streams] = []

        async def connect(_: int) -> None:
            streams.append(await ends.connect())

        async def echo(number: int) -> None:
            reader, writer = streams[number]
            writer.write(MESSAGE)
            if await reader.readexactly(len(MESSAGE)) != MESSAGE:
                raise OSError("the echo is not what was sent")

        async def close(number: int) -> None:
            _, writer = streams[number]
            writer.close()
            await writer.wait_closed()

        sums.open += await _cpu(lambda: each(connect, connections), lambda: app.until_open(connections))
        sums.echo += await _cpu(lambda: each(echo, connections))
        figures: Figures = {}
        if not sums.figures:
            gc.collect()
            figures |= _per_connection(memory, resources.resident(), connections)
            figures["descriptors"] = _difference(open_descriptors(), sockets)
            figures |= await _idle(idle)
        sums.close += await _cpu(lambda: each(close, connections), lambda: app.until_open(0))
        streams.clear()
        if ends.endpoints and ends.time_wait != connections:
            raise OSError(f"{ends.time_wait} connections are in TIME_WAIT, not {connections}")
        start = process_time()
        ends.end_time_wait()
        sums.expire += process_time() - start
        left = await _left(ends, tasks)
    if not sums.figures:
        gc.collect()
        figures["left"] = left
        figures["objects_left"] = (len(gc.get_objects()) - objects) / connections
        sums.figures = figures


async def each(work: Callable[[int], Awaitable[None]], count: int) -> None:
    """Run `work(number)` for every number, AT_ONCE of them at a time."""
    numbers = iter(range(count))

    async def go_on() -> None:
        for number in numbers:
            await work(number)

    await asyncio.gather(*(go_on() for _ in range(min(AT_ONCE, count))))


async def _cpu(*steps: Callable[[], Awaitable[None]]) -> float:
    """Return the processor time of these steps."""
    start = process_time()
    for step in steps:
        await step()
    return process_time() - start


async def _idle(seconds: float) -> Figures:
    if not seconds:
        return {"wakeups_per_second": None, "idle_cpu_percent": None}
    await asyncio.sleep(SETTLE)
    switches, cpu = _voluntary_switches(), process_time()
    await asyncio.sleep(seconds)
    woken = _voluntary_switches() - switches - 1
    return {"wakeups_per_second": woken / seconds, "idle_cpu_percent": 100 * (process_time() - cpu) / seconds}


async def _left(ends: Ends, tasks: int) -> float:
    """Return the number of objects left, after a short wait."""
    for _ in range(100):
        left = ends.left() + len(asyncio.all_tasks()) - tasks
        if not left:
            break
        await asyncio.sleep(0.01)
    return left


def _voluntary_switches() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def open_descriptors() -> int | None:
    """Return the number of descriptors of this process; None without /proc."""
    folder = Path("/proc/self/fd")
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else None


def _difference(after: int | None, before: int | None) -> float | None:
    return None if after is None or before is None else after - before


def _per_connection(before: int | None, after: int | None, connections: int) -> Figures:
    growth = _difference(after, before)
    return {"memory_kb": None if growth is None or connections < _FEW else growth / connections / 1000}


def measure(trial: Trial) -> Figures:
    """Run one trial in this process."""

    async def limited() -> Figures:
        async with asyncio.timeout(TIME_LIMIT + trial.parameters["idle"]):
            return await _run(trial)

    return loops.run(limited(), trial.loop)


def _cases(values: Values) -> Sequence[Case]:
    most = int(values["connections"])
    return [_case(count, values) for count in [*(each for each in (100, _FEW, _LARGE) if each < most), most]]


def _case(connections: int, values: Values) -> Case:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = connections if hard == resource.RLIM_INFINITY else (hard - resources.SPARE) // 2 // 100 * 100
    name = f"{connections:,} connections"
    idle = values["idle"] if connections != _FEW else 0.0
    parameters = {"connections": connections, "idle": idle, "sample": values["sample"]}
    if possible >= connections:
        return Case(name, parameters)
    if possible >= connections / 2:
        return Case(name, parameters, peers={"kernel_tcp": {"connections": possible}})
    reason = f"{2 * connections:,} sockets exceed the hard limit of {hard:,} descriptors"
    return Case(name, parameters, without={"kernel_tcp": reason})


def _growth(figure: str) -> Callable[[Outcomes], float | None]:
    """Return a function for Goal: the figure with 100,000 connections divided by that with 1,000."""

    def of(outcomes: Outcomes) -> float | None:
        by_count = {int(outcome.case.parameters["connections"]): outcome.median("utcp", figure) for outcome in outcomes}
        few, most = by_count.get(_FEW), by_count.get(_MOST)
        return most / few if few and most else None

    return of


def _with_many(figure: str) -> Callable[[Outcomes], float | None]:
    """Return a function for Goal: the figure with 10,000 connections."""
    return lambda outcomes: next(
        (outcome.median("utcp", figure) for outcome in outcomes if outcome.case.parameters["connections"] == _LARGE),
        None,
    )


def _most_left(outcomes: Outcomes) -> float | None:
    """Return the maximum number of objects left over all numbers of connections, if 100,000 are among them."""
    if all(outcome.case.parameters["connections"] != _MOST for outcome in outcomes):
        return None
    left = [outcome.median("utcp", "left") for outcome in outcomes]
    return max((each for each in left if each is not None), default=None)


def _most(label: str, of: Callable[[Outcomes], float | None], must: float, goal: float, **form: Any) -> Goal:
    """Return a goal of both variants, of a value that is at most `must`."""
    limits = aims(must, goal)
    return Goal(label, of, limits, interpreted=limits, better="lower", **form)


BENCH: Final = Bench(
    name="scale",
    title="From 100 connections to 100,000",
    options=(
        Option("connections", _MOST, 300, "the most at a time"),
        Option("sample", 5000, 300, "connections that a measurement is made of, at least"),
        Option("idle", 5.0, 0.2, "seconds in which the idle connections are watched"),
    ),
    cases=_cases,
    measure=measure,
    figures=(
        Figure("cost_us", "cost, CPU µs per connection", better="lower", headline=True),
        Figure("open_us", "open, CPU µs", better="lower"),
        Figure("echo_us", "echo, CPU µs", better="lower"),
        Figure("close_us", "close, CPU µs", better="lower"),
        Figure("expire_us", "end of TIME_WAIT, CPU µs", 2),
        Figure("memory_kb", "memory, kB per connection", 1, better="lower", headline=True),
        Figure("descriptors", "descriptors"),
        Figure("wakeups_per_second", "wakeups per second, idle", 2),
        Figure("idle_cpu_percent", "CPU, idle, %", 2),
        Figure("left", "left at the end"),
        Figure("objects_left", "objects left per connection", 2),
    ),
    goals=(
        _most("cost of one of 100,000 connections against 1,000", _growth("cost_us"), 1.2, 1.1),
        _most("memory of one of 100,000 against 1,000", _growth("memory_kb"), 1.2, 1.1),
        _most("left of 100,000 connections", _most_left, 0, 0, unit="", decimals=0),
        _most("wakeups per second, 10,000 idle connections", _with_many("wakeups_per_second"), 1, 0, unit=""),
    ),
    processes=(1,),
    rounds=1,
    rounds_in_all=1,
    seconds=79,
)

if __name__ == "__main__":
    command.main("scale")
