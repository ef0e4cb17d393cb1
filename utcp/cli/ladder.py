"""`utcp ladder`: the sequence diagram of a connection in a capture."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from utcp.cli.connections import connection_option
from utcp.cli.options import PLAIN_WIDTH, file_errors, warn

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
@connection_option("Number of the connection in --list.")
@click.option("--list", "listing", is_flag=True, help="List the connections, and draw nothing.")
@click.option("--title", default="", help="Heading of the diagram.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(0),
    default=500,
    show_default=True,
    help="Maximum number of rows. Those in the middle of a longer ladder are left out. 0: no limit.",
)
def command(
    files: tuple[Path, ...],
    output: Path | None,
    form: str | None,
    wanted: tuple[int, int],
    listing: bool,
    title: str,
    limit: int,
) -> None:
    """Draw the sequence diagram of a connection in a capture.

    FILE is a pcapng or pcap file, written by utcp, tcpdump or Wireshark. The diagram shows the states of both ends, the
    timers that expired, and which segments were lost (crossed out), retransmitted, duplicated or late. A capture by
    utcp has more of this than one by tcpdump. Two FILEs, captured at the two ends, show losses and transit times too.

    Of a FILE that was cut off, the whole packets are shown.

    The HTML page steps through the diagram. It needs no server.
    """
    if len(files) > 2:
        raise click.UsageError(f"a connection has two ends: give one FILE, or one of each end, not {len(files)}")
    form = form or _form(output)

    from utcp.cli.connections import chosen_connections, listed
    from utcp.trace.capture_file import TruncatedCapture, read_capture
    from utcp.trace.connections import find_connections, made_at
    from utcp.trace.ladder.from_capture import marked_inferred, rungs_from_capture, shortened

    captures = []
    cut: list[TruncatedCapture] = []
    for path in files:
        with file_errors(path):
            captures.append(read_capture(path, truncated=cut.append))
    found = find_connections(captures)
    if not found:
        raise click.ClickException(str(cut[0]) if cut else f"no TCP in {' and '.join(map(str, files))}")
    for error in cut:
        warn(f"{error}. The diagram shows the packets before.")
    if len(captures) == 2 and captures[0] == captures[1]:
        raise click.UsageError(f"{files[0]} and {files[1]} are the same capture: give one FILE, or one of each end")
    if not any(len(one.captures) == len(files) for one in found):
        raise click.ClickException(f"{files[0]} and {files[1]} have no connection in common: see --list of each")
    twice = set.intersection(*map(made_at, captures)) if len(captures) == 2 else None
    if twice:
        raise click.ClickException(
            f"{files[0]} and {files[1]} were both captured at {min(twice)}: give one of each end"
        )
    if listing:
        _write(output, listed(found))
        return
    chosen = chosen_connections(found, *wanted)
    if not any(len(one.captures) == len(files) for one in chosen):
        only = files[min(chosen[0].captures)]
        warn(f"connection {chosen[0].number} is only in {only}")
    rungs = marked_inferred(rungs_from_capture(captures, *chosen))
    drawing = _draw(form, shortened(rungs, limit) if limit else rungs, title, chosen, found, printed=output is None)
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


def _draw(
    form: str,
    rungs: Sequence[Rung],
    title: str,
    chosen: Sequence[CapturedConnection],
    found: Sequence[CapturedConnection],
    *,
    printed: bool,
) -> str:
    """Return the diagram. As text, it has the width of the terminal if it is `printed`."""
    from utcp.trace.ladder import render_html, render_mermaid, render_svg, render_text
    from utcp.trace.ladder.narrow import render_narrow
    from utcp.trace.ladder.text import LEGEND, needed_width
    from utcp.trace.ladder.width import columns, wrap

    connection = chosen[0]
    names = (f"client {connection.client}", f"server {connection.server}")
    if form == "svg":
        return render_svg(rungs, title=title, names=names)
    if form == "mermaid":
        return render_mermaid(rungs, title=title, names=names)
    if form == "html":
        return render_html(rungs, title=title or "A TCP connection", names=names)
    heading = f"{title}\n" if title else ""
    width = shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns if printed else PLAIN_WIDTH
    is_narrow = printed and sys.stdout is not None and sys.stdout.isatty() and needed_width(rungs) > width
    render = render_narrow if is_narrow else render_text
    same = [one.number for one in found if one.shares_ports_with(connection)]
    if len(same) > len(chosen):
        heading += f"{len(same)} connections use these ports: --connection {same[0]}-{same[-1]} shows all of them.\n"
    legend = "\n".join(wrap(LEGEND, min(width, 100), columns))
    return f"{heading}{' - '.join(names)}\n\n{render(rungs, width)}\n{legend}\n"
