"""`utcp ladder`: the sequence diagram of a connection in a capture."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from utcp.cli.options import file_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from utcp.trace.connections import CapturedConnection
    from utcp.trace.ladder import Rung

_FORMATS: Final = {
    ".svg": "svg",
    ".mmd": "mermaid",
    ".mermaid": "mermaid",
    ".html": "html",
    ".htm": "html",
    ".txt": "text",
}


@click.command
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", metavar="OUT", type=click.Path(path_type=Path), help="File to write.  [default: stdout]"
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "svg", "mermaid", "html"]),
    help="Format of the diagram.  [default: by the suffix of OUT (.txt, .svg, .mmd, .html), else text]",
)
@click.option(
    "--connection",
    metavar="N",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of the connection in --list.",
)
@click.option("--list", "listing", is_flag=True, help="List the connections, and draw nothing.")
@click.option("--title", default="", help="Heading of the diagram.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(0),
    default=500,
    show_default=True,
    help="Of a longer ladder, show only the first N and the last N rows. 0: show all rows.",
)
def command(
    files: tuple[Path, ...],
    output: Path | None,
    form: str | None,
    connection: int,
    listing: bool,
    title: str,
    limit: int,
) -> None:
    """Draw the sequence diagram of a connection in a capture.

    FILE is a pcapng or pcap file, written by utcp, tcpdump or Wireshark. The diagram shows the states of both ends, the
    timers that expired, and which segments were lost (crossed out), retransmitted, duplicated or late. A capture by
    utcp has more of this than one by tcpdump. Two FILEs, captured at the two ends, show losses and transit times too.

    The HTML page steps through the diagram. It needs no server.
    """
    if len(files) > 2:
        raise click.UsageError(f"a connection has two ends: give one FILE, or one of each end, not {len(files)}")
    form = form or _form(output)

    from utcp.trace.capture_file import read_capture
    from utcp.trace.connections import find_connections
    from utcp.trace.ladder.from_capture import rungs_from_capture, shortened

    captures = []
    for path in files:
        with file_errors(path):
            captures.append(read_capture(path))
    found = find_connections(captures)
    if not found:
        raise click.ClickException(f"no TCP in {' and '.join(map(str, files))}")
    if listing:
        _write(output, "".join(f"{_described(one)}\n" for one in found))
        return
    if connection > len(found):
        held = "is only one" if len(found) == 1 else f"are only {len(found)}"
        raise click.ClickException(f"no connection {connection}: there {held} (see --list)")
    chosen = found[connection - 1]
    rungs = rungs_from_capture(captures, chosen)
    drawing = _draw(form, shortened(rungs, limit) if limit else rungs, title, chosen)
    _write(output, drawing, has_signature=form in ("svg", "html"))


def _form(output: Path | None) -> str:
    if output is None:
        return "text"
    form = _FORMATS.get(output.suffix.lower())
    if form is None:
        raise click.UsageError(f"the suffix of {output} names no format: end it in .svg, or use --format")
    return form


def _write(output: Path | None, text: str, *, has_signature: bool = False) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    from utcp.trace.output import SIGNATURE, write_output

    with file_errors(output):
        write_output(output, text.encode(), SIGNATURE if has_signature else 0)


def _draw(form: str, rungs: Sequence[Rung], title: str, connection: CapturedConnection) -> str:
    from utcp.trace.ladder import render_html, render_mermaid, render_svg, render_text

    names = (f"client {connection.client}", f"server {connection.server}")
    if form == "svg":
        return render_svg(rungs, title=title, names=names)
    if form == "mermaid":
        return render_mermaid(rungs, title=title, names=names)
    if form == "html":
        return render_html(rungs, title=title or "A TCP connection", names=names)
    heading = f"{title}\n" if title else ""
    width = shutil.get_terminal_size((100, 24)).columns
    return f"{heading}{' - '.join(names)}\n\n{render_text(rungs, width)}"


def _described(connection: CapturedConnection) -> str:
    octets = [connection.octets.get(end, 0) for end in (connection.client, connection.server)]
    return (
        f"{connection.number:>4}  {connection.client} - {connection.server}  {connection.segments} segments,"
        f" {octets[0]} octets there, {octets[1]} back"
    )
