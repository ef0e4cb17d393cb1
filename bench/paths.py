"""Goodput over paths with loss, reordering and queues: utcp in the simulator, Linux's TCP over the same paths.

    python -m bench.paths [--only 100mbit/20ms/1%] [--no-kernel] [--json FILE] [--write]
    python -m bench.paths fairness [--no-kernel] [--json FILE] [--write]

Goodput: the octets that the receiving application read, in Mbit/s, from when the receiver has accepted the connection.
There is one flow, whose sender always writes and whose receiver always reads. Slow start is included. A cell with
randomness is the mean of three seeds. The table also has the delay of data packets in the bottleneck's queue, mean and
95th percentile, because it affects other flows and the flow's own requests.

utcp runs in virtual time, over `utcp.testing.Network`. The protocol, the driver and asyncio's transports are the real
ones, timers fire with the driver's resolution, and computation takes no time. Linux runs in real time between two
network namespaces, joined by a relay (bench/impairment.py). Both use the same `Path` with the same seeds, so that the
n-th packet has the same random numbers. A run with a late relay is repeated, and marked if that did not help.

Packets have at most 1500 octets. utcp's payload is 1440 of them (IP 20, UDP 8, TCP 20, timestamps 12), Linux's 1448, so
goodput cannot exceed 96.0 and 96.5 % of the bandwidth. A ratio is utcp's goodput divided by that of Linux's controller
of the same name (its BBR is version 1).

fairness: two flows share a path of 20 Mbit/s and 40 ms. The second starts two seconds after the first, and the
measurement takes 45 seconds from then. Jain's index is 1 for equal rates, 0.5 if one flow has everything. Also four
flows, of which one is of another TCP, all started within a second: the rate of that one as a multiple of the mean of
the others.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from utcp.tcp.congestion import CONTROLLERS
from utcp.trace.output import write_output

from . import fairness, kernel_path, machine, path_report, simulated_path
from .path_cells import CELLS, MTU, Cell, Run, matching
from .processes import Job, run_all

KERNELS: Final = ("cubic", "bbr")
"""Linux's congestion controllers to compare with."""

RESULTS: Final = Path(__file__).parent / "results"

ATTEMPTS: Final = 3
"""Maximum number of attempts at a run whose relay is late."""

Progress = Callable[[str], None]


def lateness_allowed(cell: Cell) -> float:
    """Return the limit of the relay's lateness (99th percentile, seconds), above which a run is not representative of
    the path."""
    return 0.0002 + cell.rtt / 20


def measure_utcp(cell: Cell, controller: str, seconds: float, seed: int) -> Run:
    """Make one run in virtual time."""
    return simulated_path.run(cell.conditions, [controller], seconds, seed, ack_conditions=cell.ack_conditions)


def measure_linux(cell: Cell, controller: str, seconds: float, seed: int) -> Run:
    """Make one run in real time, or more while the relay is late, and return the one with the least lateness."""
    runs: list[Run] = []
    while len(runs) < ATTEMPTS and (not runs or runs[-1].p99 > lateness_allowed(cell)):
        flows = [(kernel_path.LINUX, controller)]
        runs.append(kernel_path.run(cell.conditions, flows, seconds, seed, ack_conditions=cell.ack_conditions))
    return min(runs, key=lambda run: run.p99)


def measure(
    cells: Sequence[Cell], duration: float | None, jobs: int, *, kernel: bool, progress: Progress
) -> list[dict[str, Any]]:
    """Return the figures of every cell, ready for JSON. At most `jobs` runs of utcp at a time."""

    def run(tcp: str, function: Callable[..., Run], controllers: Sequence[str], capacity: float) -> None:
        todo = [
            Job(
                f"{tcp} {controller} over {cell.name}, seed {seed}",
                1.0 if tcp == kernel_path.UTCP else _load(cell, controller),
                function,
                (cell, controller, duration or cell.duration, seed),
            )
            for cell in cells
            for controller in controllers
            for seed in cell.seeds
        ]
        for number, (job, result) in enumerate(run_all(todo, capacity), 1):
            cell, controller, seconds, seed = job.arguments
            figures[cell.name][tcp].setdefault(controller, {})[seed] = result
            progress(f"{number} of {len(todo)}: {job.name}: {result.mbit[0]:.2f} Mbit/s in {seconds:g} s")

    figures: dict[str, dict[str, dict[str, dict[int, Run]]]] = {
        cell.name: {kernel_path.UTCP: {}, kernel_path.LINUX: {}} for cell in cells
    }
    if kernel:
        run(kernel_path.LINUX, measure_linux, KERNELS, 0.7 * jobs)
    run(kernel_path.UTCP, measure_utcp, list(CONTROLLERS), jobs)
    return [
        {
            "cell": cell.name,
            "queue": cell.queue,
            "packet_time": 8 * MTU / cell.bandwidth,
            "seconds": duration or cell.duration,
            **{
                tcp: {
                    controller: {
                        "mbit": statistics.fmean(run.mbit[0] for run in runs.values()),
                        "queue_delay": statistics.fmean(run.queue_delay for run in runs.values()),
                        "queue_delay_p95": statistics.fmean(run.queue_delay_p95 for run in runs.values()),
                        "late": any(run.p99 > lateness_allowed(cell) for run in runs.values()),
                        "runs": [{"seed": seed, **asdict(runs[seed])} for seed in sorted(runs)],
                    }
                    for controller, runs in sorted(controllers.items())
                }
                for tcp, controllers in figures[cell.name].items()
            },
        }
        for cell in cells
    ]


def _load(cell: Cell, controller: str) -> float:
    """Return the approximate load of the relay and the kernel, in current CPUs. It need not be exact."""
    rate = cell.bandwidth
    if controller != "bbr" and cell.loss:  # twice the rate that loss allows (Mathis et al.)
        rate = min(rate, 2 * 8 * 1448 * 1.22 / (cell.rtt + 0.001) / cell.loss**0.5)
    return 0.08 + 0.55 * rate / 100e6


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"must be seconds, above 0 and up to 3600, not {text!r}")
    return seconds


def _cells(pattern: str) -> list[Cell]:
    try:
        return matching(pattern)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.paths", description="Bulk transfers over impaired paths.")
    parser.add_argument("what", nargs="?", choices=["goodput", "fairness"], default="goodput")
    parser.add_argument(
        "--only",
        type=_cells,
        action="append",
        metavar="PATH",
        help="only such paths: 100mbit/20ms/1%%, or parts of that as in 20ms; can be given several times",
    )
    parser.add_argument("--no-kernel", action="store_true", help="leave Linux's TCP out")
    parser.add_argument("--kernel-from", type=Path, metavar="FILE", help="take Linux's figures from an earlier --json")
    parser.add_argument(
        "--duration", type=_seconds, metavar="SECONDS", help="of each run (5, 10 or 20 by default, 45 for fairness)"
    )
    parser.add_argument("--jobs", type=_count, default=len(os.sched_getaffinity(0)), metavar="N", help="CPUs to use")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there, rather than print a table")
    parser.add_argument("--write", action="store_true", help=f"write the result and its table to {RESULTS.name}/, too")
    return parser


def main() -> None:
    """Run the command line. Exit status: 0; 1 with one line about the failure; 2 for invalid arguments."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.json and not arguments.json.parent.is_dir():
        parser.error(f"argument --json: there is no directory {arguments.json.parent}")
    if arguments.json and arguments.json.is_dir():
        parser.error(f"argument --json: {arguments.json} is a directory")
    if arguments.kernel_from and not arguments.kernel_from.is_file():
        parser.error(f"argument --kernel-from: there is no file {arguments.kernel_from}")
    if arguments.what == "fairness" and (arguments.only or arguments.kernel_from):
        parser.error("fairness has its own paths: --only and --kernel-from are not for it")

    def progress(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        skipped = "not asked for" if arguments.no_kernel else kernel_path.unavailable(KERNELS)
        if arguments.kernel_from:
            skipped = f"taken from {arguments.kernel_from.name}"
        if skipped:
            progress(f"Linux is not measured: {skipped}")
        where = {"machine": machine.describe(machine.load()), "commit": machine.commit(), "kernel_skipped": skipped}
        result: dict[str, Any]
        if arguments.what == "fairness":
            seconds = arguments.duration or fairness.SECONDS
            scenarios = fairness.measure(seconds, arguments.jobs, kernel=not skipped, progress=progress)
            result = {"benchmark": "fairness", **where, "seconds": seconds, "scenarios": scenarios}
            text = path_report.fairness(result)
        else:
            wanted = [cell for cell in CELLS if not arguments.only or any(cell in found for found in arguments.only)]
            cells = measure(wanted, arguments.duration, arguments.jobs, kernel=not skipped, progress=progress)
            if arguments.kernel_from:
                path_report.take_kernel(cells, json.loads(arguments.kernel_from.read_text()))
            result = {"benchmark": "paths", **where, "cells": cells}
            result |= {"goals": path_report.GOALS, "queue_goals": path_report.QUEUE_GOALS}
            text = path_report.goodput(result, list(CONTROLLERS), KERNELS)
        document = json.dumps(result, indent=1) + "\n"
        if arguments.write:
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"{result['benchmark']}.json").write_text(document)
            (RESULTS / f"{result['benchmark']}.md").write_text(path_report.markdown(result, text))
        if arguments.json:
            write_output(arguments.json, document.encode(), signature=1)
        else:
            print(text)
    except (OSError, BrokenProcessPool) as error:
        sys.exit(f"{parser.prog}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{parser.prog}: interrupted")


if __name__ == "__main__":
    main()
