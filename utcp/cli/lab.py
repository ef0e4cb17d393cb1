"""`utcp lab`: experiments with the scenes of `utcp demo`, on a page in the browser."""

from __future__ import annotations

import errno
import webbrowser
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import click

from utcp.cli.connections import chosen_connections, connection_option, listed
from utcp.cli.options import PORT, file_errors, warn

if TYPE_CHECKING:
    from utcp.trace.ladder.told import Json

_UNRESERVED: Final = "?&=:@,.-_"
"""Characters of an address that its fragment keeps as they are."""

_MOST_RUNGS: Final = 500
"""Rows of a capture that the page shows. Those in the middle of a longer ladder are left out."""


@click.command
@click.argument("what", metavar="[SCENE | EXPERIMENT | FILE]", required=False)
@click.option("--port", type=PORT, default=0, help="Port of the page.  [default: any free port]")
@click.option("--open/--no-open", "opens", default=True, show_default=True, help="Open the page in the browser.")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the page with what it shows to this file, and start no server.",
)
@connection_option("Of a FILE: number of the connection in --list.")
@click.option("--list", "listing", is_flag=True, help="List the connections in FILE, and show no page.")
def command(
    what: str | None, port: int, opens: bool, html: Path | None, wanted: tuple[int, int], listing: bool
) -> None:
    """Experiment with TCP on a page in the browser: lose a segment, and see.

    The page plays the scenes of "utcp demo" as a ladder. A click on a segment shows its fields, the variables and
    timers of both ends, and the section of the RFC that decided. Segments can be lost, delayed, duplicated, corrupted,
    and injected. Then the scene is simulated again. There are exercises, too.

    SCENE is a name from "utcp demo --list". EXPERIMENT is what follows the # in the address of the page, such as
    "lost-last-ack?msl=2&lose=8". FILE is a capture (pcapng or pcap) by utcp, tcpdump or Wireshark, which the page shows
    without experiments.

    The page is served on this machine only, until Ctrl-C.
    """
    from utcp.lab.contained import contained, page_of
    from utcp.lab.experiment import SCENES, Experiment
    from utcp.lab.settings import ExperimentError

    shown = None
    address = ""
    if what is not None and _is_file(what):
        shown = _capture(Path(what), wanted, listing=listing)
        if shown is None:
            return
    elif listing:
        raise click.UsageError("--list is for a FILE")
    else:
        try:
            address = Experiment.from_address(what or SCENES[0]).to_address()
        except ExperimentError as error:
            raise click.UsageError(str(error)) from None
    if html is None:
        _serve(port, opens, "" if what is None else address, shown)
        return
    from utcp.trace.output import SIGNATURE, write_output

    page = page_of(contained(Experiment.from_address(address)) if shown is None else shown)
    with file_errors(html):
        write_output(html, page.encode(), SIGNATURE)


def _is_file(what: str) -> bool:
    return Path(what).suffix in (".pcap", ".pcapng", ".cap") or "/" in what or Path(what).is_file()


def _serve(port: int, opens: bool, address: str, shown: Json | None) -> None:
    from utcp.extras import needs_extra
    from utcp.lab.server import HOST, bind, serve

    try:
        with needs_extra("lab"):
            import uvicorn  # noqa: F401  # before the port is taken and a browser opened
    except ModuleNotFoundError as error:
        raise click.ClickException(str(error)) from None
    try:
        listening = bind(port)
    except OSError as error:
        reason = "another program uses it" if error.errno == errno.EADDRINUSE else error.strerror
        raise click.ClickException(f"port {port}: {reason}") from None
    with listening:
        fragment = f"#{quote(address, safe=_UNRESERVED)}" if address else ""
        url = f"http://{HOST}:{listening.getsockname()[1]}/{fragment}"
        click.echo(url)
        if opens:
            # In a thread, because a browser in the terminal does not return.
            Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        serve(listening, shown)


def _capture(path: Path, wanted: tuple[int, int], *, listing: bool) -> Json | None:
    """Return what the page shows of a capture, or None if its connections were listed."""
    from utcp.lab.captured import captured
    from utcp.trace.capture_file import TruncatedCapture, read_capture
    from utcp.trace.connections import find_connections
    from utcp.trace.ladder.from_capture import rungs_from_capture, shortened

    cut: list[TruncatedCapture] = []
    with file_errors(path):
        capture = read_capture(path, truncated=cut.append)
    found = find_connections([capture])
    if not found:
        raise click.ClickException(str(cut[0]) if cut else f"no TCP in {path}")
    for error in cut:
        warn(f"{error}. The page shows the packets before.")
    if listing:
        click.echo(listed(found), nl=False)
        return None
    chosen = chosen_connections(found, *wanted)
    if len(found) > 1:
        click.echo(f"connection {chosen[0].number} of {len(found)} (--list shows all)", err=True)
    rungs = shortened(rungs_from_capture([capture], *chosen), _MOST_RUNGS)
    return captured(rungs, path.name, (str(chosen[0].client), str(chosen[0].server)))
