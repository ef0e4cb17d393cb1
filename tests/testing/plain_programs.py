"""A run of plain asyncio with troubles: `python -m tests.testing.plain_programs` prints its digest.

It needs only the standard library and utcp, so that each Python that is there can run it.
"""

import asyncio
import contextlib
import os
import random
import secrets
import time
import uuid

from utcp.testing import Network

PORT = 80


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer questions by the date and by random octets, as a web server would."""
    try:
        while question := await reader.readline():
            date = time.strftime("%a, %d %b %Y %H:%M:%S", time.gmtime())
            writer.writelines([date.encode(), b" ", question[:-1], os.urandom(random.randrange(3000)).hex().encode()])
            writer.write(b"\n")
            await writer.drain()
    except ConnectionError:
        return
    finally:
        writer.close()


async def serve() -> None:
    async with await asyncio.start_server(answer, "0.0.0.0", PORT) as server:
        await server.serve_forever()


async def ask(number: int) -> None:
    for attempt in range(5):
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(20):
                await session(number, attempt)
                return
        await asyncio.sleep(1)


async def session(number: int, attempt: int) -> None:
    reader, writer = await asyncio.open_connection("server", PORT)
    try:
        for _ in range(20):
            token = secrets.token_hex(random.randrange(200))
            writer.write(f"{number} {attempt} {uuid.uuid4()} {token}\n".encode())
            await reader.readline()
            await asyncio.sleep(random.random())
    finally:
        writer.close()
    await writer.wait_closed()


class Counter(asyncio.DatagramProtocol):
    """Answers each datagram by the number of those that came before."""

    def __init__(self) -> None:
        self.count = 0

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if len(data) > 10:
            self.transport.sendto(b"%d" % self.count, addr)
        self.count += 1


def digest(seed: int) -> str:
    """Return the digest of a run with losses, a crash and a kill."""
    network = Network(seed)
    server, client = network.host("server"), network.host("client")
    network.link(server, client, latency=0.03, jitter=0.01, loss=0.1, duplicate=0.02, bandwidth=2e6)
    server.start(serve)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        clients = [client.run(ask(number)) for number in range(8)]
        await server.run(loop.create_datagram_endpoint(Counter, local_addr=("0.0.0.0", PORT)))
        near, _ = await client.run(loop.create_datagram_endpoint(Counter, remote_addr=("server", PORT)))
        for _ in range(50):
            near.sendto(secrets.token_bytes(200))
            await asyncio.sleep(0.1)
        server.kill()
        await asyncio.sleep(3)
        server.start(serve)
        await asyncio.sleep(5)
        server.restart()
        await asyncio.gather(*clients)
        near.close()

    network.run(scenario())
    return f"{network.digest()} {network.sent}"


if __name__ == "__main__":
    print(digest(1))  # noqa: T201
