"""Simulated runs of real programs over utcp, captured as their hosts sent them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, Literal

import utcp
from utcp.tcp.counters import Counters
from utcp.testing import Network
from utcp.trace.pcapng import Capture, CaptureObserver

PORT: Final = 9000
"""UDP and utcp port of the server."""

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]
"""One end's part: talks, closes, and returns what it heard."""


@dataclass(slots=True)
class Run:
    """What happened: what each end heard from the other, and what its stack counted."""

    network: Network
    heard: dict[str, bytes] = field(default_factory=dict)
    counters: dict[str, Counters] = field(default_factory=dict)

    @property
    def retransmissions(self) -> int:
        return sum(counters.retrans_segs for counters in self.counters.values())


def converse(
    path: Path, client: Talk, server: Talk, *, form: Literal["tcp", "udp"] = "tcp", seed: int = 0, **conditions: Any
) -> Run:
    """One connection between two simulated hosts, captured in `path`: each segment when it was sent, lost or not.

    The path has 10 Mbit/s and 20 ms, unless `conditions` say otherwise.
    """
    net = Network(seed=seed)
    run = Run(net)
    hosts = {"server": net.host("server"), "client": net.host("client")}
    net.link(hosts["server"], hosts["client"], **{"latency": 0.02, "bandwidth": 1e7, **conditions})

    async def on_endpoint(name: str, port: int, use: Callable[[utcp.Endpoint], Awaitable[None]]) -> None:
        observer = CaptureObserver(capture, (hosts[name].address, port), received=False)
        async with utcp.Endpoint((hosts[name].address, port), observer=observer) as endpoint:
            await use(endpoint)
            while endpoint.stack.connections or len(endpoint.stack.time_wait):  # noqa: ASYNC110  # virtual time is free
                await asyncio.sleep(1)
            run.counters[name] = endpoint.stack.counters

    async def serve(endpoint: utcp.Endpoint) -> None:
        done = asyncio.Event()

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            run.heard["server"] = await server(reader, writer)
            done.set()

        async with await endpoint.start_server(accepted, PORT):
            await done.wait()

    async def connect(endpoint: utcp.Endpoint) -> None:
        reader, writer = await endpoint.open_connection("server", PORT)
        run.heard["client"] = await client(reader, writer)

    async def scenario() -> None:
        serving = hosts["server"].run(on_endpoint("server", PORT, serve))
        await asyncio.sleep(0)  # the server binds first
        await hosts["client"].run(on_endpoint("client", 7000, connect))
        await serving

    with path.open("wb") as file:
        capture = Capture(file, form=form)
        net.run(scenario())
    return run


def octets(count: int, seed: str) -> bytes:
    """Reproducible noise: two streams that are mixed up cannot look alike."""
    return Random(seed).randbytes(count)


def speaker(text: bytes) -> Talk:
    """Says `text`, finishes, and then hears the other end out."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(text)
        writer.write_eof()
        heard = await reader.read()
        writer.close()
        await writer.wait_closed()
        return heard

    return talk


def listener(text: bytes) -> Talk:
    """Hears the other end out before it says `text` and closes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        heard = await reader.read()
        writer.write(text)
        writer.close()
        await writer.wait_closed()
        return heard

    return talk
