"""The command line: `utcp`, or `python -m utcp`.

The shell completes commands and options after `eval "$(_UTCP_COMPLETE=bash_source utcp)"` (or zsh_source, fish_source).
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

import click
from click.exceptions import Exit, NoArgsIsHelpError
from click.shell_completion import shell_complete

from utcp import __version__

COMMANDS: Final = ("capture", "demo", "ladder", "nc", "plot", "ss", "tunnel")
"""Each is a module here, of that name, with a click command `command`."""

INTERRUPTED: Final = 130
"""The exit status that a shell gives a command which SIGINT ended."""
PIPE_CLOSED: Final = 141
"""That of a command which SIGPIPE ended: whoever read its output has gone."""

_COMPLETE: Final = "_UTCP_COMPLETE"


class _Commands(click.Group):
    """Imports a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(f"utcp.cli.{cmd_name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does, but it would cut each first sentence to what is left of the line."""
        rows = [
            (name, found.get_short_help_str(limit=1000))
            for name in self.list_commands(ctx)
            if (found := self.get_command(ctx, name)) is not None
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="utcp %(version)s", help="Show the version and exit.")
@click.pass_context
def command(ctx: click.Context) -> None:
    """A real TCP (RFC 9293) in user space, over UDP.

    "utcp COMMAND --help" shows what a command does. This line makes Tab complete commands and options:

    \b
    eval "$(_UTCP_COMPLETE=bash_source utcp)"       # or zsh_source; put it into ~/.bashrc to keep it
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (None: those of the process) name, and return the process's exit status.

    0: it went as it should; 1: it did not, and stderr says why in one line; 2: the arguments make no sense, and stderr
    says which; 130: interrupted; 141: whoever read stdout has gone. A command fails by raising click.ClickException,
    or the OSError that it met, and may end with another status by returning it.
    """
    _occupy_standard_streams()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    named = next((argument for argument in arguments if not argument.startswith("-")), "")
    name = f"utcp {named}" if named in COMMANDS else "utcp"
    try:
        status = _run(list(arguments))
        if sys.stdout is not None:  # None: the process was given none
            sys.stdout.flush()
    except NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else name
        return _complain(f"{path}: {error.format_message().rstrip('.')} (see {path} --help)", error.exit_code)
    except click.ClickException as error:
        return _complain(f"{name}: {error.format_message()}", error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return PIPE_CLOSED
    except OSError as error:
        _drop_output()
        return _complain(f"{name}: {error}", 1)
    return status


def _occupy_standard_streams() -> None:
    """Where the process was given no stdin, stdout or stderr, have nothing else take that descriptor: a socket that is
    stdout to some, and uvloop aborts when it closes one."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):  # in their order: a file gets the lowest descriptor that is free
        if stream is None:
            os.open(os.devnull, os.O_RDWR)


def _run(arguments: list[str]) -> int:
    """What click's own main() does, without its opinions on EOFError, Ctrl-C and closed pipes."""
    if completing := os.environ.get(_COMPLETE):
        return shell_complete(command, {}, "utcp", _COMPLETE, completing)
    try:
        with command.make_context("utcp", arguments) as context:
            status = command.invoke(context)
    except Exit as end:
        return end.exit_code
    return status if isinstance(status, int) else 0


def _complain(text: str, status: int) -> int:
    click.echo(" ".join(text.split()), err=True)
    return status


def _drop_output() -> None:
    """What is still buffered for stdout goes nowhere: it could not be written, and will not be at exit."""
    try:
        descriptor = sys.stdout.fileno()
    except (AttributeError, OSError):  # there is no stdout, or it is no file
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
