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


def save(figure: Figure, file: str | PathLike[str], form: str = "") -> None:
    """Write the figure as `form`, one of FORMATS, or by default in the format of the suffix of `file`, without a date.

    Raises OSError as `write_output()` does, and ValueError for another suffix.
    """
    form = form or Path(file).suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise ValueError(f"{file}: the name of a plot ends in .{', .'.join(FORMATS)}")
    drawn = io.BytesIO()
    figure.savefig(drawn, format=form, metadata=_METADATA[form], dpi=_DPI)
    write_output(file, drawn.getvalue())
