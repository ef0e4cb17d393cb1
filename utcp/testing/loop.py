"""An asyncio event loop in virtual time: when nothing is ready, its clock jumps to the next event."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn, TypeVar

_FIRST_DESCRIPTOR: Final = 1 << 20
"""Simulated descriptors begin above all real ones: mixing them up fails at once."""

T = TypeVar("T")


class Stalled(RuntimeError):
    """Everything waits and no timer runs: in the real world this would hang for ever."""


class OutOfBounds(RuntimeError):
    """The run took more virtual time or more steps than it was allowed: it hangs, or goes round in circles."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs coroutines in virtual time, which begins at 0 and passes only while nothing is ready to run.

    A run is bounded: by `max_time` virtual seconds and `max_steps` turns of the loop. There are no real sockets,
    threads or subprocesses here; what would need them raises RuntimeError.
    """

    def __init__(self, *, max_time: float = 86_400.0, max_steps: int = 5_000_000) -> None:
        super().__init__()
        self.max_time = max_time
        self.max_steps = max_steps
        self.steps = 0
        self._now = 0.0
        self._clock_resolution = 1e-9
        self._selector = _Jump(self)
        self._readers: dict[int, asyncio.Handle] = {}
        self._next_descriptor = _FIRST_DESCRIPTOR
        self._resolver: Callable[[str], str] | None = None

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run `main` to its end, as asyncio.run() does: then other tasks are cancelled, asynchronous generators closed,
        and the loop with them.

        Raises what `main` raises, Stalled when nothing could ever happen again, OutOfBounds beyond the bounds.
        """
        with asyncio.Runner(loop_factory=lambda: self) as runner:
            return runner.run(main)

    # ------------------------------------------------------------------ virtual time

    def jump(self, timeout: float | None) -> None:
        """Nothing is ready for `timeout` seconds (None: for ever): let them pass."""
        self.steps += 1
        if self.steps > self.max_steps:
            raise OutOfBounds(f"more than {self.max_steps} steps, at {self._now:.6f} s of virtual time")
        if timeout is None:
            raise Stalled(f"nothing left to happen at {self._now:.6f} s of virtual time, and something still waits")
        if timeout > 0:
            # The deadline itself, not now + timeout: no rounding may make a timer early.
            scheduled = self._scheduled  # type: ignore[attr-defined]
            self._now = max(self._now, scheduled[0].when()) if scheduled else self._now + timeout
            if self._now > self.max_time:
                raise OutOfBounds(f"more than {self.max_time} s of virtual time, after {self.steps} steps")

    def _process_events(self, event_list: list[object]) -> None:
        """Nothing comes from outside."""

    def _write_to_self(self) -> None:
        """call_soon_threadsafe() has nobody to wake."""

    # ------------------------------------------------------------------ simulated descriptors

    def new_descriptor(self) -> int:
        """A number that add_reader() knows."""
        self._next_descriptor += 1
        return self._next_descriptor

    # typeshed spells *args of these as TypeVarTuples, for which mypy takes no plain override.

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

    # ------------------------------------------------------------------ names

    def resolve_with(self, resolver: Callable[[str], str]) -> None:
        """Let `resolver` turn host names into IPv4 addresses; it raises socket.gaierror for those it does not know."""
        self._resolver = resolver

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
        address = "0.0.0.0" if host is None else self._resolver(host)
        return [(socket.AF_INET, type or socket.SOCK_STREAM, proto, "", (address, int(port or 0)))]

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("threads have no virtual time: do not use them in a simulation")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Report as asyncio does, with the virtual time."""
        context = {**context, "virtual_time": self._now}
        super().default_exception_handler(context)


class _Jump:
    """In a selector's place: does not wait, but lets the time pass."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[object]:
        self._loop.jump(timeout)
        return []

    def close(self) -> None:
        """Nothing to give back."""
