"""`python -m bench.seeds` measures how long 1,000 seeds of a small test take, with a process for each CPU.

The test is one request and its answer over a path with 5 % loss, in a network of its own for each seed, as
`@utcp.testing.simulate` and `pytest --simnet-seeds` run it, once over the TCP of simulated kernels and once over utcp.
"""

import argparse
import asyncio
import functools
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final

import utcp
from utcp.testing import Network, simulate

STACKS: Final = ("asyncio", "utcp")


async def ask(net: Network, stack: str) -> None:
    """The test: a client asks a server."""
    api: Any = asyncio if stack == "asyncio" else utcp
    server, client = net.host("server"), net.host("client")
    net.link(server, client, latency=0.05, loss=0.05)

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        writer.close()

    async def request() -> bytes:
        reader, writer = await api.open_connection("server", 80)
        writer.write(b"hello\n")
        answer: bytes = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return answer

    await server.run(api.start_server(shout, "0.0.0.0", 80))
    assert await client.run(request()) == b"HELLO\n"  # noqa: S101  # it is a test


def run(stack: str, seeds: Sequence[int]) -> None:
    simulate(seeds=seeds)(ask)(stack)


def measure(stack: str, seeds: int, processes: int) -> float:
    """Return the seconds that the seeds take, the start of the processes included."""
    began = time.perf_counter()
    shares = [range(number, seeds, processes) for number in range(processes)]
    with ProcessPoolExecutor(processes) as pool:
        list(pool.map(functools.partial(run, stack), shares))
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.seeds", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="number of seeds (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: one for each CPU")
    options = parser.parse_args()
    for stack in STACKS:
        seconds = measure(stack, options.seeds, options.processes)
        print(f"{options.seeds} seeds over {stack}, {options.processes} processes: {seconds:.1f} s")


if __name__ == "__main__":
    main()
