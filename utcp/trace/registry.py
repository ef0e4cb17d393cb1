"""The endpoints of this process, on whatever loop: for those who look at all of them, as metrics do.

Those of `utcp.open_connection()` and `start_server()`, which nobody else has in hand, are among them. Simulated ones
are not. May be asked from any thread.
"""

from __future__ import annotations

import dataclasses
from typing import Final, Protocol
from weakref import ref

from utcp.tcp.stack import Stack


class Endpoint(Protocol):
    """What is needed of `utcp.Endpoint`."""

    @property
    def started(self) -> bool: ...
    @property
    def closed(self) -> bool: ...
    @property
    def stack(self) -> Stack: ...


_open: Final[dict[int, ref[Endpoint]]] = {}  # weakly: a loop that was never closed goes with its endpoints
_past: Final[dict[str, int]] = {}


def endpoints() -> list[Endpoint]:
    """Those that are open."""
    found = (reference() for reference in list(_open.values()))
    return [endpoint for endpoint in found if endpoint is not None]


def memory_limits() -> int:
    """Octets that those that are open may take together: their limits, set by `Config.max_memory` or by default."""
    return sum(endpoint.stack.memory.limit for endpoint in endpoints())


def totals(endpoint: Endpoint) -> dict[str, int]:
    """What the endpoint has counted: `utcp.tcp.counters.Counters` by its names, and `utcp.tcp.endings.Endings` by its
    names behind "ended_"."""
    stack = endpoint.stack
    counted = {field.name: getattr(stack.counters, field.name) for field in dataclasses.fields(stack.counters)}
    for field in dataclasses.fields(stack.endings):
        counted[f"ended_{field.name}"] = getattr(stack.endings, field.name)
    return counted


def past_totals() -> dict[str, int]:
    """`totals()` of all endpoints that are closed, together."""
    return dict(_past)


def opened(endpoint: Endpoint) -> None:
    """For the loop's endpoints: this one has begun."""
    key = id(endpoint)
    _open[key] = ref(endpoint, lambda _: _open.pop(key, None))


def closed(endpoint: Endpoint) -> None:
    """For the loop's endpoints: this one is closed."""
    if _open.pop(id(endpoint), None) is not None:
        for name, count in totals(endpoint).items():
            _past[name] = _past.get(name, 0) + count
