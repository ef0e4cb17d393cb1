"""The command line of the benches. Exit status: 0; 1 with one line about the failure; 2 for invalid arguments."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NoReturn

from utcp.trace.output import write_output

from . import loops, machine, page, plot, report, rounds, table
from .frame import Bench, Option, Outcome
from .progress import Progress
from .registry import NAMES, load

QUICK_ROUNDS: Final = 2


class _Parser(argparse.ArgumentParser):
    """Reports errors in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(name: str | None = None) -> None:
    """Run the measurement given by the command line. `name`: the bench whose module is the command."""
    prog = "python -m bench"
    if name is not None:
        parser = _bench_parser(_Parser(prog=f"{prog}.{name}"), load(name))
    else:
        parser = _Parser(prog=prog, description="Benchmarks of utcp against kernel TCP.")
        commands = parser.add_subparsers(dest="name", required=True, metavar="NAME")
        for each in NAMES:
            bench = load(each)
            _bench_parser(commands.add_parser(each, help=bench.title, description=bench.title), bench)
        _all_parser(commands.add_parser("all", help="all of these, with their goals"))
    given = parser.parse_args()
    chosen = name or given.name
    try:
        if chosen == "all":
            _all(given)
        else:
            _one(load(chosen), given)
    except (OSError, BrokenProcessPool, rounds.TrialFailed) as error:
        sys.exit(f"{parser.prog}: {error}")
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        sys.exit(130)  # the exit status after SIGINT, as reported by a shell


def _bench_parser(parser: argparse.ArgumentParser, bench: Bench) -> argparse.ArgumentParser:
    for option in bench.options:
        parser.add_argument(
            f"--{option.name.replace('_', '-')}",
            type=_count if isinstance(option.default, int) else _positive,
            metavar="N",
            help=f"{option.help} ({option.default:,})",
        )
    parser.add_argument("--rounds", type=_count, metavar="N", help=f"of each stack by turns ({bench.rounds})")
    parser.add_argument("--loop", choices=[*loops.LOOPS, "both"], default="asyncio", help="event loop (asyncio)")
    if len(bench.processes) > 1:
        parser.add_argument("--processes", choices=["1", "2", "both"], default="1", help="for the two ends (1)")
    else:
        parser.set_defaults(processes="both")
    parser.add_argument("--json", type=_file, metavar="FILE", help="write the result there")
    parser.add_argument("--svg", type=_svg, metavar="FILE", help="draw it there (matplotlib: the bench extra)")
    _common(parser)
    return parser


def _all_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=_count, metavar="N", help="of each stack by turns, in every bench")
    parser.add_argument("--only", choices=NAMES, action="append", metavar="NAME", help="can be given several times")
    parser.add_argument(
        "--into", type=_directory, metavar="DIRECTORY", help="write the page of results there (only print the goals)"
    )
    _common(parser)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-peers", action="store_true", help="leave out all but utcp and kernel TCP")
    parser.add_argument(
        "--quick", action="store_true", help="only see whether it works: tiny numbers, which say nothing"
    )


def _one(bench: Bench, arguments: argparse.Namespace) -> None:
    values = {
        option.name: given if given is not None else option.quick if arguments.quick else option.default
        for option in bench.options
        for given in [getattr(arguments, option.name)]
    }
    plan = rounds.Plan(
        bench,
        values,
        arguments.rounds or (QUICK_ROUNDS if arguments.quick else bench.rounds),
        list(loops.LOOPS) if arguments.loop == "both" else [arguments.loop],
        list(bench.processes) if arguments.processes == "both" else [int(arguments.processes)],
        peers=not arguments.no_peers,
    )
    usual = all(values[option.name] == option.default for option in bench.options)
    print(machine.variant(plan.loops) + (_duration([plan]) if usual else ""), flush=True)
    start, busy = perf_counter(), machine.load()
    with Progress(plan.trials()) as progress:
        outcomes = rounds.run(plan, progress)
    place = where(start, busy, quick=arguments.quick)
    print(machine.summary(place["machine"]))
    print(report.text(bench, outcomes))
    if arguments.json:
        document = _json({"benchmark": bench.name, **place, "outcomes": rounds.document(bench, outcomes)})
        write_output(arguments.json, document.encode(), signature=1)
    if arguments.svg:
        plot.save(bench, outcomes, arguments.svg)


def _all(arguments: argparse.Namespace) -> None:
    plans = [
        rounds.Plan(
            bench,
            {option.name: _in_all(bench, option, quick=arguments.quick) for option in bench.options},
            arguments.rounds or (1 if arguments.quick else bench.rounds_in_all),
            list(loops.LOOPS),
            (1, 2),
            peers=not arguments.no_peers,
        )
        for bench in map(load, NAMES)
        if not arguments.only or bench.name in arguments.only
    ]
    print(machine.variant(tuple(loops.LOOPS)) + ("" if arguments.quick else _duration(plans)), flush=True)
    start, busy = perf_counter(), machine.load()
    results: list[tuple[Bench, list[Outcome]]] = []
    failures: list[str] = []
    with Progress(sum(plan.trials() for plan in plans)) as progress:
        for plan in plans:
            try:
                outcomes = rounds.run(plan, progress)
            except rounds.TrialFailed as error:  # the other benches still get their place on the page
                failures.append(str(error))
                outcomes = []
            results.append((plan.bench, outcomes))
    place = where(start, busy, quick=arguments.quick)
    print(machine.summary(place["machine"]))
    print(table.render(page.goals(results, place["machine"]["utcp"])))
    if arguments.into is not None:
        _write(arguments.into, results, place, failures)
    if failures:
        raise rounds.TrialFailed("; ".join(failures))


def _write(
    into: Path, results: Sequence[tuple[Bench, Sequence[Outcome]]], place: dict[str, Any], failures: Sequence[str]
) -> None:
    reason = plot.missing()
    if reason is not None:
        print(f"no plots: {reason}", file=sys.stderr)
    drawn = [(bench, outcomes) for bench, outcomes in results if outcomes and reason is None]
    plots = {bench.name: f"performance-{bench.name}.svg" for bench, _ in drawn}
    found = [{"benchmark": bench.name, "outcomes": rounds.document(bench, outcomes)} for bench, outcomes in results]
    text = page.page(results, place, plots, failures)
    page.write(into, text, _json({**place, "failures": failures, "results": found}))
    for bench, outcomes in drawn:  # after the figures are written, so that a failing plot does not lose them
        plot.save(bench, outcomes, into / plots[bench.name])
    print(f"{into / 'performance.md'}: {place['seconds'] / 60:.1f} minutes")


def _duration(plans: Sequence[rounds.Plan]) -> str:
    """Return how long the measurements take, as the end of the first line."""
    seconds = sum(plan.seconds() for plan in plans)
    about = f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"
    return f"; about {about} on two CPUs"


def where(start: float, load: float, *, quick: bool) -> dict[str, Any]:
    """Return the environment of a result: the machine with its `load` before the measurement, versions, commit, date,
    the seconds since `start`, and whether the run was only a smoke test."""
    return {
        "quick": quick,
        "machine": machine.describe(load),
        "peers": machine.versions(),
        "commit": machine.commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": perf_counter() - start,
    }


def _in_all(bench: Bench, option: Option, *, quick: bool) -> int | float:
    return option.quick if quick else bench.options_in_all.get(option.name, option.default)


def _json(result: dict[str, Any]) -> str:
    return json.dumps(result, indent=1) + "\n"


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more, not {text!r}")
    return int(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 3600:
        raise argparse.ArgumentTypeError(f"must be a number above 0 and up to 3600, not {text!r}")
    return number


def _file(text: str) -> Path:
    file = Path(text)
    if not file.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {file.parent}")
    if file.is_dir():
        raise argparse.ArgumentTypeError(f"{file} is a directory")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{file} cannot be written")
    return file


def _svg(text: str) -> Path:
    reason = plot.missing()
    if reason is not None:
        raise argparse.ArgumentTypeError(reason)
    return _file(text)


def _directory(text: str) -> Path:
    """Return an existing directory, or create it in an existing one."""
    directory = Path(text)
    if not directory.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {directory.parent}")
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot make directory {directory}: {error.strerror}") from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{directory} cannot be written")
    return directory
