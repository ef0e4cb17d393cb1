"""`run()`: `asyncio.run()` for programs that are ended by a signal."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Final, NoReturn, Self, TypeVar

from utcp.link.platform import Platform

T = TypeVar("T")

_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def run(
    main: Coroutine[Any, Any, T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> T:
    """Run `main` and return its result, as asyncio.run() does. SIGTERM and SIGHUP end it in good order, as Ctrl-C does.

    By default, SIGTERM and SIGHUP end a Python process at once. The kernel would then close its TCP connections, but
    those of utcp are lost with the process, and their peers get no FIN or RST.

    The first signal cancels `main`. When `main` has ended, the other tasks are cancelled, and the endpoints of the loop
    deliver their queued data and close, within `Config.close_timeout`. A second signal ends the loop at once and resets
    the remaining connections. Then KeyboardInterrupt is raised for SIGINT, and SystemExit with 128 plus the signal
    number for the other signals (143 for SIGTERM). A shell reports the same exit status for a process killed by the
    signal. A systemd unit accepts it with `SuccessExitStatus=143`. If `main` suppresses its CancelledError and returns,
    its result is returned and the program continues.

    A signal that the program handles or ignores is not changed, even if `main` installs the handler later
    (`loop.add_signal_handler()`). Outside the main thread, no signal is handled.

    Args:
        main: the coroutine to run.
        debug: as for asyncio.run().
        loop_factory: creates the event loop, for example `uvloop.new_event_loop` or the result of
            `utcp.loop_factory()`.

    Raises RuntimeError if an event loop runs in this thread, and ValueError if `main` is not a coroutine.
    """
    if not asyncio.iscoroutine(main):
        raise ValueError(f"a coroutine was expected, got {main!r}")
    if _is_in_loop():
        main.close()
        raise RuntimeError("utcp.run() cannot be called from a running event loop")
    with _Signals() as signals:
        with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
            loop = signals.loop = runner.get_loop()
            try:
                result = runner.run(signals.watch(main))
            except asyncio.CancelledError:
                if signals.take_cancellation():
                    signals.end_program()
                raise
            finally:
                if signals.ends_at_once and (endpoints := _endpoints(loop)) is not None:
                    endpoints.close_now()  # so that closing the loop does not wait
        if signals.came_late:
            signals.end_program()
        return result


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _endpoints(loop: asyncio.AbstractEventLoop) -> Any:
    """Return the LoopEndpoints of the loop, or None."""
    return Platform.of(loop).endpoints


class _Signals:
    """Handles the signals that would end the process, from before the loop is created until after it is closed."""

    def __init__(self) -> None:
        self._number = 0
        """Number of the first signal; 0 before it."""
        self.loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        """The task of `main`."""
        self._replaced: dict[int, Any] = {}
        self._handler = self._handle  # one object, so that __exit__() can compare it
        self.came_late = False
        """Whether the first signal came after `main` had ended."""
        self.ends_at_once = False
        """Whether a second signal has come."""

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                before = signal.getsignal(number)
                if before in (signal.SIG_DFL, signal.default_int_handler):
                    signal.signal(number, self._handler)
                    self._replaced[number] = before
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._replaced.items():
            if signal.getsignal(number) is self._handler:  # else the program has replaced it
                signal.signal(number, before)

    async def watch(self, main: Coroutine[Any, Any, T]) -> T:
        """Run `main` in the task that the first signal cancels."""
        self._task = asyncio.current_task()
        if self._number and self._task is not None:  # the signal came before the loop ran
            self._task.cancel()
        return await main

    def take_cancellation(self) -> bool:
        """Withdraw the cancellation of `main` by a signal. Return whether only a signal has cancelled it."""
        return self._number != 0 and self._task is not None and self._task.uncancel() == 0

    def end_program(self) -> NoReturn:
        """Raise the exception with which the first signal ends the program."""
        raise _exception(self._number) from None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._number:
            self.ends_at_once = True
            # The runner may be cancelling the other tasks, and closes the loop after this exception.
            if self.loop is not None and (endpoints := _endpoints(self.loop)) is not None:
                endpoints.end_at_once()
            raise _exception(number)
        self._number = number
        task = self._task
        if task is None:
            return
        self.came_late = task.done()
        if not self.came_late:
            task.cancel()
            task.get_loop().call_soon_threadsafe(_wake)


def _exception(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


def _wake() -> None:
    """Do nothing. The scheduled call wakes the loop, so that it runs the cancelled task."""
