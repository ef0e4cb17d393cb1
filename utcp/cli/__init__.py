"""The command line: `utcp`, or `python -m utcp`.

`eval "$(_UTCP_COMPLETE=bash_source utcp)"` (or zsh_source, fish_source) enables completion of commands and options.
"""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Final

import click
from click.exceptions import Exit, NoArgsIsHelpError
from click.shell_completion import shell_complete

from utcp import __version__
from utcp.cli.options import Group
from utcp.tcp import COMPILED

COMMANDS: Final = ("capture", "demo", "lab", "ladder", "nc", "plot", "ss", "tunnel")
"""The commands. Each is a module of this package with a click command `command`."""

INTERRUPTED: Final = 130
"""Exit status after SIGINT, as reported by a shell."""
PIPE_CLOSED: Final = 141
"""Exit status after SIGPIPE, as reported by a shell: the reader of stdout has closed it."""

_VERSION: Final = f"utcp %(version)s ({'compiled' if COMPILED else 'interpreted'})"
_COMPLETE: Final = "_UTCP_COMPLETE"


class _Commands(Group):
    """Imports a command's module on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(f"utcp.cli.{cmd_name}").command
        return found


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message=_VERSION, help="Show the version and exit.")
@click.pass_context
def command(ctx: click.Context) -> None:
    """A real TCP (RFC 9293) in user space, over UDP.

    "utcp COMMAND --help" shows what a command does. This line, in ~/.bashrc, makes Tab complete commands and options
    (in zsh: zsh_source):

    \b
    eval "$(_UTCP_COMPLETE=bash_source utcp)"
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` name (None: the process's), and return the exit status of the process.

    0: success; 1: failure, with the reason in one line on stderr; 2: wrong usage, with an error on stderr; 130:
    interrupted; 141: stdout was closed by its reader. A command fails by raising click.ClickException or OSError, and
    may return another status.
    """
    _occupy_standard_streams()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    named = next((argument for argument in arguments if not argument.startswith("-")), "")
    name = f"utcp {named}" if named in COMMANDS else "utcp"
    try:
        status = _run(list(arguments))
        if sys.stdout is not None:  # None: the process has no stdout
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
        return _complain(f"{name}: {_reason(error)}", 1)
    return status


def _reason(error: OSError) -> str:
    """Return the reason in words, after the file that it is about. An error without a file is usually one of stdout."""
    said = error.strerror or str(error)
    return said if error.filename is None else f"{error.filename}: {said}"


def _occupy_standard_streams() -> None:
    """Open /dev/null for each missing standard stream, so that no socket gets its descriptor. Other code would take
    such a socket for stdout, and uvloop aborts when it closes one."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):  # in this order, because a file gets the lowest free descriptor
        if stream is None:
            os.open(os.devnull, os.O_RDWR)


def _run(arguments: list[str]) -> int:
    """Run the command as click's own main() does, without its handling of EOFError, Ctrl-C and closed pipes."""
    if completing := os.environ.get(_COMPLETE):
        return shell_complete(command, {}, "utcp", _COMPLETE, completing)
    try:
        with _without_log_events(), command.make_context("utcp", arguments) as context:
            status = command.invoke(context)
    except Exit as end:
        return end.exit_code
    return status if isinstance(status, int) else 0


@contextmanager
def _without_log_events() -> Iterator[None]:
    """Log no event of a connection within the context, because the commands print their errors themselves."""
    logger = logging.getLogger("utcp")
    logger.addFilter(_is_no_event)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_event)


def _is_no_event(record: logging.LogRecord) -> bool:
    return not hasattr(record, "event")  # an attribute of the events of `utcp.trace.log`


def _complain(text: str, status: int) -> int:
    click.echo(" ".join(text.split()), err=True)
    return status


def _drop_output() -> None:
    """Discard data still buffered for stdout, because it could not be written and must not be written at exit."""
    try:
        descriptor = sys.stdout.fileno()
    except (AttributeError, OSError):  # there is no stdout, or it is not a file
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
