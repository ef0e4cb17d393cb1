"""An asyncio event loop in virtual time. When no callback is ready, its clock jumps to the next timer."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import heapq
import itertools
import math
import os
import random
import signal
import socket
import threading
from asyncio.selector_events import BaseSelectorEventLoop
from asyncio.sslproto import SSLProtocol
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn, TypeVar

from utcp.aio.tls.asyncio_private import AsyncioTls
from utcp.link.platform import Platform
from utcp.testing.owner import OrderedWeakSet, OwnedTask, OwnedTimer, Owner, by_clock, by_network, running_owner
from utcp.testing.schedule import Shuffle
from utcp.testing.selector import VirtualSelector

_CANCELLATIONS: Final = 1000
"""Number of times that a task of an ended owner is cancelled before it counts as hanging."""

_COLLECT_EVERY: Final = 20_000
"""Loop turns between garbage collections."""

_SHOWN_TASKS: Final = 10

FREE_TURNS: Final = 1000
"""Number of consecutive loop turns that take no virtual time."""

TURN_TIME: Final = 10e-6
"""Virtual duration of each further turn, seconds; similar to a turn of a real loop."""

_BLOCK: Final = 256 * 1024
"""Octets of a file that are read at once."""

_NO_VIRTUAL_TIME: Final = "have no virtual time: use TCP to a program on a simulated host"

OTHER_LOOP: Final = (
    "the simulation is the event loop here, and another one would run in real time: await the coroutine, or start it on"
    " a host by host.run(coroutine)"
)

THREADS: Final = (
    "other threads run in real time, and cannot wake the loop: use asyncio.to_thread() or loop.run_in_executor(), which"
    " call the function in the loop's thread"
)

_NO_NETWORK: Final = "this loop in virtual time has no network: run the code with utcp.testing.Network"

T = TypeVar("T")


class Stalled(RuntimeError):
    """Every task waits and no timer is set, so that a real program would hang for ever.

    Keepalive is a timer. With an open connection, the run therefore ends with OutOfBounds instead, unless
    `Config.keepalive` is False.
    """


class OutOfBounds(RuntimeError):
    """The run exceeded its bound of virtual time or of loop turns, because it hangs or loops."""


class VirtualLoop(BaseSelectorEventLoop):
    """Runs coroutines in virtual time, which starts at 0 and passes only while no callback is ready.

    A program that polls (`while not done: await asyncio.sleep(0)`) is always ready to run, so time must pass for it
    too. After FREE_TURNS consecutive turns without a clock jump, each turn takes TURN_TIME until the clock jumps again.
    The work done in a turn does not affect this, so that the same program gives the same times.

    A run is bounded by `max_time` virtual seconds and `max_steps` loop turns. The cleanup after it is bounded by the
    same amounts again. The loop has no real sockets, threads or subprocesses; calls that need them raise RuntimeError.
    Events for the same time happen in the order in which they were scheduled, unless `shuffle` decides their order.
    """

    _scheduled: list[OwnedTimer]  # asyncio's heap of timers

    def __init__(
        self, *, max_time: float = 86_400.0, max_steps: int = 5_000_000, shuffle: Shuffle | None = None
    ) -> None:
        self.descriptors: Final = VirtualSelector(self.jump, self._choose_events)
        """The descriptors of simulated links and sockets."""
        super().__init__(self.descriptors)
        self.max_time = max_time
        self.max_steps = max_steps
        self.steps = 0
        self._turns = 0  # since the last jump
        self._allowance = 1  # factor on the bounds; 2 during the cleanup
        self._shuffle = shuffle
        self._now = 0.0
        self._clock_resolution = math.ulp(0.0)
        self._asyncgens = OrderedWeakSet()
        self._tasks: dict[OwnedTask[Any], None] = {}  # pending tasks, in order of creation
        self._task_numbers = itertools.count()
        self._failure: BaseException | None = None
        self._readers: dict[int, asyncio.Handle] = {}
        self._signal_handlers: dict[tuple[Owner | None, int], asyncio.Handle] = {}
        self._paused: dict[Owner, None] = {}
        self._set_aside: list[asyncio.Handle] = []
        """Callbacks and timers of paused owners."""
        self._threads: list[threading.Thread] = []  # those of the time before the run
        self._kept: list[Any] = []
        """Transports of sockets that a crash or kill has closed."""
        self._resolver: Callable[[str], str] | None = None
        self._platform: Callable[[], Platform] | None = None
        self.entropy: random.Random | None = None
        """The random numbers of programs, as `os.urandom()` returns them; None: the loop has no network."""
        self._slept: float | None = None
        """Seconds that the function of the present executor call has slept; None: there is no such call."""

    def time(self) -> float:
        """Return the seconds since the loop was created, by the clock of the host that runs the calling code.

        It is `now`, unless the host has a `clock_rate` (`Network.host`).
        """
        return by_clock(self._now)

    @property
    def now(self) -> float:
        """Return the virtual seconds since the loop was created."""
        return self._now

    def run(self, main: Coroutine[Any, Any, T], context: contextvars.Context | None = None) -> T:
        """Run `main` to its end, then cancel other tasks and close asynchronous generators and the loop, as
        asyncio.run() does.

        Raises the errors of `main`, the first error of a plain callback, Stalled when no event can happen any more, and
        OutOfBounds beyond the bounds.
        """
        self._threads = threading.enumerate()
        collecting = gc.isenabled()
        # Finalizers close forgotten objects. Automatic collection would run them at moments that depend on the whole
        # history of this process, so collection runs after a fixed number of loop turns instead.
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
            for owner in list(self._paused):
                self.resume(owner)
            for task in list(self._tasks):  # in order of creation; the runner has an unordered set
                task.cancel()
            try:
                runner.close()
            except (Stalled, OutOfBounds) as error:
                if ended_by is None:
                    raise
                ended_by.add_note(f"The cleanup failed too: {error}")
            finally:
                self._silence_transports()
        if self._failure is not None:
            raise self._failure
        return result

    @property
    def endpoints_end(self) -> bool:
        """Whether the run is over and its endpoints are being closed, so that no further one can be opened."""
        return bool(self._asyncgens_shutdown_called)  # type: ignore[attr-defined]  # asyncio's own

    def fail(self, error: BaseException) -> None:
        """End the run with `error` after this turn of the loop. The first such error counts, unless the run ends with
        another error."""
        if self._failure is None:
            self._failure = error

    # ------------------------------------------------------------------ virtual time

    def jump(self, timeout: float | None) -> None:
        """Let `timeout` virtual seconds pass (None: no timer is set; 0: a callback is ready)."""
        if self._failure is not None and self._allowance == 1:
            raise self._failure
        self.steps += 1
        if self._paused:
            self._set_callbacks_aside()
        if self._shuffle is not None:
            self._shuffle.interleave(self._ready)  # type: ignore[attr-defined]  # asyncio's own
        if self.steps % _COLLECT_EVERY == 0:
            gc.collect()
        if self.steps > self._allowance * self.max_steps:
            raise OutOfBounds(
                f"more than {self.max_steps} steps, at {self._now:.6f} s of virtual time{self._waiting()}"
            )
        if timeout is None:
            raise Stalled(
                f"no event is left at {self._now:.6f} s of virtual time, and tasks still wait{self._hints()}"
                f"{self._waiting()}"
            )
        if timeout > 0:
            # Use the deadline itself instead of now + timeout, because rounding could make a timer early.
            self._turns = 0
            self._pass_until(self._next_timer())
            return
        self._turns += 1
        if self._turns > FREE_TURNS:
            until = self._now + TURN_TIME
            if self._scheduled:  # a turn makes no timer late
                until = max(self._now, min(until, self._next_timer()))
            self._pass_until(until)

    def _choose_events(self, found: list[Any]) -> None:
        """Leave out the events of paused owners, and shuffle the others."""
        if self._paused:
            found[:] = [item for item in found if not any(map(_is_paused, item[0].data))]
        if self._shuffle is not None:
            self._shuffle.events(found)

    def _next_timer(self) -> float:
        when: float = self._scheduled[0]._when  # type: ignore[attr-defined]  # noqa: SLF001  # asyncio's own
        return when

    def _pass_until(self, now: float) -> None:
        self._now = now
        self._clock_resolution = math.ulp(now)  # the smallest possible, so that no timer is early
        if now > self._allowance * self.max_time:
            raise OutOfBounds(f"more than {self.max_time} s of virtual time, after {self.steps} steps{self._waiting()}")

    def call_at(  # type: ignore[override]  # typeshed spells *args as a TypeVarTuple
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Schedule a timer as asyncio does, for a time by the clock of the calling host. The timers of an ended owner
        never fire."""
        return self.at(by_network(when), callback, *args, context=context)

    def at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
        path: tuple[str, str] | None = None,
    ) -> asyncio.TimerHandle:
        """Schedule a timer for the virtual time `when` (`now`), whatever the clock of the calling host. With a `path`
        it is the arrival of a packet there."""
        self._check_closed()  # type: ignore[attr-defined]
        rank = 0
        if self._shuffle is not None:
            rank = self._shuffle.rank() if path is None else self._shuffle.rank_on_path(path, when)
        timer = OwnedTimer(when, callback, args, self, context, rank)
        if self._paused and _is_paused(timer):
            self._set_aside.append(timer)
            return timer
        self._push(timer)
        owner = timer.owner
        if owner is not None and owner.gone:
            timer.cancel()
        return timer

    def _push(self, timer: OwnedTimer) -> None:
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True  # type: ignore[attr-defined]  # noqa: SLF001  # as asyncio's own call_at()

    def create_task(  # type: ignore[override]  # typeshed has fewer options than the newest asyncio
        self, coro: Coroutine[Any, Any, T], **options: Any
    ) -> OwnedTask[T]:
        """Create a task as asyncio does, without a task factory. Tasks of an ended owner are cancelled at once."""
        self._check_closed()  # type: ignore[attr-defined]
        task = OwnedTask(coro, next(self._task_numbers), loop=self, **options)
        self._tasks[task] = None
        task.add_done_callback(self._forget)
        if task.owner is not None and task.owner.gone:
            task.cancel()
        return task

    def _waiting(self) -> str:
        """Return where the tasks wait, for error messages about a hanging run."""
        tasks = list(self._tasks)
        lines = [f"\n  {task.get_name()} waits: {_place(task.get_coro())}" for task in tasks[:_SHOWN_TASKS]]
        if len(tasks) > _SHOWN_TASKS:
            lines.append(f"\n  and {len(tasks) - _SHOWN_TASKS} more tasks")
        return "".join(lines)

    def _hints(self) -> str:
        """Return what may be the reason that no event is left."""
        hints = "; a host is paused: Host.resume() ends that" if self._paused else ""
        threads = [thread.name for thread in threading.enumerate() if thread not in self._threads]
        if threads:
            hints += f"; {THREADS}. Threads that run: {', '.join(threads)}"
        return hints

    def _check_running(self) -> None:
        """Raise RuntimeError if a program runs the loop that runs already, or another one."""
        if self.is_running():
            raise RuntimeError(OTHER_LOOP)
        super()._check_running()  # type: ignore[misc]  # asyncio's own

    def _make_self_pipe(self) -> None:
        """Do nothing, because no other thread or signal wakes the loop."""

    def _close_self_pipe(self) -> None:
        """Do nothing, because there is no pipe."""

    def _write_to_self(self) -> None:
        """Do nothing, because call_soon_threadsafe() need not wake the loop."""

    # ------------------------------------------------------------------ owners

    def end(self, owner: Owner) -> None:
        """End everything that belongs to `owner`: its timers never fire, and its tasks are cancelled repeatedly until
        they are done."""
        for paused in [paused for paused in self._paused if paused.within(owner)]:
            self.resume(paused)
        owner.mark_gone()
        for timer in self._scheduled:
            if timer.owner is not None and timer.owner.within(owner):
                timer.cancel()
        self._cancel(owner, _CANCELLATIONS)

    def pause(self, owner: Owner) -> None:
        """Let no callback and no timer of `owner` run until `resume()`, as a process does not run after SIGSTOP."""
        owner.mark_paused(True)
        self._paused[owner] = None
        self._set_callbacks_aside()
        kept = []
        for timer in self._scheduled:
            if timer.cancelled() or not _is_paused(timer):
                kept.append(timer)
            else:
                timer._scheduled = False  # type: ignore[attr-defined]  # noqa: SLF001  # as asyncio's own, outside the heap
                self._set_aside.append(timer)
        heapq.heapify(kept)
        self._scheduled[:] = kept

    def resume(self, owner: Owner) -> None:
        """Undo `pause()`. As in a real loop, the callbacks that were ready run first, then those of sockets, then those
        of the timers that have become due."""
        owner.mark_paused(False)
        self._paused.pop(owner, None)
        waiting, self._set_aside = self._set_aside, []
        for handle in waiting:
            if _is_paused(handle):
                self._set_aside.append(handle)
            elif isinstance(handle, OwnedTimer):
                if not handle.cancelled():
                    self._push(handle)
            else:
                self._add_callback(handle)  # type: ignore[attr-defined]

    def _set_callbacks_aside(self) -> None:
        """Take the ready callbacks of paused owners out of the loop. Their number is kept, because asyncio may have
        counted them."""
        ready: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]  # asyncio's own
        for index, handle in enumerate(ready):
            if _is_paused(handle):
                self._set_aside.append(handle)
                nothing = asyncio.Handle(_do_nothing, (), self, contextvars.Context())
                nothing.cancel()
                ready[index] = nothing

    def _cancel(self, owner: Owner, times: int) -> None:
        tasks = [task for task in self._tasks if task.owner is not None and task.owner.within(owner)]
        for task in tasks:
            task.cancel()
        if not tasks:
            return
        if times:
            self.call_soon(self._cancel, owner, times - 1)
        else:
            self.fail(RuntimeError(f"{tasks[0]!r} does not end, although it was cancelled {_CANCELLATIONS} times"))

    def _forget(self, task: Any) -> None:
        self._tasks.pop(task, None)

    # ------------------------------------------------------------------ simulated descriptors

    def new_descriptor(self) -> int:
        """Return a descriptor for a link, which add_reader() accepts."""
        return self.descriptors.new_link()

    def add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:  # type: ignore[override]
        if isinstance(fd, int) and self.descriptors.is_link(fd):
            self._readers[fd] = asyncio.Handle(callback, args, self)
        else:
            super().add_reader(fd, callback, *args)

    def remove_reader(self, fd: Any) -> bool:
        if isinstance(fd, int) and self.descriptors.is_link(fd):
            handle = self._readers.pop(fd, None)
            if handle is None:
                return False
            handle.cancel()
            return True
        return super().remove_reader(fd)

    def keep_transport(self, descriptor: int) -> None:
        """Keep asyncio's transport of a socket that a crash or kill closes, if there is one, until the run ends.

        asyncio warns when an unclosed transport is deleted, but the program had no chance to close this one."""
        transport = self._transports.get(descriptor)  # type: ignore[attr-defined]
        if transport is not None:
            self._kept.append(transport)

    def _silence_transports(self) -> None:
        """Let asyncio warn of no transport any more, because the end of the run has closed all sockets."""
        for transport in [*self._transports.values(), *self._kept]:  # type: ignore[attr-defined]
            transport._sock = None  # noqa: SLF001  # asyncio has no public way
            transport._closing = True  # noqa: SLF001  # for StreamWriter
            if isinstance(transport.get_protocol(), SSLProtocol):
                AsyncioTls(transport.get_protocol()).silence()
        self._kept.clear()

    def readable(self, fd: int) -> None:
        """Schedule the reader of a link's descriptor for the next turn."""
        handle = self._readers.get(fd)
        if handle is not None:
            self._add_callback(handle)  # type: ignore[attr-defined]

    # ------------------------------------------------------------------ network and platform

    def connect_to(
        self, resolver: Callable[[str], str], platform: Callable[[], Platform], entropy: random.Random
    ) -> None:
        """Connect the loop to a network.

        Args:
            resolver: returns the IPv4 address of a host name; raises socket.gaierror for unknown names.
            platform: returns the operating system services of utcp's endpoints for the running code.
            entropy: the random numbers of programs.
        """
        self._resolver = resolver
        self._platform = platform
        self.entropy = entropy

    @property
    def utcp_platform(self) -> Platform:
        """Return the platform for utcp's endpoints. Raises RuntimeError without a network."""
        if self._platform is None:
            raise RuntimeError(_NO_NETWORK)
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
        return self.resolve(host, port, family, type, proto, flags)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        """Return the host and the port of a socket address, in numeric form."""
        return str(sockaddr[0]), str(sockaddr[1])

    def resolve(self, host: Any, port: Any, family: int, type: int, proto: int, flags: int) -> Any:  # noqa: A002
        """Return what `getaddrinfo()` returns."""
        if self._resolver is None:
            raise socket.gaierror(socket.EAI_NONAME, "this loop has no network")
        if family not in (0, socket.AF_INET):
            raise socket.gaierror(socket.EAI_FAMILY, "the simulated network has IPv4 only")
        if host is None:
            host = "0.0.0.0" if flags & socket.AI_PASSIVE else "127.0.0.1"
        name = host.decode() if isinstance(host, bytes) else host
        address = self._resolver(name)
        if flags & socket.AI_NUMERICHOST and address != name:
            raise socket.gaierror(socket.EAI_NONAME, f"{name!r} is not a numeric address")
        type = type or socket.SOCK_STREAM  # noqa: A001
        proto = proto or (socket.IPPROTO_UDP if type == socket.SOCK_DGRAM else socket.IPPROTO_TCP)
        return [(socket.AF_INET, type, proto, "", (address, _port(port)))]

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        self._check_network()
        return await super().create_connection(*args, **options)

    async def create_server(self, *args: Any, **options: Any) -> Any:
        self._check_network()
        try:
            return await super().create_server(*args, **options)
        except OSError as error:  # asyncio does not show why no socket can be created
            if "could not bind on any address" in str(error):
                error.add_note('The simulated network has IPv4 only: bind "0.0.0.0" or "127.0.0.1".')
            raise

    async def create_datagram_endpoint(self, *args: Any, **options: Any) -> Any:
        self._check_network()
        return await super().create_datagram_endpoint(*args, **options)

    def _check_network(self) -> None:
        if self._platform is None:
            raise RuntimeError(_NO_NETWORK)

    # ------------------------------------------------------------------ threads and files

    def call_soon_threadsafe(  # type: ignore[override]  # typeshed spells *args as a TypeVarTuple
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Schedule a callback from the loop's own thread, as the function of an executor may. A call by another thread
        raises RuntimeError, and ends the run with it."""
        runner = self._thread_id  # type: ignore[attr-defined]  # asyncio's own
        if runner is not None and runner != threading.get_ident():
            text = f"the thread {threading.current_thread().name} has called the loop: {THREADS}"
            self.fail(RuntimeError(text))
            raise RuntimeError(text)
        return super().call_soon_threadsafe(callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Call `func` at once in this thread, because a thread of its own would run in real time.

        No virtual time passes meanwhile, except that the future is done only after the seconds that `func` has passed
        to `time.sleep()`.
        """
        self._check_closed()  # type: ignore[attr-defined]
        future: asyncio.Future[T] = self.create_future()
        before, self._slept = self._slept, 0.0
        settle: Callable[..., None]
        result: Any
        try:
            result = func(*args)
            settle = future.set_result
        except Exception as error:
            result, settle = error, future.set_exception
        finally:
            slept, self._slept = self._slept, before
        self.call_later(slept, _settle, future, settle, result)
        return future

    def sleep_in_executor(self, seconds: float) -> None:
        """Handle a call of `time.sleep()`. Raises RuntimeError outside of `run_in_executor()`."""
        if self._slept is None:
            raise RuntimeError("time.sleep() would stop virtual time: await asyncio.sleep()")
        self._slept += seconds

    async def _sock_sendfile_native(self, sock: Any, file: Any, offset: int, count: int | None) -> int:
        """Send a file as the system call does. Called by asyncio's `sendfile()` and `sock_sendfile()`."""
        try:
            descriptor = file.fileno()
        except (AttributeError, OSError) as error:
            raise asyncio.SendfileNotAvailableError("not a regular file") from error
        sent = 0
        try:
            while count is None or sent < count:
                size = _BLOCK if count is None else min(_BLOCK, count - sent)
                block = os.pread(descriptor, size, offset + sent)
                if not block:
                    break
                await self.sock_sendall(sock, block)
                sent += len(block)
        finally:
            if sent:
                os.lseek(descriptor, offset + sent, os.SEEK_SET)
        return sent

    # ------------------------------------------------------------------ signals, processes, pipes, Unix sockets

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:  # type: ignore[override]
        """Set what `Host.kill(sig)` calls, instead of ending the calling program."""
        if sig in (signal.SIGKILL, signal.SIGSTOP):
            raise RuntimeError(f"sig {sig} cannot be caught")
        self._signal_handlers[running_owner.get(), sig] = asyncio.Handle(callback, args, self)

    def remove_signal_handler(self, sig: int) -> bool:
        return self._signal_handlers.pop((running_owner.get(), sig), None) is not None

    def handle_signal(self, process: Owner, sig: int) -> bool:
        """Schedule the handler that a process has set for a signal. Return whether there is one."""
        handle = self._signal_handlers.get((process, sig))
        if handle is None:
            return False
        self._add_callback(handle)  # type: ignore[attr-defined]
        return True

    async def _make_subprocess_transport(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError(f"subprocesses {_NO_VIRTUAL_TIME}, or subprocess.run(), which takes no virtual time")

    async def connect_read_pipe(self, *_: Any) -> NoReturn:
        raise RuntimeError(f"pipes {_NO_VIRTUAL_TIME}")

    async def connect_write_pipe(self, *_: Any) -> NoReturn:
        raise RuntimeError(f"pipes {_NO_VIRTUAL_TIME}")

    async def create_unix_connection(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError(f"Unix sockets {_NO_VIRTUAL_TIME}")

    async def create_unix_server(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError(f"Unix sockets {_NO_VIRTUAL_TIME}")

    # ------------------------------------------------------------------ errors

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Report an error as asyncio does, with the virtual time.

        An error of a plain callback also fails the run, because asyncio's own loops would only log it. Errors of a
        process that has ended do not count.
        """
        handle = context.get("handle")
        if handle is not None:
            owner = handle._context.get(running_owner)  # noqa: SLF001  # asyncio has no public way
            if owner is not None and owner.gone:
                return
        super().default_exception_handler({**context, "virtual_time": self._now})
        error = context.get("exception")
        if "handle" in context and isinstance(error, Exception):
            self.fail(error)


def _is_paused(handle: asyncio.Handle | None) -> bool:
    """Return whether the owner of a callback is paused."""
    if handle is None or handle.cancelled():
        return False
    owner: Owner | None = handle._context.get(running_owner)  # type: ignore[attr-defined]  # noqa: SLF001  # asyncio has no public way
    return owner is not None and owner.paused


def _do_nothing() -> None:
    pass


def _settle(future: asyncio.Future[Any], settle: Callable[[Any], None], result: Any) -> None:
    if not future.done():
        settle(result)


def _port(port: Any) -> int:
    """Return the number of a port, which may be the name of a service."""
    if isinstance(port, bytes):
        port = port.decode("ascii")
    if isinstance(port, str) and not port.isdecimal() and port:
        try:
            return socket.getservbyname(port)
        except OSError:
            raise socket.gaierror(socket.EAI_SERVICE, "Servname not supported for ai_socktype") from None
    return int(port or 0)


def _place(coroutine: Any) -> str:
    """Return where a suspended coroutine waits, as the chain of awaited coroutines, innermost last."""
    places = []
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        code = frame.f_code
        places.append(f"{code.co_qualname} ({code.co_filename.rpartition('/')[2]}:{frame.f_lineno})")
        coroutine = coroutine.cr_await
    return " > ".join(places) or repr(coroutine)
