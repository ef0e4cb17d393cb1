"""Tables of figures for readers."""

from collections.abc import Sequence


def render(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines of text, the first column left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )


def markdown(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Return a table in Markdown with `left` left-aligned columns."""
    rule = ["---"] * left + ["---:"] * (len(rows[0]) - left)
    return [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in [rows[0], rule, *rows[1:]]]


def number(value: float | None, decimals: int = 0) -> str:
    """Return `value` with thousands separators, or a dash for None."""
    return "-" if value is None else f"{value:,.{decimals}f}"
