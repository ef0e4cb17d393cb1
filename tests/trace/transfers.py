"""Captures of a transfer through a lossy simulated path, for those who read captures."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal, TypeAlias

import utcp
from utcp.testing import Network, NetworkCapture
from utcp.trace.pcapng import Capture, CaptureObserver

Capturing: TypeAlias = Literal["client", "server", "both", "network"]

PORT = 9000
ENDS = ("server", "client")


def transfer(
    path: Path,
    *,
    at: Literal["client", "server", "both", "network"] = "client",
    octets: int = 300_000,
    **conditions: Any,
) -> dict[str, utcp.Endpoint]:
    """The client sends so many octets and closes; captured with comments `at` an end or both, or by the network, which
    knows only what is lost. Returns the (closed) endpoints by name, for their counters.

    10 Mbit/s, 20 ms there and 20 ms back, no loss, a queue of 60 packets, unless `conditions` say otherwise.
    """
    net = Network(seed=conditions.pop("seed", 1))
    hosts = {name: net.host(name) for name in ENDS}
    usual = {"latency": 0.02, "bandwidth": 1e7}
    net.link(hosts["server"], hosts["client"], **{**usual, **conditions})
    endpoints: dict[str, utcp.Endpoint] = {}

    async def run_end(name: str, port: int) -> None:
        address = (hosts[name].address, port)
        async with utcp.Endpoint(address) as endpoint:
            endpoints[name] = endpoint
            if at in (name, "both"):
                endpoint.observe(CaptureObserver(capture, address, stack=endpoint.stack))
            await (serve if name == "server" else send)(endpoint)

    async def serve(endpoint: utcp.Endpoint) -> None:
        done = asyncio.Event()

        async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            await writer.wait_closed()
            done.set()

        async with await endpoint.start_server(receive, PORT):
            await done.wait()

    async def send(endpoint: utcp.Endpoint) -> None:
        reader, writer = await endpoint.open_connection("server", PORT)
        writer.write(bytes(octets))
        writer.write_eof()
        await reader.read()
        writer.close()
        await writer.wait_closed()

    async def scenario() -> None:
        serving = hosts["server"].run(run_end("server", PORT))
        await asyncio.sleep(0)  # the server binds first
        await hosts["client"].run(run_end("client", 7000))
        await serving

    with path.open("wb") as file:
        capture = Capture(file)
        net.run(scenario())
    if at == "network":
        with path.open("wb") as file:
            NetworkCapture(net).write(file)
    return endpoints
