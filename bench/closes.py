"""How fast many established connections close together: utcp against kernel TCP, same streams API, same event loop.

    python -m bench.closes --connections 2000 --rounds 5 [--loop asyncio|uvloop] [--json FILE]

A round opens N connections over loopback, both ends in one process, and waits until the server has accepted them all.
Then every client calls `writer.close()` in the same turn of the loop and awaits `writer.wait_closed()`; the server's
handler waits for the end of the stream and does the same. The clock runs from just before the first close until *both*
ends of *every* connection have returned from `wait_closed()`.

closes per second: N / that time. One close is one connection ended, both of its ends.

close: for each client, from its `close()` until its `wait_closed()` has returned. The two stacks do not promise the
same by then. utcp: the peer has acknowledged our FIN. Kernel TCP: asyncio has closed its socket; the FIN, and whatever
becomes of it, is left to the kernel.

both ends: for each connection, from the client's `close()` until the server's `wait_closed()` has returned. It means
the same for both stacks, since only the client's FIN tells the server of the close.

peak memory: the process's highest resident memory in the whole round, opening included, above what it had before the
server started. It holds streams, tasks and, for utcp, the whole TCP. What the kernel keeps is in no process's memory
and counted for neither: for kernel TCP that is two sockets for each connection, for utcp two in all.

segments, system calls, retransmissions: from the first close to the last, both ends together. Kernel TCP's are those of
the whole machine, so they hold for an otherwise idle one; nobody counts its system calls.

Every round runs in a fresh process, utcp and kernel TCP by turns. `ratio` is the median over rounds of utcp's closes
per second over kernel TCP's in the same round. Compare ratios: absolute figures drift with the machine.
"""

import argparse
import asyncio
import gc
import json
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import perf_counter
from typing import Any

from bench import descriptors, loops, machine, memory, processes, table
from bench.stacks import STACKS, open_many

TIME_LIMIT = 120.0
"""Seconds after which a round has failed."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one stack did in one round. Times in milliseconds; None is what this machine does not tell."""

    closes_per_second: float
    opens_per_second: float
    close_ms_p50: float
    close_ms_p99: float
    both_ends_ms_p50: float
    both_ends_ms_p99: float
    peak_memory_mb: float | None
    segments_per_connection: float | None
    system_calls_per_connection: float | None
    retransmissions: int | None


def measure(stack: str, connections: int, loop: str) -> Round:
    """One round, in this process. Raises TimeoutError if it does not end in time, OSError if a connection fails."""
    return loops.run(_measure(stack, connections), loop)


async def _measure(stack: str, connections: int) -> Round:
    accepted = 0
    all_accepted = asyncio.Event()
    server_closed: dict[int, float] = {}  # by the client's port: when the server's end had closed
    all_closed = asyncio.Event()

    async def until_eof(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        port = writer.get_extra_info("peername")[1]
        accepted += 1
        if accepted == connections:
            all_accepted.set()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        server_closed[port] = perf_counter()
        if len(server_closed) == connections:
            all_closed.set()

    async def close(writer: asyncio.StreamWriter) -> tuple[int, float, float]:
        port = writer.get_extra_info("sockname")[1]
        began = perf_counter()
        writer.close()
        await writer.wait_closed()
        return port, began, perf_counter()

    base = memory.resident()
    async with asyncio.timeout(TIME_LIMIT), STACKS[stack](until_eof) as ends:
        start = perf_counter()
        streams = await open_many(ends, connections)
        await all_accepted.wait()
        opened = perf_counter() - start

        gc.collect()  # what opening left behind is not closing's to pay for
        before = ends.counts()
        start = perf_counter()
        clients = await asyncio.gather(*(close(writer) for _, writer in streams))
        await all_closed.wait()
        elapsed = perf_counter() - start
        spent = ends.counts().since(before)
    peak = memory.peak()

    close_times = [1000 * (ended - began) for _, began, ended in clients]
    both_times = [1000 * (server_closed[port] - began) for port, began, _ in clients]
    return Round(
        closes_per_second=connections / elapsed,
        opens_per_second=connections / opened,
        close_ms_p50=_percentile(close_times, 50),
        close_ms_p99=_percentile(close_times, 99),
        both_ends_ms_p50=_percentile(both_times, 50),
        both_ends_ms_p99=_percentile(both_times, 99),
        peak_memory_mb=None if peak is None or base is None else (peak - base) / 1e6,
        segments_per_connection=_each(spent.segments, connections),
        system_calls_per_connection=_each(spent.system_calls, connections),
        retransmissions=spent.retransmissions,
    )


def run(connections: int, rounds: int, loop: str, progress: Callable[[str], None]) -> dict[str, Any]:
    """All rounds, each in a process of its own; the result is ready for JSON. Raises what `measure` raises."""
    results: dict[str, list[Round]] = {stack: [] for stack in STACKS}
    ratios: list[float] = []
    for number in range(1, rounds + 1):
        for stack in STACKS:
            results[stack].append(processes.run(measure, stack, connections, loop))
        speeds = {stack: results[stack][-1].closes_per_second for stack in STACKS}
        ratios.append(speeds["utcp"] / speeds["kernel_tcp"])
        done = ", ".join(f"{stack} {speed:,.0f} closes/s" for stack, speed in speeds.items())
        progress(f"round {number} of {rounds}: {done}, ratio {ratios[-1]:.2f}")
    return {
        "benchmark": "closes",
        "connections": connections,
        "loop": loop,
        "machine": machine.describe(),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        **{
            stack: {**_medians(measured), "rounds": [asdict(each) for each in measured]}
            for stack, measured in results.items()
        },
    }


def report(result: dict[str, Any]) -> str:
    """The result as a table for people: medians over the rounds."""
    rows = [["median of the rounds", *STACKS]]
    for field in fields(Round):
        decimals = 0 if field.name.endswith(("_per_second", "retransmissions")) else 2
        label = field.name.replace("_", " ")
        rows.append([label, *(table.number(result[stack][field.name], decimals) for stack in STACKS)])
    ratios = " ".join(f"{ratio:.2f}" for ratio in result["ratios"])
    return "\n".join(
        [
            f"{result['connections']:,} connections closed together, {result['loop']} loop",
            machine.summary(result["machine"]),
            "",
            table.render(rows),
            "",
            f"utcp closes {result['ratio']:.2f} times as many per second as kernel TCP (median of {ratios})",
        ]
    )


def _medians(rounds: Sequence[Round]) -> dict[str, float | None]:
    medians: dict[str, float | None] = {}
    for field in fields(Round):
        values = [getattr(each, field.name) for each in rounds]
        medians[field.name] = None if None in values else statistics.median(values)
    return medians


def _percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that is not below `percent` of them (nearest rank)."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def _each(total: int | None, connections: int) -> float | None:
    return None if total is None else total / connections


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more, not {text!r}")
    return int(text)


def main() -> None:
    """The command line: exit status 0, or 1 with one line on what went wrong, or 2 for arguments that make no sense."""
    parser = argparse.ArgumentParser(prog="python -m bench.closes", description="Close many connections together.")
    parser.add_argument("--connections", type=_count, default=2000, metavar="N")
    parser.add_argument("--rounds", type=_count, default=5, metavar="N")
    parser.add_argument("--loop", choices=loops.LOOPS, default="asyncio")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there, rather than print a table")
    arguments = parser.parse_args()
    if arguments.json and not arguments.json.parent.is_dir():
        parser.error(f"argument --json: there is no directory {arguments.json.parent}")
    if arguments.json and arguments.json.is_dir():
        parser.error(f"argument --json: {arguments.json} is a directory")
    try:
        descriptors.require(2 * arguments.connections)
        result = run(
            arguments.connections,
            arguments.rounds,
            arguments.loop,
            progress=lambda line: print(line, file=sys.stderr),
        )
        if arguments.json:
            arguments.json.write_text(json.dumps(result, indent=2) + "\n")
        else:
            print(report(result))
    except TimeoutError as error:
        sys.exit(f"{parser.prog}: {error or f'a round was not over after {TIME_LIMIT:.0f} s'}")
    except (OSError, BrokenProcessPool) as error:
        sys.exit(f"{parser.prog}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{parser.prog}: interrupted")


if __name__ == "__main__":
    main()
