"""Two endpoints in a simulated network, with every kind of user above them and sites at all that they call."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final
from unittest import mock

from tests.certificates import client_context, server_context
from tests.injection.faults import Faults, watch_loop
from utcp import Config, Endpoint
from utcp.config import CONTROLLERS
from utcp.link.base import Link
from utcp.tcp.congestion import Cubic
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack
from utcp.testing import Host, Network

SIZE: Final = 9000
"""Octets that each end of a connection writes; more than it can hand over at once."""
TEXT: Final = Random(1).randbytes(SIZE + 16)
PORT: Final = 9
KINDS: Final = ("protocol", "buffered", "streams", "tls")
"""Users; each has a utcp port of the server, by its place here from 1 on."""

_NOT_SITES: Final = {"now", "fileno", "close"}
"""Of a link: its clock, its descriptor and its end cannot fail."""


def watch_link(link: Link, faults: Faults, name: str) -> Link:
    """Make a site of each method of the link."""
    for method, _ in inspect.getmembers(Link, inspect.isfunction):
        if not method.startswith("_") and method not in _NOT_SITES:
            setattr(link, method, faults.wrap(f"{name}.{method}", getattr(link, method)))
    return link


class Observing(Observer):
    """Makes a site of each method of an observer."""

    def __init__(self, faults: Faults, name: str) -> None:
        self._faults = faults
        self._name = name

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        if name.startswith("_") or not callable(method):
            return method
        return self._faults.wrap(f"{self._name}.{name}", method)

    def segment_sent(self, remote: Any, buffers: Any, now: float) -> None:
        """Overridden, so that it is called."""


@contextlib.contextmanager
def controllers(faults: Faults) -> Iterator[None]:
    """While the context lasts, `Config(congestion_control="injected")` is Cubic with a site at each hook."""

    def hook(name: str) -> Callable[..., Any]:
        ordinary = getattr(Cubic, name)

        def called(self: Any, *arguments: Any) -> Any:
            faults.passes(f"controller.{name}")
            return ordinary(self, *arguments)

        return called

    names = [name for name, _ in inspect.getmembers(Cubic, callable) if not name.startswith("_")]
    injected = type("Injected", (Cubic,), {"name": "injected", **{name: hook(name) for name in names}})
    with mock.patch.dict(CONTROLLERS, injected=injected):
        yield


class End:
    """What one end of a connection writes and has seen."""

    def __init__(self, run: Run, side: str, kind: str) -> None:
        self.run = run
        self.side = side
        self.kind = kind
        self.received = bytearray()
        self.made = 0
        self.lost: list[BaseException | None] = []
        run.ends[side, kind] = self

    def text(self, side: str) -> bytes:
        """What the end on this side writes."""
        begin = 2 * KINDS.index(self.kind) + (side == "client")
        return TEXT[begin : begin + SIZE]

    @property
    def complete(self) -> bool:
        other = "client" if self.side == "server" else "server"
        return self.lost == [None] and bytes(self.received) == self.text(other)

    def passes(self, callback: str) -> None:
        self.run.faults.passes(f"{self.side}.{self.kind}.{callback}")


class Talker(asyncio.BaseProtocol):
    """Writes all at once and half-closes; closes when the peer has finished."""

    half_closes = True

    def __init__(self, run: Run, side: str, kind: str) -> None:
        run.faults.passes(f"{side}.{kind}.factory")
        self.end = End(run, side, kind)
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.end.made += 1
        self.end.passes("connection_made")
        self.transport.set_write_buffer_limits(high=1000)
        self.transport.write(self.end.text(self.end.side))
        if self.half_closes:
            self.transport.write_eof()

    def pause_writing(self) -> None:
        self.end.passes("pause_writing")

    def resume_writing(self) -> None:
        self.end.passes("resume_writing")

    def connection_trouble(self, exc: OSError | None) -> None:
        self.end.passes("connection_trouble")

    def eof_received(self) -> bool:
        self.end.passes("eof_received")
        self.transport.close()
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        self.end.lost.append(exc)
        self.end.passes("connection_lost")


class Receiver(Talker, asyncio.Protocol):
    def data_received(self, data: bytes) -> None:
        self.end.received += data
        self.end.passes("data_received")


class Secured(Receiver):
    """A user above TLS, which has no half-close: it closes when all has arrived."""

    half_closes = False

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if len(self.end.received) == SIZE:
            self.transport.close()

    def eof_received(self) -> bool:
        super().eof_received()
        return False


class Filler(Talker, asyncio.BufferedProtocol):
    def get_buffer(self, sizehint: int) -> bytearray:
        self.end.passes("get_buffer")
        self.buffer = bytearray(2000)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.end.received += self.buffer[:nbytes]
        self.end.passes("buffer_updated")


class Run:
    """One run of the program. `faults` are in force at what the server is handed, and at the client's users."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.ends: dict[tuple[str, str], End] = {}
        self.reported: list[dict[str, Any]] = []
        """What the loop's exception handler was told."""
        self.raised: list[BaseException] = []
        """What calls of the program have raised."""
        self.stacks: list[Stack] = []
        self.drivers: list[Any] = []
        self.tasks_left = 0

    def config(self) -> Config:
        return Config(
            congestion_control="injected",
            mss=800,
            send_buffer=3000,
            recv_buffer=3000,
            msl=0.5,
            rto_initial=0.3,
            syn_retries=5,
            close_timeout=3.0,
        )

    def play(self) -> None:
        network = Network(1, max_time=600)
        near, far = network.host("server"), network.host("client")
        network.link(near, far, latency=0.01, loss=0.02)
        network.loop.set_exception_handler(lambda _, context: self.reported.append(context))
        network.keep_trace = False
        # Simulated endpoints never wait for room. A driver that cannot read does not come about: sockets.py has that.
        with controllers(self.faults), watch_loop(network.loop, self.faults, ("call_soon", "call_later")):
            network.run(self._scenario(network, near, far))

    async def _scenario(self, network: Network, near: Host, far: Host) -> None:
        server, client = await near.run(self._serve(near)), await far.run(self._start(far, None, None))
        self.stacks = [server.stack, client.stack]
        self.drivers = [server.driver, client.driver]
        opened = [far.run(self._open(client, near, kind)) for kind in KINDS]
        await asyncio.sleep(0.05)
        network.partition(near, far)  # for so long that the users hear of trouble
        await asyncio.sleep(3)
        network.repair(near, far)
        await asyncio.gather(*opened)
        await asyncio.sleep(60)  # whatever is left after that has no timer
        self.tasks_left = len(asyncio.all_tasks()) - 1
        await asyncio.gather(near.run(server.aclose()), far.run(client.aclose()))

    async def _start(self, host: Host, name: str | None, observer: Observer | None) -> Endpoint:
        link: Link = host.bind((host.address, PORT))
        endpoint = Endpoint(config=self.config(), observer=observer)
        endpoint.run(link if name is None else watch_link(link, self.faults, name))
        return endpoint

    async def _serve(self, host: Host) -> Endpoint:
        endpoint = await self._start(host, "link", Observing(self.faults, "observer"))
        await endpoint.create_server(lambda: Receiver(self, "server", "protocol"), 1)
        await endpoint.create_server(lambda: Filler(self, "server", "buffered"), 2)
        await endpoint.start_server(self._accept, 3)
        await endpoint.create_server(lambda: Secured(self, "server", "tls"), 4, ssl=server_context())
        return endpoint

    async def _open(self, endpoint: Endpoint, server: Host, kind: str) -> None:
        port = 1 + KINDS.index(kind)
        try:
            if kind == "streams":
                streams = await endpoint.open_connection(server.address, port, udp_port=PORT)
                await self._talk("client", *streams)
            elif kind == "tls":
                await endpoint.create_connection(
                    lambda: Secured(self, "client", kind),
                    server.address,
                    port,
                    udp_port=PORT,
                    ssl=client_context(),
                    server_hostname="localhost",
                )
            else:
                make = Receiver if kind == "protocol" else Filler
                await endpoint.create_connection(
                    lambda: make(self, "client", kind), server.address, port, udp_port=PORT
                )
        except Exception as error:
            self.raised.append(error)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.faults.passes("server.streams.client_connected_cb")
        await self._talk("server", reader, writer)

    async def _talk(self, side: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end = End(self, side, "streams")
        try:
            writer.write(end.text(side))
            writer.write_eof()
            await writer.drain()
            while data := await reader.read(1500):
                end.received += data
            writer.close()
            await writer.wait_closed()
        except Exception as error:
            end.lost.append(error)
            writer.transport.abort()
        else:
            end.lost.append(None)

    # ------------------------------------------------------------------ what must have become of it

    def check(self, *, spared: bool) -> None:
        """The fault has cost one connection at most, none if `spared`, and was told of where it belongs, once."""
        error = self.faults.error
        broken = [kind for kind in KINDS if not all(self._is_complete(side, kind) for side in ("server", "client"))]
        told = [end for end in self.ends.values() if any(_comes_of(exc, error) for exc in end.lost)]
        handled = [context for context in self.reported if _comes_of(context.get("exception"), error)]
        raised = [exc for exc in self.raised if _comes_of(exc, error)]
        state = f"broken {broken}, told {[(end.side, end.kind) for end in told]}, {handled}, {self.reported}, {raised}"
        assert len(handled) == len(self.reported), f"something else was reported: {state}"
        if error is None or spared:
            assert not broken, state
        assert len(broken) <= 1, state
        if error is not None:
            assert len(handled) + len(told) + len(raised) >= 1, f"nobody is told: {state}"
            # asyncio's TLS tells the handler as well as whoever waits for the handshake.
            twice = self.faults.fault is not None and self.faults.fault.site == "client.tls.connection_made"
            assert len(handled) + len(raised) <= 1 + twice, f"it is told twice: {state}"
            assert len(told) <= 1, f"others are told: {state}"
        for end in self.ends.values():
            # A user above TLS whose handshake fails has neither connection_made() nor connection_lost().
            assert len(end.lost) == (end.made if end.kind == "tls" else max(end.made, 1)), (
                f"{end.side} {end.kind}: {end.lost}, {state}"
            )
        for stack in self.stacks:
            assert not stack.connections, state
            assert not stack.output, state
            assert not stack.answers_to_send(), state
            assert not stack.ready, state
            assert not stack.failures, state
            assert stack.next_timeout() is None, state
            assert not any(listener.half_open or listener.queue for listener in stack.listeners.values()), state
        for driver in self.drivers:
            assert not driver.transports, state
            assert driver._timer is None, state
        assert not self.tasks_left, state

    def _is_complete(self, side: str, kind: str) -> bool:
        end = self.ends.get((side, kind))
        return end is not None and end.complete


def _comes_of(error: BaseException | None, cause: BaseException | None) -> bool:
    return error is not None and cause is not None and (error is cause or error.__cause__ is cause)
