"""The owner of running code, so that everything that a simulated host has started can end with it."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import math
from collections.abc import Coroutine, Iterator
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class Owner:
    """The owner of tasks and timers. Code inherits it through context variables."""

    clock_rate: float = 1.0
    """Seconds that the owner's clock counts in a second of virtual time."""

    def __init__(self, parent: Owner | None = None) -> None:
        self._parent = parent
        self._gone = False
        self._paused = False

    @property
    def gone(self) -> bool:
        """Whether the owner or its parent has ended. Its timers then never fire, and its tasks are cancelled."""
        return self._gone or (self._parent is not None and self._parent.gone)

    @property
    def clock_offset(self) -> float:
        """Return the seconds by which the owner's wall clock is ahead."""
        return 0.0

    def mark_gone(self) -> None:
        self._gone = True

    @property
    def paused(self) -> bool:
        """Whether the owner or its parent is paused. Its callbacks then wait until it resumes."""
        return self._paused or (self._parent is not None and self._parent.paused)

    def mark_paused(self, paused: bool) -> None:
        self._paused = paused

    @property
    def root(self) -> Owner:
        """Return the owner that has no parent and with which this one ends, or itself."""
        return self if self._parent is None else self._parent.root

    def within(self, other: Owner) -> bool:
        """Return whether the owner is `other`, or ends with it."""
        return self is other or (self._parent is not None and self._parent.within(other))


running_owner: Final[contextvars.ContextVar[Owner | None]] = contextvars.ContextVar("utcp_owner", default=None)


def by_clock(now: float) -> float:
    """Return what the clock of the running code's owner shows at the virtual time `now`, both in seconds."""
    owner = running_owner.get()
    return now if owner is None else now * owner.clock_rate


def wall_clock_offset() -> float:
    """Return the seconds by which the wall clock of the running code's owner is ahead."""
    owner = running_owner.get()
    return 0.0 if owner is None else owner.clock_offset


def by_network(time: float) -> float:
    """Return the first virtual time at which the clock of the running code's owner shows `time`, both in seconds."""
    owner = running_owner.get()
    if owner is None or owner.clock_rate == 1:
        return time
    now = time / owner.clock_rate
    while now * owner.clock_rate < time:  # because of rounding; a timer must not fire early
        now = math.nextafter(now, math.inf)
    return now


class OwnedTask(asyncio.Task[T]):
    """A task with an owner, hashed by its `number` instead of its address.

    asyncio keeps tasks in sets (TaskGroup, wait()). Their order determines which task is cancelled first, and so which
    packets are sent.
    """

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        number: int,
        *,
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> None:
        self._number = number  # set first, because asyncio's constructor uses the hash
        self.owner = running_owner.get() if context is None else context.get(running_owner)
        super().__init__(coroutine, loop=loop, context=context, **options)

    def __hash__(self) -> int:
        return self._number


class OwnedTimer(asyncio.TimerHandle):
    """A timer that fires in the order of rank and creation among timers for the same time. A heap alone does not keep
    that order, so packets sent together would overtake each other."""

    __slots__ = ("_number", "_rank")

    _numbers = itertools.count()

    def __init__(
        self, when: float, callback: Any, args: Any, loop: Any, context: contextvars.Context | None, rank: int = 0
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self._rank = rank
        self._number = next(self._numbers)

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, OwnedTimer):
            return NotImplemented
        if self._when != other._when:  # type: ignore[attr-defined]  # asyncio's own
            return bool(self._when < other._when)  # type: ignore[attr-defined]
        return (self._rank, self._number) < (other._rank, other._number)

    def when(self) -> float:
        """Return the time at which the timer fires, by the clock of the running code."""
        return by_clock(self._when)  # type: ignore[attr-defined]  # asyncio's own

    @property
    def owner(self) -> Owner | None:
        context: contextvars.Context = self._context  # type: ignore[attr-defined]  # asyncio's own
        return context.get(running_owner)


class OrderedWeakSet:
    """A weak set in insertion order, with the methods that asyncio uses for its asynchronous generators."""

    def __init__(self) -> None:
        self._items: WeakKeyDictionary[Any, None] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._items))

    def add(self, item: Any) -> None:
        self._items[item] = None

    def discard(self, item: Any) -> None:
        self._items.pop(item, None)

    def clear(self) -> None:
        self._items.clear()
