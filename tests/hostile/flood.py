"""A flood of SYNs with forged sources, and one honest client in the midst of it, in virtual time.

`python -m tests.hostile.flood 1000000` runs a longer one than the suite.
"""

import sys
from dataclasses import dataclass
from random import Random
from struct import Struct
from time import process_time

from utcp.config import Config
from utcp.tcp.connection import Connection
from utcp.tcp.connection.info import ConnectionInfo
from utcp.tcp.stack import Stack
from utcp.wire import SYN

RATE = 100_000
"""SYNs per second."""
BATCH = 100
"""SYNs between two flushes: a millisecond's worth."""
_SYN = Struct("!HHIIHHHHHHHHIII")


@dataclass(slots=True)
class Outcome:
    """What a flood did. `cost` is the processor time of one SYN in microseconds, and depends on the machine."""

    stack: Stack
    most_connections: int = 0
    most_queued: int = 0
    """SYN-ACKs that one flush had to send."""
    routes_asked: int = 0
    """In its second half."""
    blocks: int = 0
    """Allocated memory blocks that the second half of the flood added."""
    client: ConnectionInfo | None = None
    client_segments: int = 0
    echoed: bytes = b""
    now: float = 0.0
    cost: float = 0.0


def flood(count: int, seed: int = 1, *, client: bool = True, **knobs: object) -> Outcome:
    """`count` SYNs of random remotes meet a listener; half-way through a client connects, asks and gets its answer."""
    random = Random(seed)
    asked = 0

    def mtu(remote: object) -> int:
        nonlocal asked
        asked += 1
        return 1472

    stack = Stack(Config(**knobs), secret=bytes(16), mtu=mtu)  # type: ignore[arg-type]  # fields of Config, by name
    outcome = Outcome(stack)
    listener = stack.listen(80, 0.0)
    honest = Stack(secret=bytes(range(16)))
    near: Connection | None = None
    far: Connection | None = None
    blocks = 0
    began = process_time()
    batches = count // BATCH
    for batch in range(batches):
        now = outcome.now = batch * BATCH / RATE
        for _ in range(BATCH):
            bits = random.getrandbits(128)
            remote = (f"{bits >> 24 & 255}.{bits >> 16 & 255}.{bits >> 8 & 255}.{bits & 255}", bits >> 32 & 0xFFFF)
            seq, ts_val = bits >> 48 & 0xFFFFFFFF, bits >> 80 & 0xFFFFFFFF
            port = bits >> 112 | 1
            syn = _SYN.pack(
                port, 80, seq, 0, 40 << 10 | SYN, 65535, 0, 0, 0x0204, 1452, 0x0402, 0x080A, ts_val, 0, 0x01030307
            )
            stack.receive_datagram(syn, remote, now)
        if batch == batches // 2:
            asked = 0
            blocks = sys.getallocatedblocks()
            if client:
                near = honest.connect("server", 80, now)
        for transmit in honest.datagrams_to_send(now):
            for datagram in transmit.datagrams():
                outcome.client_segments += 1
                stack.receive_datagram(datagram, "client", now)
        for item in stack.take_ready():
            if item is listener:
                far = listener.accept()
            elif item is far:
                far.send(far.read())
        transmits = stack.datagrams_to_send(now)
        outcome.most_queued = max(outcome.most_queued, len(transmits))
        outcome.most_connections = max(outcome.most_connections, len(stack.connections))
        for transmit in transmits:
            if transmit.remote == "client":
                for datagram in transmit.datagrams():
                    honest.receive_datagram(datagram, "server", now)
        for item in honest.take_ready():
            if item is near and near is not None:
                outcome.client = near.info()
                outcome.echoed += near.read()
                if not outcome.client.bytes_sent:
                    near.send(b"a question")
        for each in (stack, honest):
            due = each.next_timeout()
            if due is not None and due <= now:
                each.handle_timeout(now)
    outcome.routes_asked = asked
    outcome.cost = (process_time() - began) / count * 1e6
    outcome.blocks = sys.getallocatedblocks() - blocks
    return outcome


def main() -> None:
    for mode in ("overflow", "always", "never"):
        outcome = flood(int(sys.argv[1]), client=mode != "never", syn_cookies=mode)
        print(  # noqa: T201
            f"{mode}: {outcome.cost:.1f} us per SYN, {outcome.most_connections} connections at most,"
            f" {outcome.blocks:+} blocks, client {outcome.client and outcome.client.state}"
        )


if __name__ == "__main__":
    main()
