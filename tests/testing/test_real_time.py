"""What programs do in real time on real loops: processes, threads, other loops. In a simulation, each works, and does
not depend on real time, or says what to do instead."""

import asyncio
import concurrent.futures
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable

import pytest

from utcp.testing import Network, Stalled

HTTP = 80


async def nothing() -> None:
    pass


# ---------------------------------------------------------------------- processes


async def test_a_command_takes_no_virtual_time(simnet: Network) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(0.01); print('hello')"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"hello\n"  # noqa: ASYNC221, S603
    assert subprocess.check_output(command) == b"hello\n"  # noqa: ASYNC221, S603
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: ASYNC220, S603
        assert process.communicate() == (b"hello\n", b"")
    assert process.poll() == 0
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:  # noqa: ASYNC220
        with pytest.raises(RuntimeError, match=r"call wait\(\) or communicate\(\)"):
            process.poll()
        process.terminate()
        assert process.wait() != 0
    assert simnet.loop.now == 0


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def fork_by_multiprocessing() -> None:
    multiprocessing.get_context("fork").Process(target=print).start()


@pytest.mark.parametrize("call", [fork, fork_by_multiprocessing])
async def test_the_simulation_is_not_copied(simnet: Network, call: Callable[[], None]) -> None:
    with pytest.raises(RuntimeError, match=r"start programs on hosts by host\.run\(\)"):
        call()


async def test_processes_of_asyncio(simnet: Network) -> None:
    for call in (asyncio.create_subprocess_exec, asyncio.create_subprocess_shell):
        with pytest.raises(RuntimeError, match=r"subprocess\.run\(\), which takes no virtual time"):
            await call("true")


def test_outside_of_a_simulation_all_is_as_it_was() -> None:
    names = (os.fork, subprocess.Popen.poll, asyncio.run, asyncio.new_event_loop, asyncio.run_coroutine_threadsafe)
    Network().run(nothing())
    assert names == (
        os.fork,
        subprocess.Popen.poll,
        asyncio.run,
        asyncio.new_event_loop,
        asyncio.run_coroutine_threadsafe,
    )
    assert asyncio.run(asyncio.to_thread(os.getpid)) == os.getpid()


# ---------------------------------------------------------------------- threads


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of the thread, which also learns
def test_another_thread_that_calls_the_loop_fails_the_run(simnet: Network) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(print,), name="worker")
        thread.start()
        thread.join()
        await asyncio.sleep(1)

    with pytest.raises(RuntimeError, match=r"the thread worker has called the loop: .*asyncio\.to_thread\(\)"):
        simnet.run(scenario())


def test_a_run_that_waits_for_a_thread_names_it(simnet: Network) -> None:
    ends = threading.Event()
    thread = threading.Thread(target=ends.wait, name="worker")

    async def scenario() -> None:
        thread.start()
        await asyncio.Event().wait()

    with pytest.raises(Stalled, match=r"other threads run in real time.*Threads that run: worker"):
        simnet.run(scenario())
    ends.set()
    thread.join()


async def test_functions_of_executors_run_in_the_thread_of_the_loop(simnet: Network) -> None:
    loop = asyncio.get_running_loop()
    here = threading.get_ident()
    called = asyncio.Event()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for executor in (None, pool):
            assert await loop.run_in_executor(executor, threading.get_ident) == here
    await asyncio.to_thread(loop.call_soon_threadsafe, called.set)
    await called.wait()


async def test_a_function_of_an_executor_that_waits_for_the_loop(simnet: Network) -> None:
    loop = asyncio.get_running_loop()

    async def answer() -> int:
        return 7

    for ask in ("result", "exception"):
        future = await asyncio.to_thread(asyncio.run_coroutine_threadsafe, answer(), loop)
        with pytest.raises(RuntimeError, match="which it would block for ever"):
            getattr(future, ask)()
        assert await asyncio.wrap_future(future) == 7
    assert (future.result(), future.exception()) == (7, None)


def test_threads_of_anyio() -> None:
    to_thread = pytest.importorskip("anyio.to_thread", reason="anyio comes with the extra 'integrations'")

    async def call() -> bool:
        return bool(await to_thread.run_sync(threading.get_ident, abandon_on_cancel=True) == threading.get_ident())

    original = to_thread.run_sync
    assert Network().run(call())
    assert to_thread.run_sync is original
    assert not asyncio.run(call())


# ---------------------------------------------------------------------- other loops


def run_with_asyncio() -> None:
    asyncio.run(nothing())


def run_with_a_runner() -> None:
    with asyncio.Runner() as runner:
        runner.run(nothing())


def run_in_this_loop() -> None:
    asyncio.get_running_loop().run_until_complete(asyncio.sleep(0))


def run_in_this_loop_for_ever() -> None:
    asyncio.get_running_loop().run_forever()


@pytest.mark.parametrize("call", [run_with_asyncio, run_with_a_runner, run_in_this_loop, run_in_this_loop_for_ever])
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
async def test_another_loop_is_refused(simnet: Network, call: Callable[[], None]) -> None:
    with pytest.raises(RuntimeError, match=r"await the coroutine, or start it on a host by host\.run\(coroutine\)"):
        call()


async def test_the_coroutine_of_a_refused_run_is_closed(simnet: Network) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeError, match="host"):
            run_with_asyncio()


# ---------------------------------------------------------------------- ports of several sockets


async def test_a_port_is_not_shared(simnet: Network) -> None:
    loop = asyncio.get_running_loop()
    async with await asyncio.start_server(print, "0.0.0.0", HTTP, reuse_port=True):
        with pytest.raises(OSError, match="has no so_reuseport, so that one socket has a port"):
            await asyncio.start_server(print, "0.0.0.0", HTTP, reuse_port=True)
    transport, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("0.0.0.0", HTTP), reuse_port=True
    )
    with pytest.raises(OSError, match="has no SO_REUSEPORT, so that one socket has a port"):
        await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("0.0.0.0", HTTP), reuse_port=True)
    with socket.socket() as one, socket.socket() as other:
        one.bind(("0.0.0.0", HTTP))
        with pytest.raises(OSError, match=r"Address already in use$"):
            other.bind(("0.0.0.0", HTTP))
    transport.close()
