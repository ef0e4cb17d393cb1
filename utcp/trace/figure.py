"""The common part of all matplotlib pictures: availability, style, and reproducible files.

matplotlib belongs to the `plot` extra and is imported on first use.
"""

from __future__ import annotations

import io
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from utcp.extras import not_installed
from utcp.trace.output import write_output

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from matplotlib.figure import Figure

BLUE: Final = "#1b6ca8"
GREY: Final = "#8a8a8a"
ORANGE: Final = "#d9822b"
PURPLE: Final = "#7a4f9a"
GREEN: Final = "#3a8f5a"
RED: Final = "#c0392b"

FORMATS: Final = ("svg", "png", "pdf")
_METADATA: Final[dict[str, dict[str, None]]] = {
    "svg": {"Date": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
}
_DPI: Final = 120
CREATOR: Final = "utcp plot"
"""The creator in the metadata of an SVG by `utcp plot`."""
_METADATA_WITHIN: Final = 2048
"""Octets at the beginning of an SVG within which its metadata is."""


def missing() -> str | None:
    """Return the error text that names the extra to install, or None if matplotlib is installed."""
    if find_spec("matplotlib"):
        return None
    return not_installed("matplotlib", "plot")


def style(salt: str) -> AbstractContextManager[Any]:
    """Return a context manager that sets the style of drawing and saving.

    The names in an SVG are derived from `salt`, so that they are the same each time.
    """
    import matplotlib as mpl  # installed only with an extra

    return mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none", "font.size": 8})


def may_replace(file: str | PathLike[str]) -> bool:
    """Return whether `file` does not exist, is empty, or is an SVG by `utcp plot`. Raises OSError."""
    try:
        with Path(file).open("rb") as existing:
            start = existing.read(_METADATA_WITHIN)
    except FileNotFoundError:
        return True
    return not start or f"<dc:title>{CREATOR}</dc:title>".encode() in start


def save(figure: Figure, file: str | PathLike[str], form: str = "", creator: str | None = None) -> None:
    """Write the figure as `form`, one of FORMATS, or by default in the format of the suffix of `file`, without a date.
    `creator` is the creator in the metadata of an SVG; None: matplotlib.

    Raises OSError as `write_output()` does, and ValueError for another suffix.
    """
    form = form or Path(file).suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise ValueError(f"{file}: the name of a plot ends in .{', .'.join(FORMATS)}")
    drawn = io.BytesIO()
    metadata: dict[str, str | None] = {**_METADATA[form]}
    if form == "svg" and creator is not None:
        metadata["Creator"] = creator
    figure.savefig(drawn, format=form, metadata=metadata, dpi=_DPI)
    write_output(file, drawn.getvalue())
