"""A pump between a TUN interface and a TunLink: it carries packets, holds them, drops, reorders and doubles them."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import TypeAlias

from tests.interop.trace import Direction
from utcp.testing.path import UDP_IP_HEADERS, Conditions, Path

_BUFFER = 4 * 1024 * 1024
_BATCH = 64
_MAX_PACKET = 65536

Rule: TypeAlias = Callable[[Direction, bytes], bool]


class Pump:
    """Carries packets between a TUN descriptor, which it owns from here on, and `far_end`, which a link will own.

    `conditions` apply to each direction, with random numbers from `seed`.
    """

    def __init__(self, tun: int, conditions: Conditions, seed: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._tun = tun
        os.set_blocking(tun, False)
        self._near_end, far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._near_end, far_end):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self.far_end = far_end.detach()
        self._paths: dict[Direction, Path] = {way: Path(conditions, f"{seed} {way}") for way in ("<", ">")}
        self._holding: set[Direction] = set()
        self._held: list[tuple[Direction, bytes]] = []
        self.drop: Rule | None = None
        """Packets for which it is true are lost. The packet is IPv4's, with a header of 20 octets."""
        self._loop.add_reader(tun, self._carry, "<", tun)
        self._loop.add_reader(self._near_end.fileno(), self._carry, ">", self._near_end.fileno())

    @property
    def counts(self) -> dict[str, int]:
        """What the conditions did to packets, both ways together."""
        one, other = (path.counts for path in self._paths.values())
        return {name: one[name] + other[name] for name in one}

    def hold(self) -> None:
        """Keep all packets from now on, until `release()`."""
        self._holding |= {"<", ">"}

    def held(self, way: Direction) -> int:
        """How many packets that go this way are being held."""
        return sum(direction == way for direction, _ in self._held)

    def release(self, *ways: Direction) -> None:
        """Carry on, in one direction or both, first with what was held, in order and all at once."""
        self._holding -= set(ways or ("<", ">"))
        held, self._held = self._held, []
        for direction, packet in held:
            if direction in self._holding:
                self._held.append((direction, packet))
            else:
                self._write(direction, packet)

    def close(self) -> None:
        self._loop.remove_reader(self._tun)
        self._loop.remove_reader(self._near_end.fileno())
        os.close(self._tun)
        self._near_end.close()
        self._tun = -1

    def _carry(self, direction: Direction, source: int) -> None:
        for _ in range(_BATCH):
            try:
                packet = os.read(source, _MAX_PACKET)
            except BlockingIOError:
                return
            if not packet:  # the link has closed its end
                self._loop.remove_reader(source)
                return
            if packet[0] >> 4 != 4 or (self.drop is not None and self.drop(direction, packet)):
                continue
            if direction in self._holding:
                self._held.append((direction, packet))
                continue
            now = self._loop.time()
            for arrival in self._paths[direction].carry(len(packet) - UDP_IP_HEADERS, now):
                if arrival <= now:
                    self._write(direction, packet)
                else:
                    self._loop.call_later(arrival - now, self._write, direction, packet)

    def _write(self, direction: Direction, packet: bytes) -> None:
        if self._tun < 0:
            return
        try:
            os.write(self._tun if direction == ">" else self._near_end.fileno(), packet)
        except OSError:
            pass  # a full queue, or a link that is gone: what a network does then is drop


class DropFirst:
    """The rule that drops the first packet which goes this way and whose segment has all these control bits."""

    def __init__(self, way: Direction, flags: int) -> None:
        self._way = way
        self._flags = flags
        self.dropped = False

    def __call__(self, way: Direction, packet: bytes) -> bool:
        flags = packet[20 + 13]
        if self.dropped or way != self._way or flags & self._flags != self._flags:
            return False
        self.dropped = True
        return True
