"""`utcp plot`: draws a captured connection over time."""

from pathlib import Path
from typing import Literal

import click

from utcp.cli.options import REMOTE_PORT, file_errors, warn


@click.command
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File to write: .svg, .png or .pdf.  [default: FILE with the suffix .svg, unless it exists and is no plot by"
    " utcp]",
)
@click.option(
    "--what",
    type=click.Choice(["sequence", "cwnd", "rtt", "all"]),
    default="all",
    show_default=True,
    help="Sequence numbers, windows, round-trip times, or all three.",
)
@click.option(
    "--connection",
    "number",
    metavar="N",
    type=click.IntRange(min=1),
    help="Number of the connection in --list.  [default: the one with the most data]",
)
@click.option("--list", "listing", is_flag=True, help="List the connections, and draw nothing.")
@click.option(
    "--direction",
    type=click.Choice(["client", "server"]),
    help="Show the data of the client (which opened the connection) or the server.  [default: the end that sent more]",
)
@click.option(
    "--udp-port",
    "udp_ports",
    type=REMOTE_PORT,
    multiple=True,
    help="UDP port that carries utcp; may be repeated.  [default: all ports whose datagrams look like utcp]",
)
def command(
    file: Path,
    output: Path | None,
    what: str,
    number: int | None,
    listing: bool,
    direction: Literal["client", "server"] | None,
    udp_ports: tuple[int, ...],
) -> None:
    """Draw a connection in FILE over time.

    FILE is a pcapng or pcap file of utcp or of kernel TCP, written by utcp, tcpdump or Wireshark. The upper part of the
    plot shows when each byte was sent, retransmitted, lost and acknowledged. The lower parts show the congestion
    window and the round-trip times. Only a capture by utcp has the congestion window.
    """
    from utcp.cli.connections import check_number, listed
    from utcp.trace.capture_file import TruncatedCapture, iter_capture
    from utcp.trace.connections import find_connections
    from utcp.trace.plot import PANELS, save_plot
    from utcp.trace.series import series_of

    target = output if output is not None else file.with_suffix(".svg")
    if not listing:
        _check_target(target, file, is_given=output is not None)
    ports = set(udp_ports) or None
    cut: list[TruncatedCapture] = []
    with file_errors(file):
        found = find_connections([iter_capture(file, udp_ports=ports, truncated=cut.append)])
        if not found and cut:
            raise cut[0]
        if not found:
            raise click.ClickException(f"no TCP in {file}{'' if ports is None else ' on these UDP ports'}")
        if listing:
            click.echo(listed(found), nl=False)
            return
        if number is None:
            connection = max(found, key=lambda each: (sum(each.octets.values()), -each.number))
        else:
            check_number(found, number)
            connection = found[number - 1]
        sides = {"client": connection.client, "server": connection.server}
        if direction is None:
            said = {side: connection.octets.get(end, 0) for side, end in sides.items()}
            direction = "server" if said["server"] > said["client"] else "client"
        series = series_of([iter_capture(file, udp_ports=ports, truncated=cut.append)], connection, direction)
    if cut:
        warn(f"{cut[0]}. The plot shows the packets before.")
    peer = "server" if direction == "client" else "client"
    title = f"From the {direction} {series.sender} to the {peer} {series.receiver}"
    with file_errors(target):
        save_plot(series, target, PANELS if what == "all" else (what,), title)
    if len(found) > 1:
        click.echo(f"connection {connection.number} of {len(found)}: {title[0].lower()}{title[1:]}", err=True)
    click.echo(target)


def _check_target(target: Path, capture: Path, *, is_given: bool) -> None:
    """Raise click.ClickException if the plot cannot be written to `target`. Only one that `is_given` by the user may
    replace what is no plot."""
    from utcp.trace.figure import FORMATS, may_replace, missing

    if target.suffix.removeprefix(".").lower() not in FORMATS:
        raise click.BadParameter(f"{target} must end in .{', .'.join(FORMATS)}", param_hint="-o")
    if target == capture:
        raise click.UsageError(f"{capture} would be overwritten: name another file with -o")
    reason = missing()
    if reason is not None:
        raise click.ClickException(reason)
    if not is_given:
        with file_errors(target):
            if not may_replace(target):
                raise click.ClickException(f"{target} exists, and is no plot by utcp: name the file to write with -o")
