"""Attack a server that has one innocent client, and show what the client notices: utcp's, and beside it kernel TCP's.

    python -m tests.hostile                                   # every attack, 5 seconds each
    python -m tests.hostile syn-1000 forged --seconds 10      # some of them
    python -m tests.hostile zero-window --scale 40            # 10,000 connections, 2,000 a second
    python -m tests.hostile --write .github/SECURITY.md       # and write the table there

An ESTABLISHED connection echoes 64 octets, again 5 ms after each answer, and a new client connects every 0.2 s. Both
are measured without the attack, and then with it. Server, client and attacker are processes of their own; with root on
Linux, the server and the others are in two network namespaces. Without, attacks by packets from foreign addresses are
left out, and so is kernel TCP.

p50, p99, longest: of the echoes, in milliseconds, without the attack → with it.
opened: new clients whose first SYN sufficed, whose second did, and all that there were.
blocked: by how much the server's event loop was late at most. CPU: the server's process. memory: growth of the server's
process and of the kernel's TCP buffers, since before the attack was prepared. download: what the innocent client
downloads beside its echoes.
holds: no echo took longer than 0.25 s, the p99 is at most 3 times that without the attack (or 5 ms), and every client
was connected by its first or second SYN. With the interface down or limited: the loop was late by 0.2 s at most, and
every client was connected.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench import machine, table
from tests.hostile.arena import Arena, ArenaFailed, Result, Side
from tests.hostile.attacks import ALL, BY_NAME, Attack
from tests.hostile.forge import Stack
from tests.interop import namespace

BEGIN: Final = "<!-- attacks: written by python -m tests.hostile --write -->\n"
END: Final = "<!-- end of attacks -->\n"

MAX_STALL: Final = 0.25
MAX_BLOCKED: Final = 0.2
MAX_RATIO: Final = 3.0
UNNOTICED: Final = 0.005
"""Seconds of p99 that are no harm, whatever it was before."""

_NAMES: Final[dict[Stack, str]] = {"utcp": "utcp", "kernel": "kernel TCP"}
_FIRST_SYN: Final = 0.9
_SECOND_SYN: Final = 2.9
"""Seconds by which an open has ended whose first or second SYN was answered: they are sent 1 and 2 seconds apart."""

_HEAD: Final = [
    "attack",
    "stack",
    "holds",
    "p50 ms",
    "p99 ms",
    "longest ms",
    "opened",
    "blocked ms",
    "CPU %",
    "memory MB",
    "besides",
]
_LEFT: Final = 3


def holds(result: Result, attack: Attack) -> bool:
    """Whether the innocent did not notice the attack. While the interface is down, or its rate limited, what counts is
    that the loop goes on, and that the connection does afterwards."""
    quiet, attacked = result.quiet, result.attacked
    if attack.link is not None:
        return attacked.blocked <= MAX_BLOCKED and None not in attacked.opens
    return (
        attacked.longest <= MAX_STALL
        and attacked.p99 <= max(MAX_RATIO * quiet.p99, UNNOTICED)
        and all(each is not None and each < _SECOND_SYN for each in attacked.opens)
    )


def row(result: Result, attack: Attack) -> list[str]:
    """The result as the table has it."""
    quiet, attacked = result.quiet, result.attacked
    return [
        attack.about,
        _NAMES[result.stack],
        "yes" if holds(result, attack) else "no",
        *(_change(getattr(quiet, name), getattr(attacked, name)) for name in ("p50", "p99", "longest")),
        _opened(attacked),
        table.number(1000 * attacked.blocked),
        table.number(100 * attacked.cpu),
        table.number(result.growth / 1e6, 1),
        _besides(quiet, attacked),
    ]


def _change(before: float, after: float) -> str:
    return f"{_milliseconds(before)} → {_milliseconds(after)}"


def _milliseconds(seconds: float) -> str:
    return table.number(1000 * seconds, 2 if seconds < 0.01 else 0)


def _opened(side: Side) -> str:
    first = sum(each is not None and each < _FIRST_SYN for each in side.opens)
    second = sum(each is not None and _FIRST_SYN <= each < _SECOND_SYN for each in side.opens)
    return f"{first} + {second} of {len(side.opens)}"


def _besides(quiet: Side, attacked: Side) -> str:
    parts = []
    if quiet.octets_per_second is not None and attacked.octets_per_second is not None:
        parts.append(f"download {quiet.octets_per_second / 1e6:.0f} → {attacked.octets_per_second / 1e6:.0f} MB/s")
    if quiet.mss != attacked.mss:
        parts.append(f"MSS {quiet.mss} → {attacked.mss}")
    return ", ".join(parts)


def attack_all(
    attacks: Sequence[Attack], stacks: Sequence[Stack], seconds: float, scale: float, *, root: bool
) -> tuple[list[list[str]], list[str]]:
    """The rows of the table, and what could not be measured."""
    rows, failures = [_HEAD], []
    for attack in attacks:
        for stack in stacks:
            print(f"{attack.name}, {_NAMES[stack]} ...", file=sys.stderr, flush=True)  # noqa: T201  # a program
            try:
                with Arena(stack, root=root) as arena:
                    rows.append(row(arena.suffer(attack, seconds, scale=scale), attack))
            except ArenaFailed as error:
                failures.append(f"{attack.name}, {_NAMES[stack]}: {error}")
    return rows, failures


def write(file: Path, text: str) -> None:
    """Put `text` between the marks in `file`; a file without marks becomes the text."""
    before, mark, rest = (file.read_text() if file.exists() else "").partition(BEGIN)
    file.write_text(before + BEGIN + text + END + rest.partition(END)[2] if mark else text)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 600:
        raise argparse.ArgumentTypeError(f"must be a number above 0 and up to 600, not {text!r}")
    return number


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.hostile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help=f"of {', '.join(BY_NAME)} (all)")
    parser.add_argument("--seconds", type=_seconds, default=5.0, help="of each measurement (5)")
    parser.add_argument("--scale", type=_seconds, default=1.0, help="times as many hostile connections (1)")
    parser.add_argument("--no-kernel", action="store_true", help="leave kernel TCP out")
    parser.add_argument("--loopback", action="store_true", help="as without root")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table between the marks there")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.attacks if name not in BY_NAME]
    if unknown:
        parser.error(f"there is no attack {unknown[0]!r}, only {', '.join(BY_NAME)}")
    attacks = [BY_NAME[name] for name in given.attacks] or list(ALL)
    reason = "--loopback" if given.loopback else namespace.missing()
    left_out = [attack.name for attack in attacks if attack.forges] if reason else []
    attacks = [attack for attack in attacks if attack.name not in left_out]
    stacks: list[Stack] = ["utcp"] if given.no_kernel or reason else ["utcp", "kernel"]
    load = machine.load()
    rows, failures = attack_all(attacks, stacks, given.seconds, given.scale, root=not reason)
    where = machine.summary(machine.describe(load))
    notes = [f"Not measured: {failure}." for failure in failures]
    if reason:
        notes.append(f"Left out ({reason}): kernel TCP{''.join(f', {name}' for name in left_out)}.")
    print("\n".join([where, table.render(rows), *notes]))  # noqa: T201
    if given.write:
        lines = ["", *table.markdown(rows, _LEFT), "", *notes]
        when = f"{datetime.now(UTC).date()}, commit {machine.commit()}, {given.seconds:g} s each"
        write(given.write, "\n".join([*lines, f"Measured on {where}; {when}.", ""]))
    if failures:
        sys.exit(1)


if __name__ == "__main__":
    main()
