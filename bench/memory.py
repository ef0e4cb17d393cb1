"""The memory of a connection, established and idle, and in TIME_WAIT.

Established: 200 connections are opened first, so that one-time allocations are not counted. Then the given number is
opened, 100 at a time, and 64 octets have been echoed over each. Both ends are in one process, with asyncio's streams
and the server's handler task, as in an application. After a full garbage collection, the growth per connection of:

resident memory: that of the process, as Linux counts it (VmRSS). The ratio uses this figure.

Python's memory: counted by tracemalloc in a second measurement of the same kind, because tracemalloc is slow and takes
memory itself. It is exact, and excludes the allocator's reserves.

objects: those that the garbage collector tracks and visits in each collection.

descriptors: of the process.

the kernel's memory: the growth of the slab caches of sockets (TCP, UDP, sock_inode_cache, filp, dentry and those of
epoll) on the whole machine, so it is valid only on an otherwise idle one. It belongs to no process and is not part of
the ratio; only root can read it. There is no unread data, so buffers are not included.

TIME_WAIT: connections are opened and closed, 100 at a time, until the client's end has the given number of additional
records. The figure is the growth of the memory counted by tracemalloc, after a full collection, per connection: the
record, and any other memory that a closed connection leaves. Kernel TCP's records belong to no process; the growth of
its slab caches (tw_sock_TCP, tcp_bind_bucket) is used instead, if readable. The kernel's own limits
(net.ipv4.tcp_max_tw_buckets) may end some records early.
"""

import asyncio
import gc
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from . import command, resources
from .frame import Bench, Case, Figure, Figures, Goal, Option, Trial, Values, aims, figure, ratio
from .many_ports import Ends, open_ends
from .scale import MESSAGE, Server, each, open_descriptors
from .stacks import Streams

FIRST: Final = 200

_SOCKETS: Final = ("TCP", "UDP", "sock_inode_cache", "filp", "dentry", "eventpoll_epi", "eventpoll_pwq", "ep_head")
_TIME_WAIT: Final = ("tw_sock_TCP", "tcp_bind_bucket", "tcp_bind2_bucket")


async def _established(trial: Trial, *, traced: bool) -> Figures:
    connections = trial.integer("connections")
    app = Server()
    async with open_ends(trial, app, FIRST + connections) as ends:
        streams: list[Streams] = []
        await _open(ends, app, streams, FIRST)
        gc.collect()
        if traced:
            tracemalloc.start()
        meters = (resources.resident, _traced, _objects, open_descriptors, lambda: slab(_SOCKETS))
        before = [meter() for meter in meters]
        await _open(ends, app, streams, connections)
        gc.collect()
        after = [meter() for meter in meters]
        growth = [
            None if old is None or new is None else (new - old) / connections
            for old, new in zip(before, after, strict=True)
        ]
        tracemalloc.stop()
        for _, writer in streams:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in streams))
        await app.until_open(0)
    memory, python, objects, sockets, kernel = growth
    if traced:
        return {"python_bytes": python}
    return {"resident_bytes": memory, "objects": objects, "descriptors": sockets, "kernel_bytes": kernel}


async def _open(ends: Ends, app: Server, streams: list[Streams], count: int) -> None:
    begin = len(streams)

    async def connect(_: int) -> None:
        streams.append(await ends.connect())

    async def echo(number: int) -> None:
        reader, writer = streams[begin + number]
        writer.write(MESSAGE)
        await reader.readexactly(len(MESSAGE))

    await each(connect, count)
    await app.until_open(len(streams))
    await each(echo, count)


async def _time_wait(trial: Trial) -> Figures:
    records = trial.integer("records")
    app = Server()
    async with open_ends(trial, app, 2 * records) as ends:

        async def come_and_go(_: int) -> None:
            reader, writer = await ends.connect()
            writer.write(MESSAGE)
            await reader.readexactly(len(MESSAGE))
            writer.close()
            await writer.wait_closed()

        async def churn(count: int) -> None:
            await each(come_and_go, count)
            await app.until_open(0)
            await asyncio.sleep(0.05)  # the loop still references the last ones
            gc.collect()

        await churn(FIRST)
        kernel = slab(_TIME_WAIT)
        tracemalloc.start()
        python, first = _traced(), ends.time_wait
        await churn(records)
        growth = _traced() - python
        tracemalloc.stop()
        kernel_now = slab(_TIME_WAIT)
        if trial.stack == "utcp":
            if ends.time_wait - first != records:
                raise OSError(f"{ends.time_wait - first} connections went into TIME_WAIT, not {records}")
            return {"time_wait_bytes": growth / records}
    if kernel is None or kernel_now is None:
        return {"time_wait_bytes": None}
    return {"time_wait_bytes": (kernel_now - kernel) / records}


def slab(names: Sequence[str]) -> int | None:
    """Return the octets of the objects in use in these slab caches, of the whole machine; None if not readable."""
    try:
        lines = Path("/proc/slabinfo").read_text().splitlines()
    except OSError:
        return None
    fields = [line.split() for line in lines[2:]]
    return sum(int(field[1]) * int(field[3]) for field in fields if field[0] in names)


def _traced() -> int:
    return tracemalloc.get_traced_memory()[0]


def _objects() -> int:
    return len(gc.get_objects())


async def _run(trial: Trial) -> Figures:
    if not trial.parameters["records"]:
        if trial.stack != "utcp":
            resources.require_descriptors(2 * (FIRST + trial.integer("connections")))
        return await _established(trial, traced=False) | await _established(trial, traced=True)
    return await _time_wait(trial)


def measure(trial: Trial) -> Figures:
    """Run one trial in this process."""
    return trial.run(_run)


def _cases(values: Values) -> Sequence[Case]:
    return [
        Case("established", {"connections": values["connections"], "records": 0}),
        Case("TIME_WAIT", {"connections": 0, "records": values["records"]}),
    ]


_RECORD: Final = aims(300, 150)

BENCH: Final = Bench(
    name="memory",
    title="Memory of a connection",
    options=(
        Option("connections", 4000, 200, "established connections"),
        Option("records", 8000, 400, "connections in TIME_WAIT"),
    ),
    cases=_cases,
    measure=measure,
    figures=(
        Figure("resident_bytes", "resident memory, octets", better="lower", headline=True),
        Figure("python_bytes", "Python's memory, octets", better="lower"),
        Figure("objects", "objects under garbage collection", 1, better="lower"),
        Figure("descriptors", "descriptors", 2),
        Figure("kernel_bytes", "the kernel's memory, octets"),
        Figure("time_wait_bytes", "TIME_WAIT record, octets", headline=True),
    ),
    goals=(
        Goal(
            "memory of an established connection",
            ratio("resident_bytes", "established"),
            aims(0.8, 0.5, uvloop=(1.0, 0.7)),
            better="lower",
        ),
        Goal(
            "octets of a TIME_WAIT record",
            figure("time_wait_bytes", "TIME_WAIT"),
            _RECORD,
            interpreted=_RECORD,
            better="lower",
            unit="",
            decimals=0,
        ),
    ),
    processes=(1,),
    rounds=3,
    rounds_in_all=1,
    seconds=22,
)

if __name__ == "__main__":
    command.main("memory")
