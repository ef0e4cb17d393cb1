"""The command line: `utcp`, or `python -m utcp`."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

import click

COMMANDS: Final = ("demo",)
"""Each is a module here, of that name, with a click command `command`."""


class _Commands(click.Group):
    """Imports a command's module when it is asked for."""

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
@click.version_option(package_name="aioutcp", message="%(version)s")
@click.pass_context
def command(ctx: click.Context) -> None:
    """A real TCP (RFC 9293) in user space, over UDP."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (None: those of the process) name, and return the process's exit status.

    0: it went as it should; 1: it did not, and stderr says why in one line; 2: the arguments make no sense, and stderr
    says which; 130: interrupted; 141: whoever read stdout has gone. A command fails by raising click.ClickException,
    and may end with another status by returning it.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    named = next((argument for argument in arguments if not argument.startswith("-")), "")
    name = f"utcp {named}" if named in COMMANDS else "utcp"
    try:
        status = command.main(list(arguments), prog_name="utcp", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else name
        print(f"{path}: {_one_line(error)} (see {path} --help)", file=sys.stderr)
        return error.exit_code
    except click.ClickException as error:
        print(f"{name}: {_one_line(error)}", file=sys.stderr)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130  # as a shell reports a command that SIGINT ended
    except BrokenPipeError:
        # Whoever read our output has what it wanted. What is still buffered goes nowhere, at exit too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as a shell reports a command that SIGPIPE ended
    return status if isinstance(status, int) else 0


def _one_line(error: click.ClickException) -> str:
    return " ".join(error.format_message().split())
