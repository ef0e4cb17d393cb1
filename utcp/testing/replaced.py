"""Parts of the standard library that a simulation replaces while it runs: sockets, clocks, random numbers, and what
would run in real time."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import random
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from utcp.testing.loop import OTHER_LOOP, VirtualLoop
from utcp.testing.owner import wall_clock_offset
from utcp.testing.sockets import SimulatedSocket

START: Final = 1_767_225_600.0
"""Wall-clock time at virtual time 0, seconds since 1970: the beginning of 2026 (UTC)."""

_time: Final = time.time
_time_ns: Final = time.time_ns
_monotonic: Final = time.monotonic
_monotonic_ns: Final = time.monotonic_ns
_perf_counter: Final = time.perf_counter
_perf_counter_ns: Final = time.perf_counter_ns
_sleep: Final = time.sleep
_gmtime: Final = time.gmtime
_localtime: Final = time.localtime
_strftime: Final = time.strftime
_urandom: Final = os.urandom
_getaddrinfo: Final = socket.getaddrinfo
_gethostname: Final = socket.gethostname
_gethostbyname: Final = socket.gethostbyname
_getfqdn: Final = socket.getfqdn
_poll: Final = select.poll
_seed: Final = random.Random.seed
_asyncio_run: Final = asyncio.run
_new_event_loop: Final = asyncio.new_event_loop
_run_coroutine_threadsafe: Final = asyncio.run_coroutine_threadsafe
_fork: Final = os.fork
_Popen_poll: Final = subprocess.Popen.poll


def _running() -> VirtualLoop | None:
    """Return the loop of the simulated network that runs in this thread, or None."""
    loop = asyncio._get_running_loop()  # noqa: SLF001  # get_running_loop() without the exception
    return loop if isinstance(loop, VirtualLoop) and loop.entropy is not None else None


# ---------------------------------------------------------------------- clocks


def wall_clock(loop: VirtualLoop) -> float:
    """Return the wall-clock time of the host that runs the calling code, seconds since 1970."""
    return START + loop.time() + wall_clock_offset()


def _simulated_time() -> float:
    loop = _running()
    return _time() if loop is None else wall_clock(loop)


def _simulated_time_ns() -> int:
    loop = _running()
    return _time_ns() if loop is None else int(START) * 10**9 + round((loop.time() + wall_clock_offset()) * 1e9)


def _simulated_monotonic() -> float:
    loop = _running()
    return _monotonic() if loop is None else loop.time()


def _simulated_monotonic_ns() -> int:
    loop = _running()
    return _monotonic_ns() if loop is None else round(loop.time() * 1e9)


def _simulated_perf_counter() -> float:
    loop = _running()
    return _perf_counter() if loop is None else loop.time()


def _simulated_perf_counter_ns() -> int:
    loop = _running()
    return _perf_counter_ns() if loop is None else round(loop.time() * 1e9)


def _simulated_sleep(seconds: float) -> None:
    loop = _running()
    if loop is None:
        _sleep(seconds)
    else:
        loop.sleep_in_executor(seconds)


def _simulated_gmtime(seconds: float | None = None, /) -> time.struct_time:
    loop = _running()
    return _gmtime(seconds if seconds is not None or loop is None else wall_clock(loop))


def _simulated_localtime(seconds: float | None = None, /) -> time.struct_time:
    loop = _running()
    return _localtime(seconds if seconds is not None or loop is None else wall_clock(loop))


def _simulated_strftime(form: str, when: Any = None, /) -> str:
    if when is None:
        when = _simulated_localtime()
    return _strftime(form, when)


# ---------------------------------------------------------------------- random numbers


def _simulated_urandom(size: int, /) -> bytes:
    loop = _running()
    return _urandom(size) if loop is None or loop.entropy is None else loop.entropy.randbytes(size)


def _simulated_seed(self: random.Random, a: Any = None, version: int = 2) -> None:
    """Seed a generator that gets no seed from the network's seed."""
    loop = _running()
    if a is None and loop is not None and loop.entropy is not None:
        a = loop.entropy.getrandbits(128)
    _seed(self, a, version)


def _hidden_generators() -> Iterator[random.Random]:
    """Yield the generators that libraries have made at their import, for use in all connections."""
    writer: Any = sys.modules.get("aiohttp._websocket.writer")
    if writer is not None:  # the masks of WebSocket frames
        defaults = writer.WebSocketWriter.__init__
        for value in (*(defaults.__defaults__ or ()), *(defaults.__kwdefaults__ or {}).values()):
            if isinstance(value, random.Random):
                yield value


@contextlib.contextmanager
def _seeded(entropy: random.Random) -> Iterator[None]:
    """Seed the generator of the module `random`, and hidden ones, and restore their states at the end."""
    generators = [random.seed.__self__, *_hidden_generators()]  # type: ignore[attr-defined]  # the module's own
    states = [generator.getstate() for generator in generators]
    seed = entropy.getrandbits(128)  # drawn once, so that a run does not depend on what libraries are imported
    for number, generator in enumerate(generators):
        generator.seed(seed + number)
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.setstate(state)


# ---------------------------------------------------------------------- sockets


def _simulated_getaddrinfo(
    host: Any,
    port: Any,
    family: int = 0,
    type: int = 0,  # noqa: A002  # its name
    proto: int = 0,
    flags: int = 0,
) -> Any:
    loop = _running()
    if loop is None:
        return _getaddrinfo(host, port, family, type, proto, flags)
    return loop.resolve(host, port, family, type, proto, flags)


def _simulated_gethostname() -> str:
    loop = _running()
    if loop is None:
        return _gethostname()
    platform: Any = loop.utcp_platform  # a Process
    return str(platform.host.name)


def _simulated_gethostbyname(hostname: Any, /) -> str:
    loop = _running()
    if loop is None:
        return _gethostbyname(hostname)
    return str(loop.resolve(hostname, 0, 0, 0, 0, 0)[0][4][0])


def _simulated_getfqdn(name: str = "") -> str:
    """Return the name of the present host, or the given one, because the simulated network has no domains."""
    if _running() is None:
        return _getfqdn(name)
    return _simulated_gethostname() if name.strip() in ("", "0.0.0.0") else name.strip()


class _Poll:
    """`select.poll()` for simulated sockets, which does not wait. httpcore asks by it whether a connection is idle."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._wanted: dict[int, int] = {}

    def register(self, fd: Any, eventmask: int = select.POLLIN | select.POLLPRI | select.POLLOUT, /) -> None:
        self._wanted[fd if isinstance(fd, int) else fd.fileno()] = eventmask

    modify = register

    def unregister(self, fd: Any, /) -> None:
        del self._wanted[fd if isinstance(fd, int) else fd.fileno()]

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        found = []
        for fd, wanted in self._wanted.items():
            events = self._loop.descriptors.poll(fd)
            shown = wanted & ((select.POLLIN if events & 1 else 0) | (select.POLLOUT if events & 2 else 0))
            if shown:
                found.append((fd, shown))
        if not found and timeout != 0:
            raise RuntimeError("select.poll() would stop virtual time: poll with a timeout of 0, or use asyncio")
        return found


def _simulated_poll() -> Any:
    loop = _running()
    return _poll() if loop is None else _Poll(loop)


# ---------------------------------------------------------------------- loops, threads and processes


def _simulated_asyncio_run(main: Any, **options: Any) -> Any:
    if _running() is None:
        return _asyncio_run(main, **options)
    if asyncio.iscoroutine(main):
        main.close()
    raise RuntimeError(f"asyncio.run() in a simulation: {OTHER_LOOP}")


def _simulated_new_event_loop() -> asyncio.AbstractEventLoop:
    if _running() is None:
        return _new_event_loop()
    raise RuntimeError(f"asyncio.new_event_loop() in a simulation: {OTHER_LOOP}")


class _Unfinished(concurrent.futures.Future[Any]):
    """The result of a coroutine of the loop, for code in the loop's thread, which cannot wait for it."""

    def result(self, timeout: float | None = None) -> Any:
        self._check()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._check()
        return super().exception(timeout)

    def _check(self) -> None:
        if not self.done():
            raise RuntimeError(
                "the function of asyncio.to_thread() or loop.run_in_executor() waits for a coroutine: a simulation"
                " calls it in the loop's thread, which it would block for ever. Await the coroutine outside of it"
            )


def _simulated_run_coroutine_threadsafe(coro: Any, loop: Any) -> concurrent.futures.Future[Any]:
    running = _running()
    if running is None or running is not loop:
        return _run_coroutine_threadsafe(coro, loop)
    future = _Unfinished()

    def start() -> None:
        task = asyncio.ensure_future(coro, loop=loop)
        asyncio.futures._chain_future(task, future)  # type: ignore[attr-defined]  # noqa: SLF001  # as asyncio does

    running.call_soon_threadsafe(start)
    return future


def _simulated_fork() -> int:
    if _running() is None:
        return _fork()
    raise RuntimeError(
        "os.fork() would copy the simulation into a process that runs in real time: start programs on hosts by"
        " host.run(), and commands by subprocess.run(), which takes no virtual time"
    )


def _simulated_popen_poll(self: subprocess.Popen[Any]) -> int | None:
    by_itself = sys._getframe(1).f_globals.get("__name__") == "subprocess"  # noqa: SLF001  # its documented use
    if self.returncode is None and not by_itself and _running() is not None:
        raise RuntimeError(
            "Popen.poll() would depend on real time: call wait() or communicate(), which take no virtual time"
        )
    return _Popen_poll(self)


@contextlib.contextmanager
def _without_threads_of_anyio() -> Iterator[None]:
    """Replace `anyio.to_thread.run_sync()`, by which Starlette and FastAPI call functions that are not async."""
    module: Any = sys.modules.get("anyio.to_thread")
    if module is None:
        yield
        return
    original = module.run_sync

    async def run_sync(func: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if _running() is None:
            return await original(func, *args, **options)
        return await asyncio.to_thread(func, *args)

    module.run_sync = run_sync
    try:
        yield
    finally:
        module.run_sync = original


# ---------------------------------------------------------------------- replacing

_REPLACEMENTS: Final[dict[int, tuple[Any, Any]]] = {
    id(original): (original, replacement)
    for original, replacement in (
        (_time, _simulated_time),
        (_time_ns, _simulated_time_ns),
        (_monotonic, _simulated_monotonic),
        (_monotonic_ns, _simulated_monotonic_ns),
        (_perf_counter, _simulated_perf_counter),
        (_perf_counter_ns, _simulated_perf_counter_ns),
        (_sleep, _simulated_sleep),
        (_gmtime, _simulated_gmtime),
        (_localtime, _simulated_localtime),
        (_strftime, _simulated_strftime),
        (_urandom, _simulated_urandom),
        (_getaddrinfo, _simulated_getaddrinfo),
        (_gethostname, _simulated_gethostname),
        (_gethostbyname, _simulated_gethostbyname),
        (_getfqdn, _simulated_getfqdn),
        (_poll, _simulated_poll),
        (socket.socket, SimulatedSocket),
        (_asyncio_run, _simulated_asyncio_run),
        (_new_event_loop, _simulated_new_event_loop),
        (_run_coroutine_threadsafe, _simulated_run_coroutine_threadsafe),
        (_fork, _simulated_fork),
    )
}
"""The originals and their replacements, by the identity of the original."""

_KEPT: Final = frozenset(
    {"_pytest", "pluggy", "xdist", "execnet", "hypothesis", "threading", "queue", "concurrent", "multiprocessing"}
    | {"subprocess", "utcp"}
)
"""Packages that keep the originals: the tools that run tests, and what other threads and processes use."""

_Place = tuple[Any, str, Any, Any]
"""A module, a name in it, the original and the replacement."""

_found: tuple[list[int], list[Any], list[_Place]] = [], [], []
"""The identities of the modules that were searched last, the modules, so that no other one gets such an identity, and
where the originals stand."""

_one_run: Final = threading.Lock()
"""Held by the thread whose simulation runs. One in another thread waits, because it would restore the originals, and
mix the random numbers, of the first one."""


def _find_places() -> list[_Place]:
    """Return all names of imported modules that stand for an original (`from time import monotonic`)."""
    global _found  # a search takes longer than many simulations
    modules = sys.modules.copy()
    identities = list(map(id, modules.values()))
    if identities != _found[0]:
        places = []
        for module_name, module in modules.items():
            if module_name.partition(".")[0] not in _KEPT and isinstance(module, type(sys)):
                for name, value in vars(module).copy().items():
                    pair = _REPLACEMENTS.get(id(value))
                    if pair is not None:
                        places.append((module, name, *pair))
        _found = identities, list(modules.values()), places
    return _found[2]


def _restore_new(before: set[str]) -> None:
    """Restore the originals in modules that were imported during a run: all but those named in `before`."""
    originals = {id(replacement): original for original, replacement in _REPLACEMENTS.values()}
    for module_name in [name for name in sys.modules.copy() if name not in before]:
        module = sys.modules.get(module_name)
        if isinstance(module, type(sys)):
            for name, value in vars(module).copy().items():
                if id(value) in originals:
                    setattr(module, name, originals[id(value)])


@contextlib.contextmanager
def replaced(entropy: random.Random) -> Iterator[None]:
    """Replace the parts within this context, and restore them at its end.

    Each replacement has an effect only in code that the loop of a simulated network runs. Elsewhere, in other threads
    for example, it does what the original does.

    Args:
        entropy: the source of random numbers of the programs.
    """
    set_seed: Callable[..., None] = _simulated_seed
    with _one_run:
        # Not the places where a test has put something of its own. A patch that was made during a run, and undone after
        # it, has put the replacement there.
        places = [place for place in _find_places() if vars(place[0]).get(place[1]) in place[2:]]
        before = set(sys.modules)
        for module, name, _, replacement in places:
            setattr(module, name, replacement)
        random.Random.seed = set_seed  # type: ignore[method-assign]
        subprocess.Popen.poll = _simulated_popen_poll  # type: ignore[method-assign]
        try:
            with _seeded(entropy), _without_threads_of_anyio():
                yield
        finally:
            subprocess.Popen.poll = _Popen_poll  # type: ignore[method-assign]
            random.Random.seed = _seed  # type: ignore[method-assign]
            for module, name, original, _ in places:
                setattr(module, name, original)
            _restore_new(before)
