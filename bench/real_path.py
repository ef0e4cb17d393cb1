"""One flow over a path in real time: a sending and a receiving process, each with its own event loop.

Each process has a network namespace with a TUN interface, and a relay joins the interfaces. Without namespaces, both
processes are on loopback and the relay joins two UDP sockets, which serves utcp only.
"""

import asyncio
import multiprocessing
import os
import resource
import select
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final, Self

from utcp.testing.path import Conditions, Path

from . import loops
from .impairment import DatagramRelay, Lateness, Port, Relay, first_in_line
from .kernel_path import linux_host
from .path_cells import seed_of
from .peers import find
from .stacks import Address, Counts, Setting, StreamApp, kernel_counts
from .trouble import Guard

SENDER: Final = "sender"
RECEIVER: Final = "receiver"

PAYLOAD: Final = {"utcp": 1440, "kernel_tcp": 1448}
"""Octets of data in a full packet of 1500 octets, by stack."""

_SENDER_HOST: Final = "10.77.0.1"
_RECEIVER_HOST: Final = "10.77.0.100"
_LOOPBACK_HOSTS: Final = {SENDER: "127.0.77.1", RECEIVER: "127.0.77.100"}
_RELAY_HOST: Final = "127.0.77.50"

_CHUNK: Final = 1 << 16
_PAUSE: Final = 0.05
"""Seconds for which a blocked loop sleeps, and for which it runs afterwards."""
_PATIENCE: Final = 30.0
"""Maximum seconds for the start of a process, and for the handshake."""
_RELAY_PRIORITY: Final = 2
"""Real-time priority of the relay, above that of the two ends, so that packets arrive in time."""
_SEED: Final = 1
_START: Final = struct.Struct("d")
"""The first octets of a flow: the time on the monotonic clock at which the measurement begins."""


@dataclass(frozen=True, slots=True)
class Flow:
    """The parameters of one run. `blocked` is the end whose loop is blocked half of the time, or None."""

    stack: str
    loop: str
    controller: str
    conditions: Conditions
    warm_up: float
    seconds: float
    blocked: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """The resources that one end has used."""

    at: float
    """Time on the monotonic clock; the seconds measured in a difference."""
    cpu: float
    """Processor time of the process, in user mode and in the kernel, seconds."""
    wakeups: int
    """Number of times that the process slept until something happened (voluntary context switches)."""
    turns: int | None
    """Turns of the event loop; None: not counted."""
    counts: Counts
    octets: int
    """Octets of data that the application has read; 0 for the sender."""

    def since(self, before: Self) -> "Usage":
        """Return the usage between `before` and this."""
        return Usage(
            self.at - before.at,
            self.cpu - before.cpu,
            self.wakeups - before.wakeups,
            None if self.turns is None or before.turns is None else self.turns - before.turns,
            self.counts.since(before.counts),
            self.octets - before.octets,
        )


@dataclass(frozen=True, slots=True)
class Result:
    """The usage of both ends during the measurement, and the lateness of the relay."""

    sender: Usage
    receiver: Usage
    lateness: Lateness


def run(flow: Flow, *, namespaces: bool) -> Result:
    """Run a flow. Raises OSError if a process fails, and on systems other than Linux."""
    if sys.platform != "linux":
        raise OSError("the relay needs Linux")
    with ExitStack() as stack:
        join = _join_interfaces if namespaces else _join_sockets
        return join(stack, flow, *_paths(flow.conditions))


def _paths(conditions: Conditions) -> tuple[Path, Path]:
    """Return the path for data, and that for acknowledgments."""
    return Path(conditions, seed_of(_SEED, SENDER, RECEIVER)), Path(conditions, seed_of(_SEED, RECEIVER, SENDER))


def _join_interfaces(stack: ExitStack, flow: Flow, forth: Path, back: Path) -> Result:
    ends = _Ends(stack, flow)
    with linux_host(_RECEIVER_HOST) as descriptor:
        stack.callback(os.close, descriptor)
        receiving = Port(_RECEIVER_HOST, descriptor, back)
        ends.start(RECEIVER, _receive, Setting(_RECEIVER_HOST, congestion_control=flow.controller))
    address = ends.answer(RECEIVER)
    with linux_host(_SENDER_HOST) as descriptor:
        stack.callback(os.close, descriptor)
        sending = Port(_SENDER_HOST, descriptor, forth)
        ends.start(SENDER, _send, Setting(_SENDER_HOST, congestion_control=flow.controller), address)
    protocol = socket.IPPROTO_UDP if flow.stack == "utcp" else socket.IPPROTO_TCP
    return ends.measure(Relay(sending, receiving, protocol=protocol))


def _join_sockets(stack: ExitStack, flow: Flow, forth: Path, back: Path) -> Result:
    """The relay's address for the sender has the port of the receiver, because utcp's server takes the port of its UDP
    socket for its TCP port, too."""
    mss = PAYLOAD[flow.stack]
    near, far = (stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2))
    ends = _Ends(stack, flow)
    ends.start(RECEIVER, _receive, Setting(_LOOPBACK_HOSTS[RECEIVER], mss, flow.controller))
    address = ends.answer(RECEIVER)
    near.bind((_RELAY_HOST, address[1]))
    far.connect(address)
    ends.start(SENDER, _send, Setting(_LOOPBACK_HOSTS[SENDER], mss, flow.controller), near.getsockname())
    ends.await_datagram(near, SENDER)
    near.connect(near.recvfrom(0, socket.MSG_PEEK)[1])
    sending = Port(_LOOPBACK_HOSTS[SENDER], near.fileno(), forth)
    receiving = Port(_LOOPBACK_HOSTS[RECEIVER], far.fileno(), back)
    return ends.measure(DatagramRelay(sending, receiving))


class _Ends:
    """The processes of a flow, which are killed when `stack` is left, and their answers."""

    def __init__(self, stack: ExitStack, flow: Flow) -> None:
        self._stack = stack
        self._flow = flow
        self._answers: dict[str, Connection] = {}

    def start(self, end: str, application: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
        """Run `application` in a process, in the current namespace."""
        fork = multiprocessing.get_context("fork")  # a process forked in a namespace stays in it
        ours, theirs = fork.Pipe(duplex=False)
        self._answers[end] = self._stack.enter_context(ours)
        process = fork.Process(target=_run, args=(self._flow, end, theirs, application, arguments), daemon=True)
        with theirs:
            process.start()
        self._stack.callback(process.join)
        self._stack.callback(process.kill)

    def answer(self, end: str, patience: float = _PATIENCE) -> Any:
        """Return the next answer of a process. Raises OSError if there is none, or if it is a failure."""
        answers = self._answers[end]
        if not answers.poll(patience):
            raise OSError(f"the {end} did not answer in time")
        try:
            answer = answers.recv()
        except EOFError:
            raise OSError(f"the {end} has ended before its time") from None
        if isinstance(answer, Exception):
            raise OSError(f"the {end} failed: {answer or type(answer).__name__}") from answer
        return answer

    def await_datagram(self, sock: socket.socket, end: str) -> None:
        """Wait until a process has sent a datagram to `sock`. Raises OSError if it ends or fails before."""
        descriptors = [sock.fileno(), self._answers[end].fileno()]
        if sock.fileno() not in select.select(descriptors, (), (), _PATIENCE)[0]:
            self.answer(end, 0)

    def measure(self, relay: Relay) -> Result:
        """Carry packets until both processes have answered."""
        limit = time.monotonic() + _PATIENCE + self._flow.warm_up + self._flow.seconds
        usages = {}
        for end in (SENDER, RECEIVER):
            relay.run(self._answers[end].fileno(), max(0.0, limit - time.monotonic()), _RELAY_PRIORITY)
            try:
                usages[end] = self.answer(end, 0)
            except OSError:
                if end == SENDER and self._answers[RECEIVER].poll(1.0):
                    self.answer(RECEIVER)  # raises its failure, which is the cause
                raise
        return Result(usages[SENDER], usages[RECEIVER], relay.lateness)


class _CountingSelector(selectors.DefaultSelector):
    """Counts the turns of asyncio's loop."""

    turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.turns += 1
        return super().select(timeout)


class _Meter:
    """The usage of this process."""

    def __init__(self, stack: str, selector: _CountingSelector | None) -> None:
        self._stack = stack
        self._selector = selector
        self.octets = 0

    def read(self, counts: Callable[[], Counts]) -> Usage:
        """Return the usage up to now. `counts` are utcp's, those of kernel TCP are this namespace's."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Usage(
            time.monotonic(),
            used.ru_utime + used.ru_stime,
            used.ru_nvcsw,
            None if self._selector is None else self._selector.turns,
            counts() if self._stack == "utcp" else kernel_counts(),
            self.octets,
        )

    async def measure(self, flow: Flow, begin: float, counts: Callable[[], Counts]) -> Usage:
        """Return the usage in `flow.seconds` from `begin`, or from now if that has passed."""
        await asyncio.sleep(max(0.0, begin - time.monotonic()))
        before = self.read(counts)
        await asyncio.sleep(flow.seconds)
        return self.read(counts).since(before)


def _run(
    flow: Flow,
    end: str,
    answers: Connection,
    application: Callable[..., Coroutine[Any, Any, None]],
    arguments: tuple[object, ...],
) -> None:
    """Run a process until it is killed. Its answer is the failure if there is one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends this process too, silently
    selector = _CountingSelector() if flow.loop == "asyncio" else None
    factory = loops.LOOPS[flow.loop] if selector is None else lambda: asyncio.SelectorEventLoop(selector)

    async def main() -> None:
        async with asyncio.timeout(2 * _PATIENCE + flow.warm_up + flow.seconds), Guard():
            if flow.blocked == end:
                _block(asyncio.get_running_loop())
            await application(flow, answers, _Meter(flow.stack, selector), *arguments)

    try:
        with first_in_line(), asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())
    except Exception as error:  # the parent reports it
        answers.send(OSError(str(error) or type(error).__name__))


def _block(loop: asyncio.AbstractEventLoop) -> None:
    """Block the loop now, and again and again."""
    time.sleep(_PAUSE)
    loop.call_later(_PAUSE, _block, loop)


class _Sink(StreamApp):
    """Reads everything."""

    def __init__(self, meter: _Meter) -> None:
        self._meter = meter
        self.begin: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        """The time at which the measurement begins."""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (begin,) = _START.unpack(await reader.readexactly(_START.size))
        self.begin.set_result(begin)
        while data := await reader.read(_CHUNK):
            self._meter.octets += len(data)
        writer.close()


async def _receive(flow: Flow, answers: Connection, meter: _Meter, setting: Setting) -> None:
    sink = _Sink(meter)
    async with find(flow.stack).serve(sink, setting) as server:
        answers.send(server.address)
        answers.send(await meter.measure(flow, await sink.begin, server.counts))
        await asyncio.sleep(_PATIENCE)  # until it is killed, so that the sender sees no close


async def _send(flow: Flow, answers: Connection, meter: _Meter, setting: Setting, address: Address) -> None:
    async with find(flow.stack).dial(address, setting) as client:
        _, writer = await client.connect()
        begin = time.monotonic() + flow.warm_up

        async def write() -> None:
            writer.write(_START.pack(begin))
            while True:
                writer.write(bytes(_CHUNK))
                await writer.drain()

        writing = asyncio.create_task(write())
        usage = await meter.measure(flow, begin, client.counts)
        if writing.done():
            writing.result()  # raises the failure
        answers.send(usage)
        await asyncio.sleep(_PATIENCE)
