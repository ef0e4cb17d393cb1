"""Runs every measurement in a process of its own, so that none inherits memory, caches or garbage."""

import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a module's function in a fresh interpreter. Return its result or raise its error."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_die_of_interrupt) as pool:
        return pool.submit(function, *args, **kwargs).result()


def _die_of_interrupt() -> None:
    """Let Ctrl-C end the child silently, because its parent reports it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
