"""A process of its own for every measurement, so that none inherits another's memory, caches or garbage."""

import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a module's function in a fresh interpreter; return what it returns, raise what it raises."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_die_of_interrupt) as pool:
        return pool.submit(function, *args, **kwargs).result()


def _die_of_interrupt() -> None:
    """Ctrl-C reaches the child too: it dies of it in silence, for its parent says what there is to say."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
