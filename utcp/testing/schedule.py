"""A random order of events that are due at the same time, among the orders that real event loops may have."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from hashlib import blake2b
from typing import Any, Final, TypeVar

from utcp.testing.owner import Owner, running_owner

T = TypeVar("T")

_RANKS: Final = 1 << 32


class Shuffle:
    """Decides the order of events that are due at the same time, from one seed.

    * Timers for the same time, which asyncio calls in an undefined order.
    * Packets that arrive at the same time on different paths. Those of one path keep their order.
    * Sockets that become ready in one turn of the loop.
    * Callbacks of different hosts in one turn. On real hosts, each has a loop of its own. The callbacks of one host
      keep the order of `call_soon()`, which asyncio promises.
    """

    def __init__(self, seed: int | str) -> None:
        self._seed = seed
        self._random = random.Random(f"{seed} schedule")  # noqa: S311  # reproducible, not secret

    def rank(self) -> int:
        """Return the rank of a timer among timers for the same time."""
        return self._random.randrange(_RANKS)

    def rank_on_path(self, path: tuple[str, str], arrival: float) -> int:
        """Return the rank of a packet's arrival among timers for the same time, equal for all packets of a path."""
        text = f"{self._seed} {path} {arrival!r}"
        return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big")

    def events(self, found: list[T]) -> None:
        """Reorder the sockets that are ready in one turn."""
        self._random.shuffle(found)

    def interleave(self, ready: deque[asyncio.Handle]) -> None:
        """Reorder the callbacks of one turn, and keep the order of those of one host."""
        if len(ready) < 2:
            return
        queues: dict[Any, deque[asyncio.Handle]] = {}
        hosts = []
        for handle in ready:
            owner: Owner | None = handle._context.get(running_owner)  # type: ignore[attr-defined]  # noqa: SLF001  # asyncio has no public way
            host = None if owner is None else owner.root
            hosts.append(host)
            queues.setdefault(host, deque()).append(handle)
        if len(queues) < 2:
            return
        self._random.shuffle(hosts)
        ready.clear()
        ready.extend(queues[host].popleft() for host in hosts)
