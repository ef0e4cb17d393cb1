"""The cost of one arriving packet, by kind, while a stack has 10, 1,000 or 30,000 connections.

    python -m bench.packets [--connections 10 1000 30000] [--packets 2000] [--json FILE] [--write]

The stack runs without a socket or a clock. Packets are created beforehand and passed to it 50 at a time, then its
output is collected. The figure is the processor time of both per packet, in microseconds: the minimum over several
rounds. The cost of a packet must not grow with the number of connections, in particular for packets that a stranger can
send.

* in order: the next 100 octets of a connection.
* duplicate: 100 octets that have arrived before.
* SACK: an ACK with three blocks.
* forged: RSTs, SYNs, ACKs and data with the connection's addresses and random numbers.
* stray: a segment of no connection, half of them to the listening port, half to a closed one.
* RST: the same with RST.
* SYN: opens a half-open connection.
* SYN, cookie: answered with a cookie, because the backlog is full.
* malformed: shorter than a header, a bad offset, a bad option.
* ICMP: an error that quotes no segment in flight.
* failed send: the link could not send to a stranger.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from errno import EHOSTUNREACH, ENETUNREACH
from itertools import count
from math import inf
from pathlib import Path
from random import Random
from time import perf_counter, process_time
from typing import Any, Final

from utcp.config import Config
from utcp.tcp.connection import Connection
from utcp.tcp.listener import Listener
from utcp.tcp.stack import Stack
from utcp.tcp.transmit import Remote
from utcp.wire import ACK, PSH, RST, SYN, Segment, decode, encode
from utcp.wire.seq import MASK

from . import machine, table
from .command import where

RESULT: Final = Path(__file__).parent / "results" / "packets.md"

PORT: Final = 80
FLOODED_PORT: Final = 81
"""Port of a listener whose backlog is full, so that it answers each SYN with a cookie."""
CLOSED_PORT: Final = 82
TARGETS: Final = 10
"""Number of connections that receive the packets of known senders."""
CONNECTIONS: Final = (10, 1000, 30_000)
PACKETS: Final = 2000

_BATCH: Final = 50
_ROUNDS: Final = 5
_TEXT: Final = bytes(100)
_IN_FLIGHT: Final = bytes(10_000)
_STEP: Final = 1e-5
"""Seconds between two packets."""

Arrival = Callable[[float], object]
"""A function that passes one packet to the stack, at a time."""


class Target:
    """A connection of the stack, with the state of its peer."""

    __slots__ = ("connection", "ecr", "port", "remote", "seq", "una")

    def __init__(self, connection: Connection, remote: Remote, port: int, seq: int, una: int, ecr: int) -> None:
        self.connection = connection
        self.remote = remote
        self.port = port
        self.seq = seq
        self.una = una
        self.ecr = ecr

    def segment(self, seq: int, ack: int, flags: int, text: bytes = b"", **options: Any) -> bytes:
        """Return a segment of its peer, with timestamps."""
        segment = Segment(self.port, PORT, seq, ack, flags, 65535, text, ts_val=2, ts_ecr=self.ecr, **options)
        return encode(segment)


class Server:
    """A stack with `connections` connections, each from its own host; TARGETS of them have data in flight."""

    def __init__(self, connections: int) -> None:
        self.now = 1.0
        self.random = Random(1)
        self.stack = Stack(Config(), secret=bytes(16), mtu=lambda _: 1472)
        self._listener = self.stack.listen(PORT, self.now, backlog=connections + 1)
        self.stack.listen(FLOODED_PORT, self.now).syn_backlog = 0
        step = max(1, connections // TARGETS)
        self.targets: list[Target] = []
        for number in range(connections):
            target = self._open(number, self._listener)
            if number % step == 0 and len(self.targets) < TARGETS:
                self.targets.append(target)
        self.now += 5.0  # so that timers left by the handshakes expire
        self.stack.handle_timeout(self.now)
        self.flush()
        for target in self.targets:
            target.connection.send(_IN_FLIGHT)
            self.stack.receive_datagram(target.segment(target.seq, target.una, ACK, _TEXT), target.remote, self.now)
            target.seq += len(_TEXT)
        self.flush()

    def _open(self, number: int, listener: Listener) -> Target:
        remote = (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 5000)
        port, irs = 1024 + number % 60_000, number << 8
        syn = Segment(port, PORT, irs, 0, SYN, 65535, ts_val=1, ts_ecr=0, mss=1432, window_scale=7, sack_permitted=True)
        self.stack.receive_datagram(encode(syn), remote, self.now)
        (answer,) = [decode(transmit.datagrams()[0]) for transmit in self.stack.datagrams_to_send(self.now)]
        una = (answer.seq + 1) & MASK
        ack = Segment(port, PORT, irs + 1, una, ACK, 65535, ts_val=1, ts_ecr=answer.ts_val)
        self.stack.receive_datagram(encode(ack), remote, self.now)
        self.flush()
        connection = listener.accept()
        if connection is None:
            raise AssertionError("the handshake is complete, and no connection waits")
        return Target(connection, remote, port, irs + 1, una, answer.ts_val or 0)

    def arrival(self, octets: bytes, remote: Remote) -> Arrival:
        """Return the arrival of a datagram."""
        return lambda now: self.stack.receive_datagram(octets, remote, now)

    def flush(self) -> None:
        """Do a driver's work after a batch."""
        self.stack.take_ready()
        self.stack.datagrams_to_send(self.now)
        self.stack.next_timeout()

    def stranger(self) -> Remote:
        """Return a random address without a connection."""
        return (f"198.18.{self.random.randrange(256)}.{self.random.randrange(256)}", self.random.randrange(1024, 65536))

    def numbers(self) -> tuple[int, int]:
        """Return a random sequence number and a random acknowledgment number."""
        return self.random.getrandbits(32), self.random.getrandbits(32)


Kind = Callable[[Server, int], Arrival]
"""A function that creates the n-th packet of a kind."""


def _target(server: Server, number: int) -> Target:
    return server.targets[number % len(server.targets)]


def _in_order(server: Server, number: int) -> Arrival:
    target = _target(server, number)
    octets = target.segment(target.seq, target.una, ACK | PSH, _TEXT)
    target.seq += len(_TEXT)
    return server.arrival(octets, target.remote)


def _duplicate(server: Server, number: int) -> Arrival:
    target = _target(server, number)
    octets = target.segment(target.seq - len(_TEXT), target.una, ACK | PSH, _TEXT)
    return server.arrival(octets, target.remote)


def _sack(server: Server, number: int) -> Arrival:
    target = _target(server, number)
    lefts = sorted(server.random.sample(range(1, 9), 3))
    blocks = tuple((target.una + 1000 * left & MASK, target.una + 1000 * left + 500 & MASK) for left in lefts)
    return server.arrival(target.segment(target.seq, target.una, ACK, sack_blocks=blocks), target.remote)


def _forged(server: Server, number: int) -> Arrival:
    target = _target(server, number)
    flags = (RST, SYN, ACK, ACK | PSH)[number % 4]
    seq, ack = server.numbers()
    octets = encode(Segment(target.port, PORT, seq, ack, flags, 1000, _TEXT if flags & PSH else b""))
    return server.arrival(octets, target.remote)


def _stray(server: Server, number: int, flags: int = ACK) -> Arrival:
    port = (PORT, CLOSED_PORT)[number % 2]
    seq, ack = server.numbers()
    octets = encode(Segment(server.random.randrange(1024, 65536), port, seq, ack, flags, 1000))
    return server.arrival(octets, server.stranger())


def _rst(server: Server, number: int) -> Arrival:
    return _stray(server, number, RST)


def _syn(server: Server, number: int, port: int = PORT) -> Arrival:
    seq, _ = server.numbers()
    syn = Segment(1024 + number, port, seq, 0, SYN, 65535, ts_val=1, mss=1432, window_scale=7, sack_permitted=True)
    return server.arrival(encode(syn), server.stranger())


def _syn_cookie(server: Server, number: int) -> Arrival:
    return _syn(server, number, FLOODED_PORT)


def _malformed(server: Server, number: int) -> Arrival:
    octets = bytearray(encode(Segment(1024, PORT, *server.numbers(), ACK, 1000, ts_val=1, ts_ecr=1)))
    if number % 3 == 0:
        return server.arrival(bytes(octets[:12]), server.stranger())
    if number % 3 == 1:
        octets[12] = 0x10
    else:
        octets[22:24] = b"\x08\x01"
    return server.arrival(bytes(octets), server.stranger())


def _icmp(server: Server, number: int) -> Arrival:
    target = _target(server, number)
    seq, _ = server.numbers()
    quoted = encode(Segment(PORT, target.port, target.una - 1 - (seq >> 8) & MASK, 0, ACK))[:8]
    remote = target.remote if number % 2 else server.stranger()
    return lambda now: server.stack.path_error(remote, EHOSTUNREACH, None, quoted, now)


def _failed_send(server: Server, number: int) -> Arrival:
    remote = server.stranger()
    return lambda now: server.stack.path_failed(remote, [(PORT, 1024)], ENETUNREACH, now)


KINDS: Final[dict[str, Kind]] = {
    "in order": _in_order,
    "duplicate": _duplicate,
    "SACK": _sack,
    "forged": _forged,
    "stray": _stray,
    "RST": _rst,
    "SYN": _syn,
    "SYN, cookie": _syn_cookie,
    "malformed": _malformed,
    "ICMP": _icmp,
    "failed send": _failed_send,
}


def measure(servers: Sequence[Server], kind: Kind, packets: int) -> list[float]:
    """Return the processor time per packet at each server, seconds: the minimum over some rounds, in which the servers
    take turns."""
    costs = [inf] * len(servers)
    numbers = count()
    batches = max(1, packets // _BATCH // _ROUNDS)
    for _ in range(_ROUNDS):
        for index, server in enumerate(servers):
            spent = sum(_time_batch(server, kind, numbers) for _ in range(batches))
            costs[index] = min(costs[index], spent / batches / _BATCH)
    return costs


def _time_batch(server: Server, kind: Kind, numbers: Iterator[int]) -> float:
    arrivals = [kind(server, next(numbers)) for _ in range(_BATCH)]
    begin = process_time()
    for arrival in arrivals:
        server.now += _STEP
        arrival(server.now)
    server.flush()
    spent = process_time() - begin
    for target in server.targets:
        target.connection.read()
    return spent


def measure_all(connections: Sequence[int], packets: int) -> dict[str, list[float]]:
    """Return the cost for each number of connections, seconds, by kind."""
    servers = [Server(number) for number in connections]
    return {name: measure(servers, kind, packets) for name, kind in KINDS.items()}


def rows(connections: Sequence[int], costs: dict[str, list[float]]) -> list[list[str]]:
    """Return the costs as a table, in microseconds."""
    head = ["one packet, µs", *(f"{number:,} connections" for number in connections), "last / first"]
    return [
        head,
        *(
            [name, *(table.number(1e6 * cost, 1) for cost in found), table.number(found[-1] / found[0], 2)]
            for name, found in costs.items()
        ),
    ]


def _number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 to 100,000, not {text!r}")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (see the module's docstring)."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.packets", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=_number, nargs="+", default=list(CONNECTIONS), metavar="N")
    parser.add_argument("--packets", type=_number, default=PACKETS, metavar="N", help=f"of each kind ({PACKETS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    parser.add_argument("--write", action="store_true", help=f"write the table into {RESULT.parent.name}/{RESULT.name}")
    given = parser.parse_args(arguments)
    start, load = perf_counter(), machine.load()
    costs = measure_all(given.connections, given.packets)
    found = rows(given.connections, costs)
    place = where(start, load, quick=False)
    print(machine.summary(place["machine"]))
    print(table.render(found))
    if given.json:
        result = {**place, "connections": given.connections, "seconds_per_packet": costs}
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    if given.write:
        about = "\n\n".join((__doc__ or "").split("\n\n")[2:]).strip()
        measured = f"{machine.summary(place['machine'])}; {place['date']}, commit {place['commit']}."
        lines = ["# What a packet costs", "", about, "", measured, "", *table.markdown(found), ""]
        RESULT.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
