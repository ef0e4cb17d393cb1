"""Figures for people."""

from collections.abc import Sequence


def render(rows: Sequence[Sequence[str]]) -> str:
    """Lines of columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )


def markdown(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """The same as a table in Markdown; `left` columns to the left."""
    rule = ["---"] * left + ["---:"] * (len(rows[0]) - left)
    return [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in [rows[0], rule, *rows[1:]]]


def number(value: float | None, decimals: int = 0) -> str:
    """`value` with thousands separated; a dash for None."""
    return "-" if value is None else f"{value:,.{decimals}f}"
