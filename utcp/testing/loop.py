"""An asyncio event loop in virtual time: when nothing is ready, its clock jumps to the next event."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import heapq
import itertools
import math
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn, TypeVar

from utcp.link.platform import Platform
from utcp.testing.owner import OrderedWeakSet, OwnedTask, OwnedTimer, Owner

_FIRST_DESCRIPTOR: Final = 1 << 20
"""Simulated descriptors begin above all real ones: mixing them up fails at once."""

_CANCELLATIONS: Final = 1000
"""How often a task whose owner is gone is cancelled before it counts as one that hangs."""

_COLLECT_EVERY: Final = 20_000
"""Steps between garbage collections."""

_SHOWN_TASKS: Final = 10

FREE_TURNS: Final = 1000
"""Turns of the loop in a row that take no virtual time."""

TURN_TIME: Final = 10e-6
"""Seconds of virtual time that each further turn takes, about as long as a turn of a real loop."""

T = TypeVar("T")


class Stalled(RuntimeError):
    """Everything waits and no timer runs: in the real world this would hang for ever. Keepalive is a timer: while a
    connection is open it goes on, and OutOfBounds ends the run, unless `Config.keepalive` is False."""


class OutOfBounds(RuntimeError):
    """The run took more virtual time or more steps than it was allowed: it hangs, or goes round in circles."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs coroutines in virtual time, which begins at 0 and passes only while nothing is ready to run.

    A program that polls (`while not done: await asyncio.sleep(0)`) is always ready to run. Virtual time
    must pass for it: after FREE_TURNS turns in a row without a jump of the clock, each turn takes TURN_TIME until the
    clock jumps again. What a turn does has no influence on that, so the same program gives the same times.

    A run is bounded: by `max_time` virtual seconds and `max_steps` turns of the loop; so is, by as much again, the
    cleaning up after it. There are no real sockets, threads or subprocesses here; what would need them raises
    RuntimeError. What happens at the same time happens in the order in which it was asked for.
    """

    _scheduled: list[OwnedTimer]  # asyncio's heap of timers

    def __init__(self, *, max_time: float = 86_400.0, max_steps: int = 5_000_000) -> None:
        super().__init__()
        self.max_time = max_time
        self.max_steps = max_steps
        self.steps = 0
        self._turns = 0  # since the last jump
        self._allowance = 1  # times the bounds: the second is for cleaning up
        self._now = 0.0
        self._clock_resolution = math.ulp(0.0)
        self._selector = _Jump(self)
        self._asyncgens = OrderedWeakSet()
        self._tasks: dict[OwnedTask[Any], None] = {}  # not done, in order
        self._task_numbers = itertools.count()
        self._failure: BaseException | None = None
        self._readers: dict[int, asyncio.Handle] = {}
        self._next_descriptor = _FIRST_DESCRIPTOR
        self._resolver: Callable[[str], str] | None = None
        self._platform: Callable[[], Platform] | None = None

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def run(self, main: Coroutine[Any, Any, T], context: contextvars.Context | None = None) -> T:
        """Run `main` to its end, as asyncio.run() does: then other tasks are cancelled, asynchronous generators closed,
        and the loop with them.

        Raises what `main` raises, Stalled when nothing could ever happen again, OutOfBounds beyond the bounds, and
        what a plain callback raised, which nobody else would notice.
        """
        collecting = gc.isenabled()
        # Finalizers close what was forgotten. The collector would call them at moments that depend on all that this
        # process did before; here it runs every so many steps.
        gc.disable()
        try:
            return self._run(main, context)
        finally:
            if collecting:
                gc.enable()

    def _run(self, main: Coroutine[Any, Any, T], context: contextvars.Context | None) -> T:
        ended_by: BaseException | None = None
        runner = asyncio.Runner(loop_factory=lambda: self)
        try:
            result = runner.run(main, context=context)
        except BaseException as error:
            ended_by = error
            raise
        finally:
            self._allowance = 2
            for task in list(self._tasks):  # in order; the runner has them in a set
                task.cancel()
            try:
                runner.close()
            except (Stalled, OutOfBounds) as error:
                if ended_by is None:
                    raise
                ended_by.add_note(f"The cleaning up failed, too: {error}")
        if self._failure is not None:
            raise self._failure
        return result

    def fail(self, error: BaseException) -> None:
        """Have the run end with `error` as soon as this turn of the loop is over. The first one counts, and what ends
        the run otherwise counts more."""
        if self._failure is None:
            self._failure = error

    # ------------------------------------------------------------------ virtual time

    def jump(self, timeout: float | None) -> None:
        """Nothing is ready for `timeout` seconds (None: for ever): let them pass. 0: something is ready."""
        if self._failure is not None and self._allowance == 1:
            raise self._failure
        self.steps += 1
        if self.steps % _COLLECT_EVERY == 0:
            gc.collect()
        if self.steps > self._allowance * self.max_steps:
            raise OutOfBounds(
                f"more than {self.max_steps} steps, at {self._now:.6f} s of virtual time{self._waiting()}"
            )
        if timeout is None:
            raise Stalled(
                f"nothing is left to happen at {self._now:.6f} s of virtual time, and something waits{self._waiting()}"
            )
        if timeout > 0:
            # The deadline itself, not now + timeout: no rounding may make a timer early.
            self._turns = 0
            self._pass_until(self._scheduled[0].when())
            return
        self._turns += 1
        if self._turns > FREE_TURNS:
            until = self._now + TURN_TIME
            if self._scheduled:  # no timer is late because of a turn
                until = max(self._now, min(until, self._scheduled[0].when()))
            self._pass_until(until)

    def _pass_until(self, now: float) -> None:
        self._now = now
        self._clock_resolution = math.ulp(now)  # the smallest: no timer is early
        if now > self._allowance * self.max_time:
            raise OutOfBounds(f"more than {self.max_time} s of virtual time, after {self.steps} steps{self._waiting()}")

    def call_at(  # type: ignore[override]  # typeshed spells *args as a TypeVarTuple
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's. The timers of an owner that is gone never fire."""
        self._check_closed()  # type: ignore[attr-defined]
        timer = OwnedTimer(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True  # type: ignore[attr-defined]  # noqa: SLF001  # as asyncio's own call_at()
        owner = timer.owner
        if owner is not None and owner.gone:
            timer.cancel()
        return timer

    def create_task(  # type: ignore[override]  # typeshed has fewer options than the newest asyncio
        self, coro: Coroutine[Any, Any, T], **options: Any
    ) -> OwnedTask[T]:
        """As asyncio's, without a task factory. The tasks of an owner that is gone are cancelled at once."""
        self._check_closed()  # type: ignore[attr-defined]
        task = OwnedTask(coro, next(self._task_numbers), loop=self, **options)
        self._tasks[task] = None
        task.add_done_callback(self._forget)
        if task.owner is not None and task.owner.gone:
            task.cancel()
        return task

    def _waiting(self) -> str:
        """Where the tasks are, for people who look for one that hangs."""
        tasks = list(self._tasks)
        lines = [f"\n  {task.get_name()} waits: {_place(task.get_coro())}" for task in tasks[:_SHOWN_TASKS]]
        if len(tasks) > _SHOWN_TASKS:
            lines.append(f"\n  and {len(tasks) - _SHOWN_TASKS} more tasks")
        return "".join(lines)

    def _process_events(self, event_list: list[object]) -> None:
        """Nothing comes from outside."""

    def _write_to_self(self) -> None:
        """call_soon_threadsafe() has nobody to wake."""

    # ------------------------------------------------------------------ owners

    def end(self, owner: Owner) -> None:
        """Everything that belongs to `owner` ends: its timers never fire, its tasks are cancelled, again and again
        while they go on waiting for something."""
        owner.mark_gone()
        for timer in self._scheduled:
            if timer.owner is owner:
                timer.cancel()
        self._cancel(owner, _CANCELLATIONS)

    def _cancel(self, owner: Owner, times: int) -> None:
        tasks = [task for task in self._tasks if task.owner is owner]
        for task in tasks:
            task.cancel()
        if not tasks:
            return
        if times:
            self.call_soon(self._cancel, owner, times - 1)
        else:
            self.fail(RuntimeError(f"{tasks[0]!r} goes on, though it was cancelled {_CANCELLATIONS} times"))

    def _forget(self, task: Any) -> None:
        self._tasks.pop(task, None)

    # ------------------------------------------------------------------ simulated descriptors

    def new_descriptor(self) -> int:
        """A number that add_reader() knows."""
        self._next_descriptor += 1
        return self._next_descriptor

    def add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:  # type: ignore[override]
        self._readers[self._simulated(fd)] = asyncio.Handle(callback, args, self)

    def remove_reader(self, fd: Any) -> bool:
        handle = self._readers.pop(self._simulated(fd), None)
        if handle is None:
            return False
        handle.cancel()
        return True

    def add_writer(self, fd: Any, callback: Callable[..., object], *args: Any) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("simulated descriptors are always writable: nothing waits for that")

    def readable(self, fd: int) -> None:
        """Something can be read from `fd`: its reader runs in the next turn."""
        handle = self._readers.get(fd)
        if handle is not None:
            self._add_callback(handle)  # type: ignore[attr-defined]

    @staticmethod
    def _simulated(fd: object) -> int:
        if not isinstance(fd, int) or fd < _FIRST_DESCRIPTOR:
            raise RuntimeError(f"{fd!r} is no simulated descriptor: real sockets do not work in virtual time")
        return fd

    # ------------------------------------------------------------------ the world outside

    def connect_to(self, resolver: Callable[[str], str], platform: Callable[[], Platform]) -> None:
        """Give the loop a network: `resolver` turns host names into IPv4 addresses and raises socket.gaierror for those
        it does not know; `platform` says what utcp's endpoints take from outside, for the code that runs."""
        self._resolver = resolver
        self._platform = platform

    @property
    def utcp_platform(self) -> Platform:
        """utcp asks for it. Raises RuntimeError without a network."""
        if self._platform is None:
            raise RuntimeError("this loop has no network: run the code by utcp.testing.Network")
        return self._platform()

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002  # asyncio's name for it
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        if self._resolver is None:
            raise socket.gaierror(socket.EAI_NONAME, "this loop has no network")
        if family not in (0, socket.AF_INET):
            raise socket.gaierror(socket.EAI_FAMILY, "the simulated network has IPv4 only")
        if host is None:
            host = "0.0.0.0" if flags & socket.AI_PASSIVE else "127.0.0.1"
        address = self._resolver(host.decode() if isinstance(host, bytes) else host)
        return [(socket.AF_INET, type or socket.SOCK_STREAM, proto, "", (address, int(port or 0)))]

    async def create_connection(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError("the kernel's TCP has no virtual time: use utcp.create_connection()")

    async def create_server(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError("the kernel's TCP has no virtual time: use utcp.create_server()")

    async def create_datagram_endpoint(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError("the kernel's UDP has no virtual time: only utcp runs over the simulated network")

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("threads have no virtual time: do not use them in a simulation")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Report as asyncio does, with the virtual time. An error of a plain callback, which asyncio's own loops only
        log, fails the run: nobody else would notice it."""
        super().default_exception_handler({**context, "virtual_time": self._now})
        error = context.get("exception")
        if "handle" in context and isinstance(error, Exception):
            self.fail(error)


def _place(coroutine: Any) -> str:
    """Where a suspended coroutine waits: the coroutines that await each other, the innermost last."""
    places = []
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        code = frame.f_code
        places.append(f"{code.co_qualname} ({code.co_filename.rpartition('/')[2]}:{frame.f_lineno})")
        coroutine = coroutine.cr_await
    return " > ".join(places) or repr(coroutine)


class _Jump:
    """In a selector's place: does not wait, but lets the time pass."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[object]:
        self._loop.jump(timeout)
        return []
