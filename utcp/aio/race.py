"""Attempts to connect to several addresses, one after another or overlapping (RFC 8305, "happy eyeballs")."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeAlias

from utcp.aio import containment
from utcp.aio.opening import Opening

Attempt: TypeAlias = Callable[[], Coroutine[Any, Any, Opening]]


def first_to_open(
    attempts: Sequence[Attempt], delay: float | None, *, all_errors: bool
) -> Coroutine[Any, Any, Opening]:
    """Return the opening of the first attempt that succeeds, and abandon the others.

    Each attempt begins when the previous one has failed, or after `delay` seconds unless that is None. If all fail,
    raises their error if all have the same text, otherwise OSError("Multiple exceptions: ..."). With `all_errors`,
    raises an ExceptionGroup.
    """
    if len(attempts) == 1 and not all_errors:
        return attempts[0]()  # most hosts have one address, and a further coroutine would cost time
    return _first_of_several(attempts, delay, all_errors)


async def _first_of_several(attempts: Sequence[Attempt], delay: float | None, all_errors: bool) -> Opening:
    errors: list[OSError] = []
    try:
        if delay is None:
            for attempt in attempts:
                try:
                    return await attempt()
                except OSError as error:
                    errors.append(error)
        else:
            winner = await _race(attempts, delay, errors)
            if winner is not None:
                return winner
        raise _combined(errors, all_errors)
    finally:
        errors.clear()  # their tracebacks refer to this frame


def _combined(errors: list[OSError], all_errors: bool) -> Exception:
    if all_errors:
        return ExceptionGroup("create_connection failed", list(errors))
    if all(str(error) == str(errors[0]) for error in errors):
        return errors[0]
    return OSError("Multiple exceptions: {}".format(", ".join(str(error) for error in errors)))


async def _race(attempts: Sequence[Attempt], delay: float, errors: list[OSError]) -> Opening | None:
    """Return the winner or None. Append the errors of failed attempts to `errors`, in the order of failure.

    asyncio.staggered cannot be used: if two attempts succeed in the same loop turn, it leaves one open.
    """
    waiting = list(reversed(attempts))
    running: list[asyncio.Task[Opening]] = []  # ordered: if two are done in one turn, the first wins
    winners: list[Opening] = []
    try:
        while not winners and (waiting or running):
            newest = None
            if waiting:
                newest = asyncio.create_task(_begin(waiting.pop()))
                running.append(newest)
            next_is_due = False
            while running and not winners and not next_is_due:
                timeout = delay if waiting else None
                await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                done = [task for task in running if task.done()]
                running = [task for task in running if task not in done]
                next_is_due = newest in done or not done
                _sort(done, winners, errors)
    except BaseException:
        _abandon(winners)
        raise
    finally:
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
            _sort((task for task in running if not task.cancelled()), winners, errors)
    _abandon(winners[1:])
    return winners[0] if winners else None


def _abandon(openings: Iterable[Opening]) -> None:
    for opening in openings:
        containment.attempt(
            asyncio.get_running_loop(), "closing an unused connection failed, and it stays open", opening.abandon
        )


async def _begin(attempt: Attempt) -> Opening:
    return await attempt()  # so that even an immediate exception is raised in the task


def _sort(done: Iterable[asyncio.Task[Opening]], winners: list[Opening], errors: list[OSError]) -> None:
    for task in done:
        try:
            winners.append(task.result())
        except OSError as error:
            errors.append(error)
