"""Two runs that tell the same story wherever they are run: `python -m tests.testing.troubles` prints their digests.

It needs nothing but Python.
"""

import asyncio

import utcp
from tests.testing.apps import PORT, ask, serve
from tests.testing.storm import Storm
from utcp import Config
from utcp.testing import Network

WATCHFUL = Config(keepalive=True, keepalive_idle=2.0, keepalive_interval=1.0, keepalive_count=3)
"""For clients that have sent everything: of a server that then restarts, only a keepalive probe tells them."""


async def troubles(net: Network) -> None:
    """Much of what a simulation can do: TaskGroups that fail, crashes, partitions, timeouts, forgotten connections."""
    server, client = net.host("server"), net.host("client")
    net.link(server, client, latency=0.02, jitter=0.01, loss=0.1, duplicate=0.05, reorder=0.1, bandwidth=1e7)
    server.start(serve)
    await asyncio.sleep(0.01)

    async def fail() -> None:
        await ask("server", b"?" * 3000)
        raise LookupError

    async def group() -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for size in range(12):
                    tasks.create_task(ask("server", bytes(size * 3000)))
                tasks.create_task(fail())
        except* LookupError:
            pass

    async def forget() -> None:
        _, writer = await utcp.open_connection("server", PORT)
        writer.write(b"?")

    for _ in range(3):
        await client.run(group())
        await client.run(forget())
        crashed = [client.run(ask("server", bytes(50_000), WATCHFUL)) for _ in range(3)]
        await asyncio.sleep(0.3)
        server.restart()
        await asyncio.gather(*crashed, return_exceptions=True)
        net.partition(server, client)
        try:
            async with asyncio.timeout(3):
                await client.run(ask("server", b"?"))
        except TimeoutError:
            net.repair(server, client)
        client.restart()
    net.host("late").run(serve())


def digests(seed: int) -> str:
    """Of these troubles and a small storm, with the time at which they ended."""
    first, second = Network(seed), Network(seed)
    first.run(troubles(first))
    second.run(Storm(second, 200).run())
    return f"{first.digest()} {first.loop.time():.9f} {second.digest()} {second.loop.time():.9f}"


if __name__ == "__main__":
    print(digests(1))  # noqa: T201  # this is a program
