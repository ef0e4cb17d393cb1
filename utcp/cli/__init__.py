"""The command line: `utcp`, or `python -m utcp`."""

import argparse
import math
import sys
from collections.abc import Sequence
from typing import NoReturn

from utcp.cli import demo


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (None: those of the process) name, and return the process's exit status.

    0: it went as it should; 1: it did not, and stderr says what; 2, raised as SystemExit: the arguments make no sense.
    """
    parser = _Parser(prog="utcp", description="A real TCP (RFC 9293) in user space, over UDP.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_demo(commands.add_parser("demo", help="one connection over real UDP, drawn as a ladder", description=DEMO))
    options = parser.parse_args(arguments)
    if "run" not in options:
        parser.print_help()
        return 0
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        return 130  # as a shell reports a command that SIGINT ended


DEMO = """Two endpoints in one process talk over real UDP: handshake, echo, half-close, close, TIME_WAIT. What happened
is drawn as a ladder of both ends. Exit status 0: states, bytes and segments were as TCP has them."""


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address of both ends (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=0, help="the server's port (default: a free one)")
    parser.add_argument(
        "--msl",
        type=_seconds,
        default=0.5,
        metavar="SECONDS",
        help="maximum segment lifetime; TIME_WAIT lasts twice that (default: %(default)s)",
    )
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio", help="default: %(default)s")
    parser.set_defaults(run=lambda options: demo.run(options.host, options.port, options.msl, options.loop))


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, without the usage in front of it."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(2)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds
