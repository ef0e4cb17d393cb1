"""The attacks, by name: what an attacker prepares, and what it then does for as long as it is measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle, islice
from random import Random
from time import monotonic, sleep
from typing import Any, Final

from tests.hostile.crowd import Crowd, Peer
from tests.hostile.forge import FRAGMENTATION_NEEDED, HOST, Forge, address
from tests.hostile.services import CLOSE, DOWNLOAD, DRIBBLE, ECHO, SINK
from tests.hostile.wires import Wire
from utcp.wire import ACK, FIN, PSH, RST, SYN, Segment, encode
from utcp.wire.seq import MASK

NOBODY: Final = "10.99.128.0"
"""Addresses from here on, 32,768 of them, are on the server's link, and no host has them."""
UNROUTABLE: Final = "198.18.0.0"
"""65,536 addresses to which the server has no route."""
ROUTER: Final = "10.99.0.2"
"""The source of forged ICMP messages: a host on the link."""

_PREBUILT: Final = 20_000
"""Packets of a flood, at most: then they come again."""
_BURST: Final = 0.02
"""Seconds' worth of packets that leave at once at most, where the machine has kept the attacker waiting."""
_SMALL_MTU: Final = 552
_HOLES_AT_FIRST: Final = 1000
_AT_ONCE: Final = 50
"""Segments that the server's socket surely has room for."""
_SETTLE: Final = 3.0
"""Seconds in which the first retransmissions of many connections pass."""


@dataclass(frozen=True, slots=True)
class Victim:
    """An innocent connection as the attacker knows it: its client's address, UDP port and TCP port."""

    host: bytes
    udp_port: int
    port: int


@dataclass(slots=True)
class Attacker:
    """What an attack works with. `own` is an address at which the attacker receives; `scale` is the number of
    connections that attacks by many connections hold, relative to their default."""

    forge: Forge
    wire: Wire
    own: bytes
    victim: Victim
    seconds: float
    scale: float = 1.0
    random: Random = field(default_factory=lambda: Random(1))

    def crowd(self, service: int, **options: Any) -> Crowd:
        """Connections to a port of the server, of which none is open yet."""
        return Crowd(self.forge, self.wire, self.own, service, **options)

    def flood(self, packets: Sequence[bytes], rate: float) -> int:
        """Send the packets in turn, `rate` a second; returns how many were sent."""
        send, supply = self.wire.send, cycle(packets)

        def step(number: int) -> None:
            for _ in range(number):
                send(next(supply))

        return self.pace(rate, step)

    def pace(self, rate: float, step: Callable[[int], object], pause: float = 0.001) -> int:
        """Call `step(number)` every `pause` seconds with as many as make `rate` a second; returns the sum."""
        begin = last = monotonic()
        done, owed = 0, 0.0
        while last < begin + self.seconds:
            now = monotonic()
            owed = min(owed + (now - last) * rate, max(1.0, rate * _BURST))
            last = now
            number = int(owed)
            owed -= number
            done += number
            step(number)
            sleep(pause)
        return done

    def somebody(self, first: str, size: int) -> bytes:
        """One of `size` addresses from `first` on."""
        return (int.from_bytes(address(first), "big") + self.random.randrange(size)).to_bytes(4, "big")

    def port(self) -> int:
        """A port of a stranger's."""
        return self.random.randrange(1024, 65536)

    def number(self) -> int:
        """A sequence number."""
        return self.random.getrandbits(32)

    def prebuilt(self, rate: float) -> range:
        """As many numbers as packets are to be built for a flood at `rate`."""
        return range(min(int(rate * self.seconds) + 1, _PREBUILT))


Plan = Callable[[], int]
"""Carries the attack out for `Attacker.seconds`; returns how many packets or connections it took."""


@dataclass(frozen=True, slots=True)
class Attack:
    """`begin` prepares it and returns what carries it out. With `forges` it needs packets from addresses of others.
    `bulk`: the innocent client downloads beside its echoes. `link`: what happens to the server's interface."""

    name: str
    about: str
    begin: Callable[[Attacker], Plan]
    forges: bool = True
    bulk: bool = False
    link: str | None = None


# ------------------------------------------------------------------ strangers


def _syn(attacker: Attacker, source_port: int) -> Segment:
    return Segment(source_port, ECHO, attacker.number(), 0, SYN, 65535, mss=1460, window_scale=7, sack_permitted=True)


def _syn_flood(rate: float, first: str, size: int, crowd: int = 0) -> Callable[[Attacker], Plan]:
    def begin(attacker: Attacker) -> Plan:
        packets = [
            attacker.forge.segment(attacker.somebody(first, size), attacker.port(), _syn(attacker, attacker.port()))
            for _ in attacker.prebuilt(rate)
        ]
        _bystanders(attacker, crowd)
        return lambda: attacker.flood(packets, rate)

    return begin


def _port_zero(attacker: Attacker, rate: float = 1000.0) -> Plan:
    is_kernel = attacker.forge.stack == "kernel"
    packets = [
        attacker.forge.segment(attacker.own, 0, _syn(attacker, 0 if is_kernel else attacker.port()))
        for _ in attacker.prebuilt(rate)
    ]
    _bystanders(attacker, 3000)
    return lambda: attacker.flood(packets, rate)


def _bystanders(attacker: Attacker, number: int) -> None:
    """Connections that do nothing: work in proportion to their number must not be done for a stranger."""
    if number:
        attacker.crowd(ECHO).open(number)


def _forged(attacker: Attacker, rate: float = 5000.0) -> Plan:
    victim = attacker.victim
    kinds = cycle([(RST, b""), (ACK, b""), (SYN, b""), (ACK | PSH, b"forged"), (RST | ACK, b""), (ACK | FIN, b"")])
    packets = []
    for _, (flags, text) in zip(attacker.prebuilt(rate), kinds, strict=False):
        segment = Segment(victim.port, ECHO, attacker.number(), attacker.number(), flags, 1000, text)
        packets.append(attacker.forge.segment(victim.host, victim.udp_port, segment))
    return lambda: attacker.flood(packets, rate)


def _strays(attacker: Attacker, rate: float = 1000.0) -> Plan:
    ports = cycle([ECHO, 1])
    packets = []
    for _, port in zip(attacker.prebuilt(rate), ports, strict=False):
        segment = Segment(attacker.port(), port, attacker.number(), attacker.number(), ACK | PSH, 1000, b"stray")
        packets.append(attacker.forge.segment(attacker.somebody(NOBODY, 32768), attacker.port(), segment))
    return lambda: attacker.flood(packets, rate)


def _malformed(attacker: Attacker, rate: float = 10_000.0) -> Plan:
    random = attacker.random
    shortest = 20 if attacker.forge.stack == "kernel" else 0
    packets = []
    for number in attacker.prebuilt(rate):
        octets = bytearray(random.randbytes(random.randrange(shortest, 100)))
        if number % 2:  # a header that is right up to its offset, or to its options
            offset = random.choice((0, 4, 6, 10, 15))
            octets[:] = encode(Segment(attacker.port(), ECHO, 1, 1, ACK, 1000, b"\x08\x01\x05\x03"))
            octets[12] = offset << 4
        packets.append(attacker.forge.octets(attacker.own, attacker.wire.udp_port, bytes(octets)))
    return lambda: attacker.flood(packets, rate)


def _unreachable(rate: float) -> Callable[[Attacker], Plan]:
    def begin(attacker: Attacker) -> Plan:
        packets = []
        for _ in attacker.prebuilt(rate):
            quoted = Segment(ECHO, attacker.port(), attacker.number(), 0, ACK)
            victim = attacker.somebody(NOBODY, 32768)
            packets.append(attacker.forge.unreachable(address(ROUTER), HOST, victim, attacker.port(), quoted))
        return lambda: attacker.flood(packets, rate)

    return begin


def _too_big(attacker: Attacker, rate: float = 10.0) -> Plan:
    victim = attacker.victim
    packets = [
        attacker.forge.unreachable(
            address(ROUTER),
            FRAGMENTATION_NEEDED,
            victim.host,
            victim.udp_port,
            Segment(ECHO, victim.port, attacker.number(), 0, ACK),
            _SMALL_MTU,
        )
        for _ in attacker.prebuilt(rate)
    ]
    return lambda: attacker.flood(packets, rate)


# ------------------------------------------------------------------ connections


def _opened(service: int, rate: float, **options: Any) -> Callable[[Attacker], Plan]:
    """Connections that are opened, `rate` a second, and then do nothing. An offered window of 0 stays so."""

    def begin(attacker: Attacker) -> Plan:
        crowd = attacker.crowd(service, **options)

        def step(number: int) -> None:
            for _ in range(number):
                crowd.dial()
            for peer, segment in crowd.arrivals(0.0):
                if segment.payload and peer.window == 0:  # a window probe
                    crowd.send(peer, ACK)

        return lambda: attacker.pace(rate * attacker.scale, step)

    return begin


def _holes(attacker: Attacker, rate: float = 2000.0) -> Plan:
    """Each connection sends single octets with a hole before each of them: a thousand first, then others."""
    crowd = attacker.crowd(SINK)
    crowd.open(int(20 * attacker.scale))
    peers = crowd.open_peers
    places = ((peer, at) for _ in count() for at in range(1, 60_000, 2) for peer in peers)

    def step(number: int) -> None:
        for peer, at in islice(places, number):
            crowd.say(peer, b"h", at=at)
        _let_pass(crowd)

    for _ in range(_HOLES_AT_FIRST * len(peers) // _AT_ONCE):
        step(_AT_ONCE)
        sleep(0.005)
    return lambda: attacker.pace(rate, step)


def _small_windows(attacker: Attacker, rate: float = 2000.0) -> Plan:
    """Downloads that are taken octet by octet: each ACK opens the window by one more."""
    crowd = attacker.crowd(DOWNLOAD, window=1)
    crowd.open(int(20 * attacker.scale))
    peers = cycle(crowd.open_peers)

    def step(number: int) -> None:
        for peer, segment in crowd.arrivals(0.0):
            if segment.payload and segment.seq == peer.ack:
                peer.ack = (segment.seq + len(segment.payload)) & MASK
        for _ in range(number):
            crowd.send(next(peers), ACK)

    return lambda: attacker.pace(rate, step)


def _sacks(attacker: Attacker, rate: float = 2000.0) -> Plan:
    """Downloads whose first ACKs let the sender's window grow; then nothing but SACK blocks of single octets."""
    crowd = attacker.crowd(DOWNLOAD, window_scale=7, sack=True)
    crowd.open(4)
    highest: dict[int, int] = {peer.port: 0 for peer in crowd.peers}
    end = monotonic() + 0.5
    while monotonic() < end:
        for peer, segment in crowd.arrivals(0.01):
            if segment.seq == peer.ack:
                peer.ack = (peer.ack + len(segment.payload)) & MASK
                crowd.send(peer, ACK)
    peers = cycle(crowd.open_peers)
    random = attacker.random

    def step(number: int) -> None:
        for peer, segment in crowd.arrivals(0.0):
            beyond = segment.seq + len(segment.payload) - peer.ack & MASK
            if beyond < 1 << 30:
                highest[peer.port] = max(highest[peer.port], beyond)
        for _ in range(number):
            peer = next(peers)
            room = highest[peer.port] - 2
            if room > 8:
                lefts = [peer.ack + 1 + random.randrange(room) for _ in range(4)]
                crowd.send(peer, ACK, sack=tuple((left & MASK, left + 1 & MASK) for left in lefts))

    return lambda: attacker.pace(rate, step)


def _time_wait(attacker: Attacker, rate: float = 500.0) -> Plan:
    """Connections that the server closes first, and whose last FIN comes again and again."""
    crowd = attacker.crowd(CLOSE)
    closed: list[Peer] = []

    def step(number: int) -> None:
        for _ in range(number):
            crowd.dial()
            if closed:
                crowd.send(attacker.random.choice(closed), ACK | FIN)
        for peer, segment in crowd.arrivals(0.0):
            if segment.flags & FIN:
                peer.ack = (segment.seq + len(segment.payload) + 1) & MASK
                crowd.send(peer, ACK | FIN)
                closed.append(peer)

    return lambda: attacker.pace(rate, step)


# ------------------------------------------------------------------ the link


def _waiting_crowd(attacker: Attacker) -> Plan:
    """Connections on which the server waits for an acknowledgement: all of them send again while the link is down."""
    crowd = attacker.crowd(ECHO)
    crowd.open(int(8000 * attacker.scale))
    for peer in crowd.open_peers:
        crowd.say(peer, b"x")
    end = monotonic() + _SETTLE
    while monotonic() < end:
        for _ in crowd.arrivals(0.05):
            pass
    return lambda: _idle(attacker)


def _no_attack(attacker: Attacker) -> Plan:
    return lambda: _idle(attacker)


def _idle(attacker: Attacker) -> int:
    sleep(attacker.seconds)
    return 0


def _let_pass(crowd: Crowd) -> None:
    for _ in crowd.arrivals(0.0):
        pass


ALL: Final = (
    Attack("syn-200", "200 SYNs/s from addresses on the link that no host has", _syn_flood(200, NOBODY, 32768)),
    Attack("syn-1000", "1,000 SYNs/s from addresses on the link that no host has", _syn_flood(1000, NOBODY, 32768)),
    Attack(
        "syn-unroutable",
        "1,000 SYNs/s from addresses without a route, beside 3,000 connections",
        _syn_flood(1000, UNROUTABLE, 65536, 3000),
    ),
    Attack("port-zero", "1,000 SYNs/s from UDP port 0, beside 3,000 connections", _port_zero),
    Attack("forged", "5,000 forged RSTs, ACKs, SYNs, FINs and data a second on the connection itself", _forged),
    Attack("strays", "1,000 segments/s of no connection, from addresses that no host has", _strays),
    Attack("malformed", "10,000 malformed segments/s", _malformed, forges=False),
    Attack("icmp-10000", "10,000 forged ICMP unreachable/s, beside a download", _unreachable(10_000), bulk=True),
    Attack("icmp-20000", "20,000 forged ICMP unreachable/s, beside a download", _unreachable(20_000), bulk=True),
    Attack("too-big", "10 forged ICMP fragmentation needed/s, beside a download", _too_big, bulk=True),
    Attack("zero-window", "50 downloads/s whose windows stay closed", _opened(DOWNLOAD, 50, window=0), forges=False),
    Attack("holes", "20 uploads with 1,000 holes each, then 2,000 holes/s more", _holes, forges=False),
    Attack(
        "small-writes",
        "5 connections/s whose windows stay closed; the server writes 10,000 single octets/s to each",
        _opened(DRIBBLE, 5, window=0),
        forges=False,
    ),
    Attack("small-windows", "20 downloads with windows of one octet, 2,000 ACKs/s", _small_windows, forges=False),
    Attack("idle", "500 connections/s that then do nothing", _opened(SINK, 500), forges=False),
    Attack("sacks", "2,000 ACKs/s with four SACK blocks of one octet each", _sacks, forges=False),
    Attack("time-wait", "500 connections/s that end in TIME_WAIT, and as many FINs again", _time_wait, forges=False),
    Attack("link-down", "the interface down for 1 s, 8,000 connections wait for ACKs", _waiting_crowd, link="down"),
    Attack("slow-link", "the interface limited to 20 Mbit/s (tbf), a download", _no_attack, bulk=True, link="slow"),
)

BY_NAME: Final = {attack.name: attack for attack in ALL}
