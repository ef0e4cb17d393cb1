"""The loop in virtual time: how time passes, in what order, and how a run that hangs ends."""

import asyncio
import gc
import signal
import socket
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.testing.apps import ask
from tests.testing.hosts import pair
from utcp.testing import Network, OutOfBounds, Stalled, VirtualLoop
from utcp.testing.loop import FREE_TURNS, TURN_TIME


async def sleep_for(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return asyncio.get_running_loop().time()


async def turn_for_ever() -> None:
    while True:  # noqa: ASYNC110  # no event ever comes
        await asyncio.sleep(0)


async def tick_for_ever() -> None:
    while True:  # noqa: ASYNC110  # no event ever comes
        await asyncio.sleep(1)


def test_a_day_takes_a_handful_of_steps() -> None:
    loop = VirtualLoop()
    assert loop.run(sleep_for(86_000)) == 86_000
    assert loop.steps < 10


@pytest.mark.parametrize("begin", [0.1, 1e6, 1e9, 1e12])
def test_timers_are_never_early_and_never_stuck(begin: float) -> None:
    """Far from 0 floats are coarse: a clock resolution that suits one time suits no other."""
    loop = VirtualLoop(max_time=1e13, max_steps=1000)
    late: list[float] = []

    async def main() -> None:
        await asyncio.sleep(begin)
        for _ in range(50):
            due = loop.time() + 0.1
            await asyncio.sleep(0.1)
            late.append(loop.time() - due)

    loop.run(main())
    assert set(late) == {0.0}


def test_what_is_due_at_the_same_time_happens_in_the_order_it_was_asked_for() -> None:
    loop = VirtualLoop()
    order: list[int] = []

    async def main() -> None:
        for number in range(100):
            loop.call_at(1.0, order.append, number)
        await asyncio.sleep(2)

    loop.run(main())
    assert order == list(range(100))


def test_tasks_in_a_set_stand_in_the_order_of_their_making() -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(asyncio.sleep(1)) for _ in range(8)]
        done, _ = await asyncio.wait({*reversed(tasks)})
        first = tasks.index(next(iter(done)))  # a set begins anywhere
        assert [tasks.index(task) for task in done] == [(first + i) % 8 for i in range(8)]

    VirtualLoop().run(main())


def test_waiting_for_what_never_comes_is_an_error_that_says_where() -> None:
    async def wait_in_vain() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stalled, match=r"(?s)at 0\.000000 s.*wait_in_vain.*Event\.wait"):
        VirtualLoop().run(wait_in_vain())


async def poll(condition: Callable[[], bool]) -> float:
    """Busy waiting, as beginners write it."""
    while not condition():  # noqa: ASYNC110  # that is the point
        await asyncio.sleep(0)
    return asyncio.get_running_loop().time()


@pytest.mark.defect(85)
def test_what_a_program_polls_for_comes() -> None:
    """Timers fire on time while it polls, also those that are set meanwhile."""
    loop = VirtualLoop(max_steps=10_000)
    fired: list[float] = []

    def fire() -> None:
        fired.append(loop.time())
        if len(fired) < 3:
            loop.call_later(0.01, fire)

    async def main() -> float:
        loop.call_later(0.02, fire)
        return await poll(lambda: len(fired) == 3)

    assert loop.run(main()) == pytest.approx(0.04, abs=3 * TURN_TIME)  # it notices a turn later
    assert fired == pytest.approx([0.02, 0.03, 0.04], abs=1e-9)
    assert loop.steps <= FREE_TURNS + 0.04 / TURN_TIME + 10


@pytest.mark.defect(85)
def test_polling_takes_the_same_time_each_run() -> None:
    def run() -> tuple[float, int]:
        loop = VirtualLoop()

        async def main() -> float:
            done = asyncio.create_task(asyncio.sleep(0.01))
            await poll(done.done)
            await asyncio.sleep(1)  # time jumps again, and turns are free again
            before = loop.time()
            await poll(iter([False] * (FREE_TURNS - 10) + [True]).__next__)
            assert loop.time() == before
            return before

        return loop.run(main()), loop.steps

    assert run() == run()
    assert run()[0] == pytest.approx(1.01, abs=3 * TURN_TIME)


@pytest.mark.defect(85)
def test_a_conversation_goes_on_while_a_program_polls(simnet: Network) -> None:
    _, client = pair(simnet, latency=0.02)

    async def scenario() -> float:
        asking = client.run(ask("server", b"question"))
        await poll(asking.done)
        assert await asking == b"question"
        return simnet.loop.time()

    assert 0.08 <= simnet.run(scenario()) < 0.2


def test_a_thousand_turns_at_one_moment_take_no_time() -> None:
    loop = VirtualLoop()

    async def main() -> float:
        return await poll(iter([False] * (FREE_TURNS - 10) + [True]).__next__)

    assert loop.run(main()) == 0


def test_too_much_time_is_an_error() -> None:
    loop = VirtualLoop(max_time=100)
    with pytest.raises(OutOfBounds, match=r"(?s)more than 100 s.*tick_for_ever"):
        loop.run(tick_for_ever())
    assert loop.is_closed()


def test_too_many_steps_are_an_error() -> None:
    loop = VirtualLoop(max_steps=1000)
    with pytest.raises(OutOfBounds, match="more than 1000 steps"):
        loop.run(turn_for_ever())


def test_cleaning_up_has_time_of_its_own() -> None:
    cleaned: list[float] = []

    async def main() -> None:
        try:
            await tick_for_ever()
        finally:
            await asyncio.sleep(50)
            cleaned.append(asyncio.get_running_loop().time())

    with pytest.raises(OutOfBounds):
        VirtualLoop(max_time=100).run(main())
    assert cleaned == [151.0]


def test_what_is_left_is_cancelled_in_order_and_generators_are_closed_in_order() -> None:
    ended: list[str] = []

    async def wait(name: str) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append(name)

    async def number(value: int) -> AsyncIterator[int]:
        try:
            yield value
        finally:
            await asyncio.sleep(1)
            ended.append(str(value))

    generators = [number(value) for value in range(8)]
    tasks: list[asyncio.Task[None]] = []

    async def main() -> None:
        # In a set, tasks after so many others would begin anywhere.
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(26)))
        tasks.extend(asyncio.create_task(wait(name)) for name in "abcdefgh")
        for generator in generators:
            await anext(generator)

    VirtualLoop().run(main())
    assert ended == [*"abcdefgh", *"01234567"]


def test_the_garbage_collector_runs_at_moments_that_the_run_decides() -> None:
    collecting = []

    async def main() -> None:
        collecting.append(gc.isenabled())

    VirtualLoop().run(main())
    collecting.append(gc.isenabled())
    assert collecting == [False, True]


def test_garbage_goes_all_the_same() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.itself = self

    left: list[weakref.ref[Cycle]] = []

    async def main() -> None:
        left.append(weakref.ref(Cycle()))
        for _ in range(25_000):
            await asyncio.sleep(0)
        left.append(weakref.ref(Cycle()))
        assert left[0]() is None
        assert left[1]() is not None

    VirtualLoop().run(main())


def test_an_error_in_a_callback_fails_the_run(caplog: pytest.LogCaptureFixture) -> None:
    loop = VirtualLoop()

    def fail() -> None:
        raise LookupError("nobody would see this")

    async def main() -> None:
        loop.call_later(1, fail)
        await asyncio.sleep(1000)

    with pytest.raises(LookupError, match="nobody would see this"):
        loop.run(main())
    assert loop.time() == 1
    assert "virtual_time: 1" in caplog.text


def test_an_error_in_the_last_callback_fails_the_run_too() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        VirtualLoop().run(main())


def test_a_handler_of_the_applications_own_is_asked_instead() -> None:
    loop = VirtualLoop()
    seen: list[object] = []

    async def main() -> None:
        loop.set_exception_handler(lambda _, context: seen.append(context["exception"]))
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    loop.run(main())
    assert [type(error) for error in seen] == [ZeroDivisionError]


@pytest.mark.parametrize(
    "ask",
    [
        lambda loop: asyncio.open_connection("127.0.0.1", 1),
        lambda loop: asyncio.start_server(print, "127.0.0.1", 0),
        lambda loop: loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)),
        lambda loop: loop.create_unix_connection(asyncio.Protocol, "none"),
        lambda loop: loop.create_unix_server(asyncio.Protocol, "none"),
        lambda loop: loop.connect_read_pipe(asyncio.Protocol, None),
        lambda loop: loop.connect_write_pipe(asyncio.Protocol, None),
        lambda _: asyncio.create_subprocess_exec("true"),
        lambda _: asyncio.create_subprocess_shell("true"),
    ],
)
def test_what_needs_the_real_world_says_so(ask: Callable[[VirtualLoop], Any]) -> None:
    loop = VirtualLoop()

    async def main() -> None:
        await ask(loop)

    with pytest.raises(RuntimeError, match="virtual time"):
        loop.run(main())


def test_handlers_of_signals_belong_to_the_program_of_a_host(simnet: Network) -> None:
    seen: list[str] = []

    async def serve(name: str) -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        with pytest.raises(RuntimeError, match="cannot be caught"):
            loop.add_signal_handler(signal.SIGKILL, ended.set)
        await ended.wait()
        seen.append(f"{name} ends at {loop.time():g}")
        assert loop.remove_signal_handler(signal.SIGTERM)
        assert not loop.remove_signal_handler(signal.SIGTERM)
        await asyncio.sleep(100)

    async def main() -> None:
        hosts = [simnet.host(name) for name in ("a", "b")]
        tasks = [host.run(serve(host.name)) for host in hosts]
        await asyncio.sleep(1)
        hosts[0].kill(signal.SIGTERM)
        await asyncio.sleep(1)
        assert seen == ["a ends at 1"]
        assert not any(task.done() for task in tasks)
        hosts[0].kill(signal.SIGTERM)  # no handler any more
        hosts[1].kill()
        await asyncio.sleep(1)
        assert all(task.cancelled() for task in tasks)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, seen.append, "main")
        simnet.main.kill(signal.SIGHUP)
        with pytest.raises(ValueError, match="scenario"):
            simnet.main.kill(signal.SIGTERM)
        await asyncio.sleep(0)
        assert seen == ["a ends at 1", "main"]

    simnet.run(main())


def test_real_sockets_are_refused() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        with socket.socket() as real:
            loop.add_reader(real.fileno(), print)

    with pytest.raises(RuntimeError, match="not a simulated descriptor"):
        loop.run(main())
