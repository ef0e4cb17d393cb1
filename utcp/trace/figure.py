"""What all pictures by matplotlib have in common: its being there, their look, and files that come out the same twice.

matplotlib belongs to the `plot` extra and is imported when something is drawn.
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
    """Return why nothing can be drawn, and what to install; None if matplotlib is there."""
    if find_spec("matplotlib"):
        return None
    return not_installed("matplotlib", "plot")


def style(salt: str) -> AbstractContextManager[Any]:
    """Draw and save in it. `salt`: what the names in an SVG are made from, so that they are the same each time."""
    import matplotlib as mpl  # not installed without an extra

    return mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none", "font.size": 8})


def save(figure: Figure, file: str | PathLike[str], form: str = "") -> None:
    """Write it as `form`, one of FORMATS, or as the suffix of `file` says; without a date. Raises OSError as
    `write_output()` does, and ValueError for another suffix."""
    form = form or Path(file).suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise ValueError(f"{file}: the name of a plot ends in .{', .'.join(FORMATS)}")
    drawn = io.BytesIO()
    figure.savefig(drawn, format=form, metadata=_METADATA[form], dpi=_DPI)
    write_output(file, drawn.getvalue())
