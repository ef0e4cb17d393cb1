"""Two endpoints on loopback, and protocols that note what they are told."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from typing import Any, Self, TypeVar

from utcp import Config, Endpoint, Server, Transport
from utcp.aio.open_endpoint import OpenEndpoint
from utcp.aio.registry import LoopEndpoints
from utcp.tcp.connection import Connection

ProtocolT = TypeVar("ProtocolT", bound="Recorder")
ServerProtocolT = TypeVar("ServerProtocolT", bound=asyncio.BaseProtocol)

FAST = Config(msl=0.05, close_timeout=30.0)
"""TIME_WAIT of 0.1 s. The bound of the end is for machines that are busy: it ends at once if both ends take part."""
GIVES_UP = Config(msl=0.05, close_timeout=0.5)
"""For ends that a peer does not take part in."""

LOCALHOST = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def started() -> set[OpenEndpoint]:
    """Return the endpoints of the running loop that are open."""
    return set(LoopEndpoints.of_running_loop())


def opened(endpoint: Endpoint) -> OpenEndpoint:
    """Return what `started()` has of an endpoint that was started."""
    assert endpoint._open is not None
    return endpoint._open


async def until(condition: Callable[[], object], timeout: float = 60.0) -> None:
    """Wait until `condition()` is true; AssertionError after `timeout` seconds."""
    deadline = asyncio.get_running_loop().time() + timeout
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not come about"
        await asyncio.sleep(0.001)


async def turns(count: int) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


class Recorder(asyncio.Protocol):
    """Notes its callbacks by name in `calls`, one entry for consecutive data_received()."""

    keep_open = True

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.received = bytearray()
        self.lost: list[BaseException | None] = []
        self.transport: Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Transport)
        self.transport = transport
        self.calls.append("made")

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        self.received += data
        if self.calls[-1] != "data":
            self.calls.append("data")

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.calls.append("lost")
        self.lost.append(exc)


class Polite(Recorder):
    """Closes when its peer does."""

    keep_open = False


class Peers:
    """`client` and `server`: two endpoints with one server on the latter, whose protocols gather in `accepted`."""

    def __init__(self, config: Config = FAST, family: int = socket.AF_INET) -> None:
        self.host = LOCALHOST[socket.AddressFamily(family)]
        self.client = Endpoint((self.host, 0), config=config)
        self.server = Endpoint((self.host, 0), config=config)
        self.accepted: list[Any] = []
        self.listening: Server | None = None

    async def __aenter__(self) -> Self:
        await self.client.start()
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        # Together: each waits for the other's FINs.
        await asyncio.gather(self.client.aclose(), self.server.aclose())

    @property
    def port(self) -> int:
        return self.server.address[1]

    def remember(self, *factories: Callable[[], ServerProtocolT]) -> Callable[[], ServerProtocolT]:
        """A factory that calls `factories` in turn and adds what they make to `accepted`."""
        turn = itertools.cycle(factories)

        def accept() -> ServerProtocolT:
            protocol = next(turn)()
            self.accepted.append(protocol)
            return protocol

        return accept

    def abort_server(self) -> None:
        """Reset what the server has open."""
        for transport in transports_of(self.server):
            transport.abort()

    async def connect(
        self,
        client_factory: Callable[[], ProtocolT],
        server_factory: Callable[[], asyncio.BaseProtocol] = Polite,
    ) -> tuple[Transport, ProtocolT, Any]:
        """The client's transport and protocol, and the server's protocol."""
        before = len(self.accepted)
        if self.listening is not None:
            self.listening.close()
        self.listening = await self.server.create_server(self.remember(server_factory))
        transport, protocol = await self.client.create_connection(client_factory, self.host, self.port)
        assert isinstance(transport, Transport)
        await until(lambda: len(self.accepted) > before)
        return transport, protocol, self.accepted[-1]


def transports_of(endpoint: Endpoint | OpenEndpoint) -> list[Transport]:
    """Return the transports over an open endpoint."""
    return [each for each in endpoint.driver.transports if isinstance(each, Transport)]


def connection_of(transport: Transport) -> Connection:
    """The connection below, for tests that look at TCP itself."""
    connection = transport._connection
    assert connection is not None
    return connection
