"""A third party between two stacks: it sees every segment, and forges others whose numbers are right or a little off.

Whatever it sends, neither stack raises, nothing is left over, and both come to rest once it stops. A segment that is
not acceptable, for its SEQ, its ACK or its timestamp, changes neither what is read nor what arrives.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from tests.properties.seeds import PORTS, act, configuration
from tests.properties.watch import Broken
from tests.properties.world import PEER, User, World
from utcp.config import Config
from utcp.tcp.connection import Connection
from utcp.tcp.receive import REORDERED
from utcp.tcp.state import SYN_RCVD, SYN_SENT
from utcp.tcp.time_wait import ConnectionKey
from utcp.testing import Conditions
from utcp.wire import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG, Segment, decode, encode
from utcp.wire.segment import CONGESTION_EXPERIENCED, NOT_ECT
from utcp.wire.seq import MASK, diff

FLAGS: Final = (
    ACK,
    ACK,
    ACK,
    ACK | PSH,
    ACK | FIN,
    ACK | FIN,
    ACK | URG,
    ACK | ECE,
    ACK | CWR,
    RST,
    RST | ACK,
    SYN,
    SYN | ACK,
    SYN | FIN,
    FIN,
    0,
)
SEQS: Final = ("next", "next", "next", "sent", "acked", "edge", "start")
ACKS: Final = ("next", "next", "acked", "received", "start")
OFF: Final = (0, 0, 0, 0, -1, 1, -1, 1, 2, -100, 100_000, 1 << 31)
SIZES: Final = (0, 0, 0, 1, 1, 10, 1000)
WINDOWS: Final = (None, None, 0, 1, 65535)
STAMPS: Final = ("right", "right", "right", "none", "old", "new")
ECHOES: Final = ("right", "right", "zero", "new")
BLOCKS: Final = ("none", "none", "none", "acked", "in flight", "next", "beyond", "empty")

SETTLING: Final = 20.0
"""Seconds after the last forged segment in which what is under way may still be answered and sent again."""
REST: Final = 600.0
"""Seconds for which the segments of stacks at rest are counted after that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A segment in terms of what its receiver expects: which number, and how far it is off."""

    flags: int
    seq: str
    seq_off: int
    ack: str
    ack_off: int
    size: int
    window: int | None
    stamp: str
    echo: str
    blocks: str
    marked: bool


def recipe(random: Random) -> Recipe:
    pick = random.choice
    return Recipe(
        flags=pick(FLAGS),
        seq=pick(SEQS),
        seq_off=pick(OFF),
        ack=pick(ACKS),
        ack_off=pick(OFF),
        size=pick(SIZES),
        window=pick(WINDOWS),
        stamp=pick(STAMPS),
        echo=pick(ECHOES),
        blocks=pick(BLOCKS),
        marked=random.random() < 0.1,
    )


class ForgedWorld(World):
    """Two hosts whose connections are known by their ports, at "a" and at "b"."""

    def __init__(self, seed: int, configs: dict[str, Config], conditions: Conditions) -> None:
        super().__init__(seed, configs, conditions)
        self.forged: list[tuple[float, str, Segment]] = []
        self.deceived: set[tuple[int, int]] = set()
        """Connections for which forged text, FIN or SYN was acceptable."""
        self.touched: set[tuple[int, int]] = set()
        """Those for which anything forged was acceptable, and those besides."""

    # ------------------------------------------------------------------ what still must hold

    def _ports(self, user: User) -> tuple[int, int]:
        connection = user.connection
        mine, theirs = connection.local_port, connection.remote_port
        return (mine, theirs) if user.name == "a" else (theirs, mine)

    def reads_are_true(self, user: User) -> bool:
        return self._ports(user) not in self.deceived

    def delivers_all(self, user: User) -> bool:
        return self._ports(user) not in self.touched

    # ------------------------------------------------------------------ forging

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The ports, at "a" and at "b", of all that there is or was."""
        pairs = {(key[2], key[1]): None for key in self.watches["a"].flows}
        pairs.update({(key[1], key[2]): None for key in self.watches["b"].flows})
        return list(pairs)

    def forge(self, name: str, pair: tuple[int, int], recipe: Recipe) -> None:
        """`name` receives a forged segment of the connection between these ports, now."""
        port, peer_port = pair if name == "a" else (pair[1], pair[0])
        key = (PEER[name], peer_port, port)
        segment = self._segment(name, key, recipe)
        self._judge(name, key, pair, segment)
        self.forged.append((self.now, name, segment))
        self._deliver(name, encode(segment), CONGESTION_EXPERIENCED if recipe.marked else NOT_ECT)

    def replay(self, index: int) -> None:
        """A segment that was sent before arrives again."""
        if not self.trace:
            return
        _, sender, datagram, _ = self.trace[index % len(self.trace)]
        self._deliver(PEER[sender], datagram)

    def _deliver(self, name: str, datagram: bytes, ecn: int = NOT_ECT) -> None:
        watch = self.watches[name]
        watch.received = None
        self.stacks[name].receive_datagram(datagram, PEER[name], self.now, None, ecn)
        watch.received = None

    def _segment(self, name: str, key: ConnectionKey, recipe: Recipe) -> Segment:
        _, peer_port, port = key
        flow = self.watches[name].flows.get(key)
        peer_flow = self.watches[PEER[name]].flows.get((name, port, peer_port))
        peer = None if peer_flow is None else peer_flow.connection
        victim = None if flow is None else flow.connection
        seq = (_seqs(victim, peer)[recipe.seq] + recipe.seq_off) & MASK
        acks = _acks(victim, peer)
        ack = (acks[recipe.ack] + recipe.ack_off) & MASK
        segment = Segment(
            peer_port,
            port,
            seq,
            ack,
            recipe.flags,
            512 if recipe.window is None else recipe.window,
            payload=b"\xee" * recipe.size,
            urgent=recipe.size if recipe.flags & URG else 0,
            mss=1000 if recipe.flags & SYN else None,
        )
        if victim is not None and recipe.stamp != "none" and (victim.timestamps or recipe.flags & SYN):
            off = {"right": 0, "old": -REORDERED - 1, "new": 1 << 30}[recipe.stamp]
            segment.ts_val = (victim.receive_side.ts_recent + off) & MASK
            echo = {"right": victim.ts_now(self.now), "zero": 0, "new": victim.ts_now(self.now) + 1000}[recipe.echo]
            segment.ts_ecr = echo & MASK
        if not recipe.flags & (SYN | RST):
            acked, sent = acks["acked"], acks["next"]
            segment.sack_blocks = {
                "none": (),
                "acked": (((acked - 10) & MASK, acked),),
                "in flight": (((acked + 1) & MASK, sent),),
                "next": ((sent, (sent + 1) & MASK),),
                "beyond": (((sent + 1) & MASK, (sent + 100) & MASK), (acked, sent)),
                "empty": ((acked, acked), (sent, acked)),
            }[recipe.blocks]
        return segment

    def _judge(self, name: str, key: ConnectionKey, pair: tuple[int, int], segment: Segment) -> None:
        """Note what a forged segment may do. What it may not do must not happen, and is checked by the users."""
        stack, flags = self.stacks[name], segment.flags
        connection = stack.connections.get(key)
        if connection is None or connection.state in (SYN_SENT, SYN_RCVD) or not connection.send_side.syn_acked:
            self.touched.add(pair)
            if flags & SYN or connection is not None:
                self.deceived.add(pair)
            return
        send, receive = connection.send_side, connection.receive_side
        if flags & RST:
            if segment.seq == receive.rcv_nxt:
                self.touched.add(pair)
            return
        if flags & SYN or not flags & ACK:
            return
        if connection.timestamps and (segment.ts_val is None or diff(segment.ts_val, receive.ts_recent) < -REORDERED):
            return
        ahead = diff(segment.ack, send.snd_una)
        if not -max(send.max_snd_wnd, 1) <= ahead <= send.flight_size:
            return
        offset, window = diff(segment.seq, receive.rcv_nxt), receive.window
        if offset <= window and offset + segment.length >= 0 and (offset >= 0 or segment.length + offset > 0):
            self.touched.add(pair)
            if segment.length:
                self.deceived.add(pair)
        elif ahead > 0 or segment.sack_blocks:
            self.touched.add(pair)  # old: its ACK field and its blocks count all the same

    # ------------------------------------------------------------------ rest

    def come_to_rest(self) -> None:
        """The forger has gone, the path loses nothing any more, and the users do nothing."""
        self.intact = False
        self.conditions(Conditions(latency=self.random.choice((0.0001, 0.01, 0.2, 0.6))))
        self.settle()
        self._run(self.now + SETTLING)
        before = len(self.trace)
        unasked, text = 50, 50
        for stack in self.stacks.values():
            for connection in stack.connections.values():
                unasked += 60
                if connection.keepalive.enabled:
                    unasked += 2 * int(REST / connection.keepalive.interval)
                # What a poisoned peer never takes goes again with every timeout, in segments of 64 octets at worst.
                text += 30 * (1 + connection.send_queue // 64)
        self._run(self.now + REST)
        sent = [decode(datagram) for _, _, datagram, _ in self.trace[before:]]
        texts = sum(bool(segment.payload) for segment in sent)
        if texts > text:
            raise Broken(f"{texts} segments with text in {REST} s of rest, where {text} are enough")
        empty = len(sent) - 2 * texts  # each may be answered
        if empty > unasked:
            raise Broken(f"{empty} segments without text that no text asked for in {REST} s of rest: who needs them?")
        self.intact = True

    def history(self) -> str:
        lines = [f"{now - 1000.0:12.6f} forged for {name} {segment!r}" for now, name, segment in self.forged[-20:]]
        return "\n".join([*lines, super().history(), f"touched {self.touched}, deceived {self.deceived}"])


def _seqs(victim: Connection | None, peer: Connection | None) -> dict[str, int]:
    """Sequence numbers that the victim's peer could use."""
    start = peer.send_side.iss if peer is not None else 1 << 20
    sent = peer.send_side.snd_nxt if peer is not None else start + 1
    acked = peer.send_side.snd_una if peer is not None else start + 1
    if victim is None:
        return {"start": start, "next": start, "sent": sent, "acked": acked, "edge": start + 65535}
    receive = victim.receive_side
    return {"start": start, "next": receive.rcv_nxt, "sent": sent, "acked": acked, "edge": receive.rcv_adv}


def _acks(victim: Connection | None, peer: Connection | None) -> dict[str, int]:
    """Acknowledgements that the victim's peer could send."""
    received = peer.receive_side.rcv_nxt if peer is not None else 1 << 21
    if victim is None:
        return {"start": received, "next": received, "acked": received, "received": received}
    send = victim.send_side
    return {"start": send.iss, "next": send.snd_nxt, "acked": send.snd_una, "received": received}


def forge_some(world: ForgedWorld, random: Random) -> None:
    """Up to three segments, each for one end or for both."""
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        if random.random() < 0.1:
            world.replay(random.randrange(1 << 16))
            continue
        pairs = world.pairs
        if not pairs:
            return
        pair, drawn = random.choice(pairs[-3:]), recipe(random)
        for name in random.choice(("a", "b", "ab")):
            world.forge(name, pair, drawn)


def run(seed: int) -> ForgedWorld:
    """A whole life of two stacks with a forger between them. Raises with what was sent in the error's notes."""
    random = Random(seed)
    pick = random.choice
    conditions = Conditions(latency=pick((0.0001, 0.01, 0.2)), jitter=pick((0.0, 0.01)), loss=pick((0.0, 0.0, 0.05)))
    world = ForgedWorld(seed, {name: configuration(random) for name in "ab"}, conditions)
    try:
        for port in PORTS[: pick((1, 1, 2))]:
            world.listen("b", port)
            world.open("a", port, None)
        for _ in range(random.randint(3, 20)):
            world.advance(pick((0.0, 0.0, 0.001, 0.02, 0.3)))
            if random.random() < 0.6:
                act(world, random)
            forge_some(world, random)
        world.come_to_rest()
        world.finish()
    except BaseException as error:
        error.add_note(f"{world.history()}\nseed {seed}")
        raise
    return world
