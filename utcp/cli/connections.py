"""The connections of a capture, as commands list them and users choose them."""

from collections.abc import Sequence

import click

from utcp.trace.connections import CapturedConnection


def listed(found: Sequence[CapturedConnection]) -> str:
    """Return a line for each connection."""
    return "".join(f"{_described(one, found[0])}\n" for one in found)


def check_number(found: Sequence[CapturedConnection], number: int) -> None:
    """Raise click.ClickException if there is no connection with this number."""
    if number > len(found):
        held = "is only one" if len(found) == 1 else f"are only {len(found)}"
        raise click.ClickException(f"no connection {number}: there {held} (see --list)")


def _described(connection: CapturedConnection, first: CapturedConnection) -> str:
    octets = [connection.octets.get(end, 0) for end in (connection.client, connection.server)]
    seconds = (connection.began_ns - first.began_ns) / 1e9
    return (
        f"{connection.number:>4}  {connection.client} - {connection.server}  at {seconds:.3f} s:"
        f" {connection.segments} segments, {octets[0]} bytes there, {octets[1]} back"
    )
