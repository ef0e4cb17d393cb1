"""Thousands of simulated connections that end in random orders, over a bad path.

`python -m tests.testing.storm 10000 [SEED]` runs it by hand and says what it took.
"""

import asyncio
import enum
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from struct import Struct

import utcp
from utcp import Config
from utcp.tcp.stack import Stack
from utcp.testing import Conditions, Host, Network

PORT = 9000
CONDITIONS = Conditions(latency=0.02, jitter=0.005, loss=0.05, duplicate=0.02, reorder=0.1, reorder_delay=0.02)
RATE = 500.0
"""Connections begun per virtual second."""
LARGEST = 4000
"""Octets that each side sends, at most."""
DELIVERY = 300.0
"""Seconds that the last segments and their ACKs take, at most, if one is lost again and again."""
HEADER = Struct("!BIId")
"""The order of closing, the connection's number, octets that follow, when both are to close."""


class Order(enum.IntEnum):
    """Who closes, and when."""

    CLIENT_FIRST = 0
    SERVER_FIRST = 1
    BOTH_AT_ONCE = 2
    HALF_CLOSE = 3


@dataclass
class Outcome:
    """What became of it."""

    answered: int = 0
    wrong: list[int] = field(default_factory=list)
    orders: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    stacks: list[Stack] = field(default_factory=list)


def content(number: int, size: int) -> bytes:
    """What a client sends on connection `number`; its server answers the same, reversed."""
    return Random(number).randbytes(size)


class Storm:
    """`connections` conversations between two hosts of `net`."""

    def __init__(self, net: Network, connections: int, config: Config | None = None) -> None:
        self.net = net
        self.connections = connections
        self.config = config if config is not None else Config(ephemeral_ports=(1024, 65535))
        self.outcome = Outcome()
        self.server, self.client = net.host("server"), net.host("client")
        net.link(self.server, self.client, CONDITIONS)

    async def run(self) -> Outcome:
        """All of them, and then the end of TIME_WAIT, which each FIN that arrives again restarts."""
        listening = await self.server.run(self._listen())
        async with asyncio.TaskGroup() as group:
            for number in range(self.connections):
                group.create_task(self._converse(number))
        self.outcome.stacks = [*_stacks(self.server), *_stacks(self.client)]
        loop = asyncio.get_running_loop()
        deadline = loop.time() + DELIVERY + 2 * self.config.msl
        while any(stack.connections or stack.time_wait for stack in self.outcome.stacks) and loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(1)
        listening.close()
        return self.outcome

    async def _listen(self) -> utcp.Server:
        return await utcp.start_server(self._answer, "0.0.0.0", PORT, config=self.config, backlog=self.connections)

    async def _converse(self, number: int) -> None:
        """Begins at its time, on the client's host, and notes how it went."""
        await asyncio.sleep(number / RATE)
        order = Order(self.net.random.randrange(len(Order)))
        size = self.net.random.randrange(LARGEST)
        try:
            right = await self.client.run(self._ask(number, order, size))
        except OSError as error:
            self.outcome.errors.append(f"client {number} {order.name}: {error!r}")
            return
        self.outcome.answered += 1
        self.outcome.orders[order.name] += 1
        if not right:
            self.outcome.wrong.append(number)

    async def _ask(self, number: int, order: Order, size: int) -> bool:
        reader, writer = await utcp.open_connection("server", PORT, config=self.config)
        request = content(number, size)
        both = asyncio.get_running_loop().time() + 2
        writer.write(HEADER.pack(order, number, size, both) + request)
        if order == Order.HALF_CLOSE:
            writer.write_eof()
        if order in (Order.CLIENT_FIRST, Order.BOTH_AT_ONCE):
            answer = await reader.readexactly(size)
        else:
            answer = await reader.read()
        if order == Order.BOTH_AT_ONCE:
            await _sleep_until(both)
        writer.close()
        await writer.wait_closed()
        return answer == request[::-1]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = -1
        try:
            code, number, size, both = HEADER.unpack(await reader.readexactly(HEADER.size))
            order = Order(code)
            request = await (reader.read() if order == Order.HALF_CLOSE else reader.readexactly(size))
            if request != content(number, size):
                self.outcome.wrong.append(number)
            writer.write(request[::-1])
            if order == Order.CLIENT_FIRST:
                if await reader.read():
                    self.outcome.wrong.append(number)
            elif order == Order.BOTH_AT_ONCE:
                await _sleep_until(both)
            writer.close()
            await writer.wait_closed()
        except OSError as error:
            self.outcome.errors.append(f"server {number}: {error!r}")


async def _sleep_until(when: float) -> None:
    await asyncio.sleep(when - asyncio.get_running_loop().time())


def _stacks(host: Host) -> list[Stack]:
    return [endpoint.stack for endpoint in host.process.endpoints]


def main(connections: int = 10_000, seed: int = 0) -> int:
    net = Network(seed)
    net.keep_trace = False
    begin = time.perf_counter()
    outcome = net.run(Storm(net, connections).run())
    seconds = time.perf_counter() - begin
    left = sum(len(stack.connections) + len(stack.time_wait) for stack in outcome.stacks)
    report = (
        f"{outcome.answered} of {connections} connections answered, {dict(outcome.orders)};"
        f" {len(outcome.wrong)} wrong, {len(outcome.errors)} errors, {left} left\n"
        f"{net.loop.time():.1f} s of virtual time, {net.loop.steps} steps, {net.sent} packets,"
        f" {sum(stack.counters.retrans_segs for stack in outcome.stacks)} retransmissions;"
        f" {seconds:.1f} s of real time, digest {net.digest()}"
    )
    print(report, *outcome.errors[:10], sep="\n")  # noqa: T201  # this is a program
    return 0 if outcome.answered == connections and not (outcome.wrong or outcome.errors or left) else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
