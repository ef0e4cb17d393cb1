"""The endpoints of this process on all loops, for metrics and similar users.

Includes the endpoints of `utcp.open_connection()` and `start_server()`, to which the application has no reference, but
not simulated ones. Thread-safe.
"""

from __future__ import annotations

import dataclasses
from threading import Lock
from typing import Final, Protocol
from weakref import ref

from utcp.tcp.stack import Stack


class Endpoint(Protocol):
    """The required part of `utcp.Endpoint`."""

    @property
    def started(self) -> bool: ...
    @property
    def closed(self) -> bool: ...
    @property
    def stack(self) -> Stack: ...


# Weak references, so that a loop that was never closed can be collected with its endpoints.
_open: Final[dict[int, ref[Endpoint]]] = {}
_past: Final[dict[str, int]] = {}
_adding: Final = Lock()
"""Held while counts are added to `_past`, because each thread may have a loop with endpoints."""


def endpoints() -> list[Endpoint]:
    """Return the open endpoints."""
    found = (reference() for reference in list(_open.values()))
    return [endpoint for endpoint in found if endpoint is not None]


def memory_limits() -> int:
    """Return the sum of the open endpoints' memory limits, octets (`Config.max_memory` or its default)."""
    return sum(endpoint.stack.memory.limit for endpoint in endpoints())


def totals(endpoint: Endpoint) -> dict[str, int]:
    """Return the endpoint's counts: `utcp.tcp.counters.Counters` by name, and `utcp.tcp.endings.Endings` by name with
    the prefix "ended_"."""
    stack = endpoint.stack
    counted = {field.name: getattr(stack.counters, field.name) for field in dataclasses.fields(stack.counters)}
    for field in dataclasses.fields(stack.endings):
        counted[f"ended_{field.name}"] = getattr(stack.endings, field.name)
    return counted


def past_totals() -> dict[str, int]:
    """Return the sum of `totals()` over all closed endpoints."""
    with _adding:
        return dict(_past)


def opened(endpoint: Endpoint) -> None:
    """Register a new endpoint. Called by the endpoints of loops."""
    key = id(endpoint)
    _open[key] = ref(endpoint, lambda _: _open.pop(key, None))


def closed(endpoint: Endpoint) -> None:
    """Remove a closed endpoint and keep its counts. Called by the endpoints of loops."""
    if _open.pop(id(endpoint), None) is not None:
        with _adding:
            for name, count in totals(endpoint).items():
                _past[name] = _past.get(name, 0) + count
