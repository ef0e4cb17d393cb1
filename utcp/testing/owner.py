"""The owner of running code, so that everything that a simulated host has started can end with it."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections.abc import Coroutine, Iterator
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class Owner:
    """The owner of tasks and timers. Code inherits it through context variables."""

    gone = False
    """Whether the owner has ended. Its timers then never fire, and its tasks are cancelled."""

    def mark_gone(self) -> None:
        self.gone = True


running_owner: Final[contextvars.ContextVar[Owner | None]] = contextvars.ContextVar("utcp_owner", default=None)


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
    """A timer that fires in the order of creation among timers for the same time. A heap alone does not keep that
    order, so packets sent together would overtake each other."""

    __slots__ = ("_number",)

    _numbers = itertools.count()

    def __init__(self, when: float, callback: Any, args: Any, loop: Any, context: contextvars.Context | None) -> None:
        super().__init__(when, callback, args, loop, context)
        self._number = next(self._numbers)

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, OwnedTimer):
            return NotImplemented
        if self._when != other._when:  # type: ignore[attr-defined]  # asyncio's own
            return bool(self._when < other._when)  # type: ignore[attr-defined]
        return self._number < other._number

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
