"""Progress of a long measurement on stderr: a bar on a terminal if rich is installed, otherwise a line for each
round."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


class Progress:
    """A context manager that expects `total` steps."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._bar: Bar | None = _bar() if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, text: str) -> None:
        """Show the current work."""
        if self._bar is not None:
            self._bar.update(self._task, description=text)

    def step(self, text: str) -> None:
        """Finish a step with this result."""
        if self._bar is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(text, highlight=False)
            self._bar.advance(self._task)


def _bar() -> "Bar | None":
    try:
        from rich.console import Console  # installed by an extra
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress
    except ImportError:
        return None
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    return RichProgress(*columns, console=Console(stderr=True), transient=True)
