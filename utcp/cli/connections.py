"""The connections of a capture, as commands list them and users choose them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from utcp.trace.connections import CapturedConnection

_F = TypeVar("_F", bound=Callable[..., Any])


class _Numbers(click.ParamType[tuple[int, int]]):
    """A number from 1, or a range N-M of them. Converted to the first and the last one."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        first, dash, last = str(value).partition("-")
        numbers = [int(text) if text.isascii() and text.isdecimal() else 0 for text in (first, last if dash else first)]
        if not 1 <= numbers[0] <= numbers[1]:
            self.fail(f"{value!r} is neither a number from 1 nor a range such as 1-3", param, ctx)
        return numbers[0], numbers[1]


NUMBERS: Final = _Numbers()


def connection_option(help_: str) -> Callable[[_F], _F]:
    """Return the option --connection, which a command gets as `wanted`. `help_` is the beginning of its help."""
    return click.option(
        "--connection",
        "wanted",
        metavar="N[-M]",
        type=NUMBERS,
        default="1",
        show_default=True,
        help=f"{help_} N-M: all of these, on the same ports one after the other.",
    )


def listed(found: Sequence[CapturedConnection]) -> str:
    """Return a line for each connection."""
    return "".join(f"{_described(one, found[0])}\n" for one in found)


def check_number(found: Sequence[CapturedConnection], number: int) -> None:
    """Raise click.ClickException if there is no connection with this number."""
    if number > len(found):
        held = "is only one" if len(found) == 1 else f"are only {len(found)}"
        raise click.ClickException(f"no connection {number}: there {held} (see --list)")


def chosen_connections(found: Sequence[CapturedConnection], first: int, last: int) -> Sequence[CapturedConnection]:
    """Return the connections on the same ports from number `first` to `last`. Raises click.ClickException."""
    check_number(found, last)
    chosen = [one for one in found[first - 1 : last] if one.shares_ports_with(found[first - 1])]
    if first != last and len(chosen) < 2:
        raise click.ClickException(f"of connections {first}-{last}, no other has the ports of connection {first}")
    return chosen


def _described(connection: CapturedConnection, first: CapturedConnection) -> str:
    octets = [connection.octets.get(end, 0) for end in (connection.client, connection.server)]
    seconds = (connection.began_ns - first.began_ns) / 1e9
    return (
        f"{connection.number:>4}  {connection.client} - {connection.server}  at {seconds:.3f} s:"
        f" {connection.segments} segments, {octets[0]} bytes there, {octets[1]} back"
    )
