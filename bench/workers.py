"""The benefit of a second CPU: worker processes behind one port (SO_REUSEPORT), as in `examples/workers.py`.

One worker and one client process run on one CPU, then two workers and two client processes on two, all pinned to these
CPUs (not each to one). Clients take about as much of a CPU as servers do. A worker and its client on separate CPUs
would therefore count two CPUs' work as one, so both share a CPU. Both measurements run the same code, and twice the
CPUs can do twice the work at best.

Each client process has 16 endpoints (sockets), so that the kernel's hash distributes them: all connections of an
endpoint go to one worker. With kernel TCP, each connection is distributed separately. Each client process has 100
connections in progress: opened, 64 octets echoed, closed by the client first. They run for the given seconds, after
half a second that is not counted.

two CPUs over one: the ratio of the connections per second that all clients together completed. by processor time: the
same ratio if no other load kept the CPUs busy, which is twice the processor time of all processes per connection on one
CPU, divided by that on two. It falls below 2 when the processes interfere with each other.

worker CPU: processor time of the workers per connection that they served.
"""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from time import process_time
from typing import Any, Final

import utcp

from . import command, loops
from .frame import Bench, Case, Figure, Figures, Option, Trial, Values
from .peers import find
from .stacks import BACKLOG, Client, Setting
from .trouble import exception_handler

MESSAGE: Final = bytes(range(64))
ENDPOINTS: Final = 16
AT_ONCE: Final = 100
WARM_UP: Final = 0.5
TIME_LIMIT: Final = 60.0
"""Seconds after which a process fails, in addition to the time in which connections are counted."""


@dataclass(frozen=True, slots=True)
class _Job:
    """The parameters of a process, and the pipe for its answers: one when it is ready, one at its end."""

    stack: str
    loop: str
    cpus: frozenset[int]
    pipe: Connection

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Run `main` on the job's loop and CPUs."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends this process too, silently
        os.sched_setaffinity(0, self.cpus)
        loops.run(main, self.loop)


def work(job: _Job, sock: socket.socket) -> None:
    """Run a worker. Its result is its number of connections, and its processor time, seconds."""
    job.run(_work(job, sock))


async def _work(job: _Job, sock: socket.socket) -> None:
    served = 0

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        try:
            while data := await reader.read(65536):
                writer.write(data)
        finally:
            writer.close()
        await writer.wait_closed()

    if job.stack == "utcp":
        server: asyncio.AbstractServer = await utcp.start_server(echo, sock=sock, backlog=BACKLOG)
    else:
        server = await asyncio.start_server(echo, sock=sock, backlog=BACKLOG)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(job.pipe.fileno(), stop.set)

    loop.set_exception_handler(exception_handler(job.pipe.send))
    start = process_time()
    job.pipe.send(None)
    await stop.wait()
    loop.remove_reader(job.pipe.fileno())
    loop.set_exception_handler(None)
    job.pipe.send((served, process_time() - start))
    server.close()


def connect(job: _Job, address: tuple[str, int], seconds: float) -> None:
    """Run a client process. Its result is the number of counted connections, and its processor time per connection,
    seconds."""
    job.run(_connect(job, address, seconds))


async def _connect(job: _Job, address: tuple[str, int], seconds: float) -> None:
    completed = 0
    stopping = False

    async def come_and_go(client: Client) -> None:
        nonlocal completed
        while not (stopping and completed):
            reader, writer = await client.connect()
            writer.write(MESSAGE)
            await reader.readexactly(len(MESSAGE))
            writer.close()
            await writer.wait_closed()
            completed += 1

    async with _clients(job.stack, address) as clients:
        job.pipe.send(None)
        await asyncio.to_thread(job.pipe.recv)
        start = process_time()
        tasks = [asyncio.ensure_future(come_and_go(clients[number % len(clients)])) for number in range(AT_ONCE)]
        await asyncio.sleep(WARM_UP)
        before = completed
        await asyncio.sleep(seconds)
        counted = completed - before
        stopping = True
        try:
            await asyncio.gather(*tasks)
        except Exception as error:
            job.pipe.send(error)
        else:
            job.pipe.send((counted, (process_time() - start) / completed))


@asynccontextmanager
async def _clients(stack: str, address: tuple[str, int]) -> AsyncIterator[Sequence[Client]]:
    async with AsyncExitStack() as several:
        count = ENDPOINTS if stack == "utcp" else 1
        dial = find(stack).dial
        yield [await several.enter_async_context(dial(address, Setting(address[0]))) for _ in range(count)]


def _bind(stack: str, address: tuple[str, int]) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if stack == "utcp" else socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(address)
    return sock


@dataclass(frozen=True, slots=True)
class _Result:
    """`worker_cpu` and `client_cpu`: processor time per connection, seconds."""

    per_second: float
    worker_cpu: float
    client_cpu: float

    @property
    def cpu(self) -> float:
        return self.worker_cpu + self.client_cpu


def run(trial: Trial, count: int) -> _Result:
    """Run `count` workers and as many client processes on as many CPUs. Raises OSError."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < count:
        raise OSError(f"it takes {count} CPUs, and there are {len(cpus)}")
    context = get_context("spawn")
    seconds = float(trial.parameters["seconds"])
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(_bind(trial.stack, (trial.host, 0))))]
        address = sockets[0].getsockname()
        sockets += [stack.enter_context(closing(_bind(trial.stack, address))) for _ in range(1, count)]

        def start(target: Any, *arguments: Any) -> Connection:
            ours, theirs = context.Pipe()
            job = _Job(trial.stack, trial.loop, frozenset(cpus[:count]), theirs)
            process = context.Process(target=target, args=(job, *arguments), daemon=True)
            process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(process.kill)  # all its answers have been received
            stack.enter_context(ours)
            return ours

        limit = TIME_LIMIT + seconds
        workers = [start(work, sock) for sock in sockets]
        for pipe in workers:
            _receive(pipe, limit)
        clients = [start(connect, address, seconds) for _ in range(count)]
        for pipe in clients:
            _receive(pipe, limit)
        for pipe in clients:
            pipe.send(None)
        try:
            completed = [_receive(pipe, limit) for pipe in clients]
        except Exception:
            for pipe in workers:
                if pipe.poll():
                    _receive(pipe, limit)  # raises the worker's error, which is the cause
            raise
        for pipe in workers:
            pipe.send(None)
        served = [_receive(pipe, limit) for pipe in workers]
    connections = sum(number for number, _ in completed)
    if not connections:
        raise OSError(f"no connection has ended within {seconds:g} s; `--seconds` measures for longer")
    return _Result(
        connections / seconds,
        sum(cpu for _, cpu in served) / sum(number for number, _ in served),
        sum(number * cpu for number, cpu in completed) / connections,
    )


def _receive(pipe: Connection, limit: float) -> Any:
    if not pipe.poll(limit):
        raise TimeoutError(f"a process did not answer within {limit:.0f} s")
    try:
        value = pipe.recv()
    except EOFError:
        raise OSError("a process has ended before its time") from None
    if isinstance(value, Exception):
        raise value
    return value


def measure(trial: Trial) -> Figures:
    """Run one trial: one worker, then two."""
    one, two = run(trial, 1), run(trial, 2)
    return {
        "scaling": two.per_second / one.per_second,
        "scaling_by_cpu": 2 * one.cpu / two.cpu,
        "one_per_second": one.per_second,
        "two_per_second": two.per_second,
        "one_worker_us": 1e6 * one.worker_cpu,
        "two_workers_us": 1e6 * two.worker_cpu,
    }


def _cases(values: Values) -> Sequence[Case]:
    return [Case("open, echo, close", values)]


BENCH: Final = Bench(
    name="workers",
    title="Worker processes behind one port",
    options=(Option("seconds", 3.0, 0.3, "in which connections are counted, each time"),),
    cases=_cases,
    measure=measure,
    figures=(
        Figure("scaling", "two CPUs over one", 2, headline=True),
        Figure("scaling_by_cpu", "two CPUs over one, by processor time", 2),
        Figure("one_per_second", "connections per second, one worker on one CPU", better="higher"),
        Figure("two_per_second", "connections per second, two workers on two", better="higher"),
        Figure("one_worker_us", "worker CPU, µs per connection, one worker"),
        Figure("two_workers_us", "worker CPU, µs per connection, two workers"),
    ),
    processes=(2,),
    rounds=3,
    rounds_in_all=1,
    seconds=18,
)

if __name__ == "__main__":
    command.main("workers")
