"""Whose code it is that runs: so that everything a simulated host has started can end with it."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections.abc import Coroutine, Iterator
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class Owner:
    """What tasks and timers belong to. Code inherits its owner as it inherits context variables."""

    gone = False
    """Its timers never fire again, its tasks are cancelled."""

    def mark_gone(self) -> None:
        self.gone = True


running_owner: Final[contextvars.ContextVar[Owner | None]] = contextvars.ContextVar("utcp_owner", default=None)


class OwnedTask(asyncio.Task[T]):
    """A task that knows its owner, and whose place in a set depends on its `number`, not on its address.

    asyncio keeps tasks in sets (TaskGroup, wait()): their order decides who is cancelled first, and so what is sent.
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
        self._number = number  # first: asyncio's constructor asks for the hash
        self.owner = running_owner.get() if context is None else context.get(running_owner)
        super().__init__(coroutine, loop=loop, context=context, **options)

    def __hash__(self) -> int:
        return self._number


class OwnedTimer(asyncio.TimerHandle):
    """A timer after which those for the same time come in the order in which they were set. A heap alone does not
    keep that order, and packets that were sent together would overtake each other."""

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
    """A weak set in order of insertion, as far as asyncio uses one for its asynchronous generators."""

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
