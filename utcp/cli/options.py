"""The common part of the commands' options: their types, and the loop on which a command runs."""

import asyncio
import math
import ssl
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.exceptions import Exit

import utcp

T = TypeVar("T")

PLAIN_WIDTH: Final = 100
"""Width of the output without a terminal, and maximum width of a paragraph, columns."""


class _Port(click.ParamType[int]):
    """A port. `least` is 1 where something must be there already, or 0 where the system may choose a port."""

    name = "port"

    def __init__(self, least: int) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        if not text.isascii() or not text.isdecimal() or len(text) > 5 or not self._least <= int(text) <= 65535:
            self.fail(f"{text!r} is not a port, {self._least} to 65535", param, ctx)
        return int(text)


class _Address(click.ParamType[tuple[str, int]]):
    """HOST:PORT, [HOST]:PORT for IPv6, or PORT alone if the type has a default host. Converted to a tuple (host,
    port)."""

    name = "address"

    def __init__(self, port: _Port, default_host: str | None = None) -> None:
        self._port = port
        self._default_host = default_host

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, colon, port = str(value).rpartition(":")
        if not colon and self._default_host is not None:
            host = self._default_host
        bracketed = host.startswith("[") and host.endswith("]")
        if bracketed:
            host = host[1:-1]
        if not host or (":" in host and not bracketed):
            form = "HOST:PORT" if self._default_host is None else "PORT or HOST:PORT"
            self.fail(f"{value!r} is not {form} (an IPv6 address in brackets: [::1]:9000)", param, ctx)
        return host, self._port.convert(port, param, ctx)


class _Seconds(click.ParamType[float]):
    name = "seconds"

    def __init__(self, least: float | None = None) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if self._least is None:
            if not 0 < seconds < math.inf:
                self.fail(f"{value!r} is not a number of seconds above 0", param, ctx)
        elif not self._least <= seconds < math.inf:
            self.fail(f"{value!r} is not a number of seconds, {self._least:g} or more", param, ctx)
        return seconds


class _ServerName(click.ParamType[str]):
    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        try:
            # The ssl module offers no other check; without this, the error would come at the first connection.
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=text)
        except ValueError:
            self.fail(f"{text!r} is not a host's name", param, ctx)
        return text


FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
PORT: Final = _Port(0)
REMOTE_PORT: Final = _Port(1)
REMOTE_ADDRESS: Final = _Address(REMOTE_PORT)
SERVICE_ADDRESS: Final = _Address(REMOTE_PORT, "127.0.0.1")
SERVER_NAME: Final = _ServerName()
LOCAL_ADDRESS: Final = _Address(PORT, "127.0.0.1")
ANY_ADDRESS: Final = _Address(PORT, "*")
"""An address in which the host "*" means all interfaces."""
SECONDS: Final = _Seconds()
SECONDS_OR_NONE_AT_ALL: Final = _Seconds(0)


class Group(click.Group):
    """A group of commands whose help does not cut the first sentence of each to the rest of the line."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [
            (name, found.get_short_help_str(limit=1000))
            for name in self.list_commands(ctx)
            if (found := self.get_command(ctx, name)) is not None
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


loop_option: Final = click.option(
    "--loop", type=click.Choice(["asyncio", "uvloop"]), default="asyncio", show_default=True, help="The event loop."
)


@contextmanager
def file_errors(path: object) -> Iterator[None]:
    """Report errors of a file as click.ClickException, in one line that names the file."""
    from utcp.trace.capture_file import CaptureError

    try:
        yield
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror or error}") from None
    except CaptureError as error:  # its text names the file
        raise click.ClickException(str(error)) from None


def warn(text: str) -> None:
    """Print a line on stderr that begins with the name of the command."""
    click.echo(f"{click.get_current_context().command_path}: {text}", err=True)


def run(main: Coroutine[Any, Any, T], loop: str = "asyncio") -> T:
    """Run `main` with utcp.run() on the event loop named `loop`.

    SIGTERM and SIGHUP end the command properly, with the exit status 128 plus the signal's number. Raises
    click.ClickException if uvloop is missing.
    """
    try:
        factory = _loop_factory(loop)
    except ImportError:
        main.close()
        raise click.ClickException("uvloop is not installed: pip install uvloop, or use --loop asyncio") from None
    try:
        return utcp.run(main, loop_factory=factory)
    except SystemExit as end:
        raise Exit(int(end.code or 0)) from None


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name == "asyncio":
        return None
    import uvloop  # imported only on request, because it does not exist on Windows

    return uvloop.new_event_loop
