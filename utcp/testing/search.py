"""The decorator that runs a function under many seeds."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Concatenate, ParamSpec

from utcp.testing.explain import explain
from utcp.testing.faults import RunSeed
from utcp.testing.network import Network
from utcp.testing.path import Conditions
from utcp.testing.shrink import MAX_RUNS, Failure, shrink

P = ParamSpec("P")


class Simulation:
    """Runs an async function under many seeds. Created by `simulate()`."""

    def __init__(
        self,
        function: Callable[..., Coroutine[Any, Any, Any]],
        seeds: Sequence[int | str],
        shuffle: bool,
        options: dict[str, Any],
    ) -> None:
        self.seeds = seeds
        """The seeds under which a call of the function runs it."""
        self._function = function
        self._shuffle = shuffle
        self._options = options

    def run(self, seeds: Iterable[int | str], *args: Any, **kwargs: Any) -> None:
        """Run the function once for each seed, with the further arguments. Raises the error of the first failing seed,
        in the smallest run that fails in the same way, with notes."""
        self.search(seeds, args, kwargs, lambda seed: f"{self._function.__name__}.simulation.run([{seed!r}])")

    def search(
        self,
        seeds: Iterable[int | str],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        replay: Callable[[str], str],
    ) -> None:
        """Do what `run()` does. `replay` returns the line that repeats a run, from the text of its seed."""
        for seed in seeds:
            chosen = RunSeed(seed, self._shuffle) if isinstance(seed, int) else RunSeed.parse(seed)
            failure = self._attempt(args, kwargs, chosen)
            if failure is None:
                continue
            # A seed as text is a run that is repeated, to be seen as it is.
            attempt = functools.partial(self._attempt, args, kwargs)
            shrunk = shrink(failure, attempt, max_runs=MAX_RUNS if isinstance(seed, int) else 0)
            error = shrunk.smallest.error
            error.add_note(shrunk.report(replay))
            for ladder in explain(shrunk.smallest.network):
                error.add_note(ladder.text())
            raise error

    def _attempt(self, args: tuple[Any, ...], kwargs: dict[str, Any], seed: RunSeed) -> Failure | None:
        network = Network(str(seed), **self._options)
        try:
            network.run(self._function(network, *args, **kwargs))
        except Exception as error:
            return Failure(seed, network, error)
        return None


def simulate(
    seeds: int | Iterable[int | str] = 100,
    *,
    shuffle: bool = True,
    conditions: Conditions | None = None,
    max_time: float = 86_400.0,
    max_steps: int = 5_000_000,
) -> Callable[[Callable[Concatenate[Network, P], Coroutine[Any, Any, Any]]], Callable[P, None]]:
    """Return a decorator for an async function whose first parameter is a `Network`. The result is a function without
    this parameter, which runs the decorated one under many seeds, each time with a new network.

    The function raises the error of the first seed that fails, as of the smallest run that fails in the same way
    (`utcp.testing.shrink`), with notes: the faults of this run, the lines that repeat it, and the ladders of its latest
    connections. pytest runs the function as a test. Its fixtures are set up once for all seeds.

    Args:
        seeds: the number of seeds, from 0, or the seeds.
        shuffle: whether events that are due at the same time happen in an order that the seed chooses.
        conditions: those of `Network`.
        max_time: that of `Network`.
        max_steps: that of `Network`.
    """
    chosen = range(seeds) if isinstance(seeds, int) else list(seeds)
    options = {"conditions": conditions, "max_time": max_time, "max_steps": max_steps}

    def decorate(function: Callable[Concatenate[Network, P], Coroutine[Any, Any, Any]]) -> Callable[P, None]:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"simulate() is for async functions, and {function!r} is not one")
        simulation = Simulation(function, chosen, shuffle, options)

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            simulation.run(chosen, *args, **kwargs)

        _, *others = inspect.signature(function).parameters.values()
        run.__signature__ = inspect.Signature(others)  # type: ignore[attr-defined]  # what inspect and pytest look at
        run.simulation = simulation  # type: ignore[attr-defined]
        return run

    return decorate
