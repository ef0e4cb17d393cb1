"""Open thousands of connections over two UDP sockets, close them all at once, and show the states that they pass
through.

    python examples/many_closes.py [CONNECTIONS]

Each row of the summary is one moment, with the number of ends (of both sides together) in each state.
"""

import argparse
import asyncio
import sys
from collections import Counter
from time import perf_counter

import utcp
from utcp.tcp.state import ESTABLISHED, NAMES

SHOWN = NAMES[ESTABLISHED:]

FIRST_PORT, LAST_PORT = utcp.Config().ephemeral_ports
MOST = LAST_PORT - FIRST_PORT + 1  # each connection needs a port of its own


async def until_eof(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()
    await writer.wait_closed()


async def watch(ends: list[utcp.Endpoint]) -> None:
    """Print the states every 10 ms until no connection is left."""
    print("\n    ms", *(f"{name:>11}" for name in SHOWN))
    start, left = perf_counter(), True
    while left:
        states = Counter(NAMES[connection.state] for end in ends for connection in end.stack.connections.values())
        left = bool(states)
        states["TIME_WAIT"] += sum(len(end.stack.time_wait) for end in ends)
        print(f"{1000 * (perf_counter() - start):6.0f}", *(f"{states[name]:>11}" for name in SHOWN))
        await asyncio.sleep(0.01)


async def main(count: int) -> None:
    async with utcp.Endpoint(("127.0.0.1", 0)) as server, utcp.Endpoint(("127.0.0.1", 0)) as client:
        host, port, *_ = server.address
        await server.start_server(until_eof, port, backlog=500)
        streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        while len(streams) < count:
            batch = min(500, count - len(streams))
            streams += await asyncio.gather(*(client.open_connection(host, port) for _ in range(batch)))
            print(f"{len(streams)} of {count} open", end="\r", flush=True)
        for _, writer in streams:
            writer.close()
        await watch([client, server])
        await asyncio.gather(*(writer.wait_closed() for _, writer in streams))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Close thousands of connections at once.")
    parser.add_argument("connections", type=int, nargs="?", default=5000)
    count = parser.parse_args().connections
    if not 0 < count <= MOST:
        parser.error(f"argument connections: must be 1 to {MOST}, not {count}")
    try:
        utcp.run(main(count))
    except OSError as error:
        sys.exit(f"many_closes: {error}")
