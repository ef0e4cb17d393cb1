"""`utcp demo`: shows the life of one connection over real UDP, or a scene of how connections end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

from utcp.cli.options import PORT, SECONDS, file_errors, loop_option, run

if TYPE_CHECKING:
    from rich.console import Console

    from utcp.scenes.scene import Result, Scene
    from utcp.scenes.text import Language
    from utcp.trace.ladder import Rung

ALL: Final = "all"

_FOR_THE_LIVE_DEMO: Final = ("host", "port", "msl", "loop")
_FOR_SCENES: Final = ("lang", "pcap", "svg_dir")
_FOR_ONE_LADDER: Final = ("svg", "html", "pcap")

_FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.command
@click.argument("scene", required=False)
@click.option("--list", "list_", is_flag=True, help="List the scenes.")
@click.option("--lang", type=click.Choice(["en", "zh"]), help="Language of the SCENE.  [default: that of the locale]")
@click.option("--svg", type=_FILE, help="Save the ladder as an SVG picture.")
@click.option("--html", type=_FILE, help="Save the ladder as an HTML page to step through.")
@click.option("--pcap", type=_FILE, help="Save the packets of the SCENE as a pcapng file, for Wireshark.")
@click.option(
    "--svg-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help='With SCENE "all": save the pictures in this directory.',
)
@click.option(
    "--width",
    metavar="COLUMNS",
    type=click.IntRange(40, 1000),
    help="Width of the output.  [default: that of the terminal, or 100]",
)
@click.option("--host", metavar="HOST", default="127.0.0.1", show_default=True, help="Address of both ends.")
@click.option("--port", type=PORT, default=0, help="Port of the server.  [default: any free port]")
@click.option(
    "--msl",
    type=SECONDS,
    default=0.5,
    show_default=True,
    help="Maximum segment lifetime, in seconds; TIME_WAIT lasts twice as long.",
)
@loop_option
@click.pass_context
def command(
    ctx: click.Context,
    scene: str | None,
    list_: bool,
    lang: Language | None,
    svg: Path | None,
    html: Path | None,
    pcap: Path | None,
    svg_dir: Path | None,
    width: int | None,
    host: str,
    port: int,
    msl: float,
    loop: str,
) -> int:
    """Show the life of a connection, or SCENE, one way in which connections end.

    Without SCENE, two endpoints in one process talk over real UDP: handshake, echo, half-close, close, TIME_WAIT. A
    ladder shows the segments and the states of both ends. --host, --port, --msl and --loop are for this demo only.

    With SCENE, two endpoints play it in a simulated network, in virtual time, with the same segments each time. The
    text is in English or Chinese. --list lists the scenes. SCENE "all" plays all of them.

    The exit status is 0 if states, bytes and segments were as expected.
    """
    from utcp.scenes import NAMES, load
    from utcp.scenes.text import preferred_language

    console = _console()
    language = lang or preferred_language(os.environ)
    if list_:
        from utcp.cli.narration import list_scenes

        with _printed(console):
            list_scenes(console, [load(name) for name in NAMES], language, width)
        return 0
    if scene is None:
        _refuse(ctx, _FOR_SCENES, "is for a SCENE")
        return _live(console, host, port, msl, loop, svg, html, width)
    _refuse(ctx, _FOR_THE_LIVE_DEMO, "is for the demo without a SCENE")
    if scene == ALL:
        _refuse(ctx, _FOR_ONE_LADDER, "is for one SCENE; --svg-dir is for all")
        return _play_all(console, [load(name) for name in NAMES], language, svg_dir, width)
    _refuse(ctx, ("svg_dir",), f"is for all scenes: utcp demo {ALL}")
    if scene not in NAMES:
        raise click.UsageError(f"no scene is called {scene!r}. The scenes are {', '.join(NAMES)}")
    result = load(scene).play(language)
    if svg is not None:
        _write(svg, _picture(result).encode())
    if html is not None:
        _write(html, _page(result.rungs, _title(result)).encode())
    if pcap is not None:
        _write(pcap, result.capture)
    return _tell(console, result, width)


def _refuse(ctx: click.Context, parameters: Sequence[str], why: str) -> None:
    """Raise click.UsageError if one of these options was given."""
    for parameter in parameters:
        if ctx.get_parameter_source(parameter) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{parameter.replace('_', '-')} {why}")


def _console() -> Console:
    from rich.console import Console

    # A terminal whose encoding lacks Chinese characters or dashes shows replacement characters.
    reconfigure: Callable[..., None] | None = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    return Console(highlight=False, emoji=False)


@contextmanager
def _printed(console: Console) -> Iterator[None]:
    """Collect the output of `console` and print it with click.echo(), because rich would end the process itself if
    stdout were closed."""
    with console.capture() as captured:
        yield
    click.echo(captured.get(), nl=False)


# ---------------------------------------------------------------------- scenes


def _tell(console: Console, result: Result, width: int | None) -> int:
    from utcp.cli.narration import narrate

    with _printed(console):
        narrate(console, result, width)
    for difference in result.differences:
        click.echo(f"utcp demo: {result.scene.name}: {difference}", err=True)
    return 1 if result.differences else 0


def _play_all(
    console: Console, scenes: Sequence[Scene], language: Language, svg_dir: Path | None, width: int | None
) -> int:
    if svg_dir is not None:
        with file_errors(svg_dir):
            svg_dir.mkdir(parents=True, exist_ok=True)
    status = 0
    for number, scene in enumerate(scenes):
        result = scene.play(language)
        if svg_dir is not None:
            path = svg_dir / f"{scene.name}.svg"
            _write(path, _picture(result).encode())
            click.echo(path)
            for difference in result.differences:
                click.echo(f"utcp demo: {scene.name}: {difference}", err=True)
            status |= 1 if result.differences else 0
        else:
            if number:
                click.echo("\n")
            status |= _tell(console, result, width)
    return status


def _title(result: Result) -> str:
    return f"{result.scene.name}: {result.scene.title.in_(result.language)}"


def _picture(result: Result) -> str:
    from utcp.cli.narration import names
    from utcp.trace.ladder import render_svg

    return render_svg(result.rungs, title=_title(result), names=names(result.language))


def _page(rungs: Sequence[Rung], title: str) -> str:
    from utcp.trace.ladder import render_html

    return render_html(rungs, title=title)  # the page and the names of the ends are in English, the notes unchanged


def _write(path: Path, octets: bytes) -> None:
    from utcp.trace.output import write_output

    with file_errors(path):
        write_output(path, octets)


# ---------------------------------------------------------------------- over real UDP


def _live(
    console: Console,
    host: str,
    port: int,
    msl: float,
    loop: str,
    svg: Path | None,
    html: Path | None,
    width: int | None,
) -> int:
    from utcp.cli.narration import print_ladder, print_wrapped
    from utcp.scenes import live
    from utcp.trace.ladder import render_svg
    from utcp.tunnel.end import reason

    outcome = live.Outcome(msl)
    found = []
    try:
        run(live.converse(host, port, outcome, click.echo, Progress()), loop)
    except (OSError, UnicodeError) as error:
        found.append(f"{host or repr(host)}: {reason(error)}")
    if outcome.rungs:
        with _printed(console):
            print_ladder(console, outcome.rungs, width)
            print_wrapped(console, "\n" + live.summary(outcome), width)
        found += live.differences(outcome)
    for difference in found:
        click.echo(f"utcp demo: {difference}", err=True)
    if outcome.rungs:
        title = f"A connection over UDP, 2 MSL = {2 * msl:g} s"
        if svg is not None:
            _write(svg, render_svg(outcome.rungs, title=title).encode())
        if html is not None:
            _write(html, _page(outcome.rungs, title).encode())
    return 1 if found else 0


class Progress:
    """Shows on stderr how many seconds of TIME_WAIT are left. A terminal shows each second, a file only the first.

    A wait shorter than SHORT is not reported.
    """

    SHORT: Final = 2.0
    """Seconds."""

    def __init__(self) -> None:
        self._longest = 0
        """Columns of the longest text so far; 0: nothing was reported."""

    def __call__(self, seconds: float) -> None:
        """Report the seconds that are left; 0: the wait is over."""
        is_terminal = sys.stderr is not None and sys.stderr.isatty()
        if seconds > 0 and (self._longest or seconds >= self.SHORT) and (is_terminal or not self._longest):
            text = f"TIME_WAIT: {ceil(seconds)} s left"
            click.echo(f"\r{text:<{self._longest}}" if is_terminal else text, err=True, nl=not is_terminal)
            self._longest = max(self._longest, len(text))
        elif seconds <= 0 and self._longest and is_terminal:
            click.echo("\r" + " " * self._longest + "\r", err=True, nl=False)
