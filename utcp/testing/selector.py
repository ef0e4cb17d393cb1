"""A selector for simulated sockets. Instead of waiting, it lets virtual time pass."""

from __future__ import annotations

import itertools
import selectors
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

_FIRST_LINK: Final = 1 << 20
_FIRST_SOCKET: Final = 1 << 24
"""First descriptors of simulated links and sockets, above all real ones, so that a mix-up fails at once."""

Poll: TypeAlias = Callable[[], int]
"""A function that returns the present events of a descriptor, EVENT_READ and EVENT_WRITE."""


class VirtualSelector(selectors.BaseSelector):
    """Reports level-triggered events of simulated sockets, in the order in which they became ready.

    Only descriptors that `touch()` has named, or that were just registered, are polled.

    Args:
        wait: lets virtual time pass, seconds; None: no timer is set.
        reorder: may reorder the events of one call of `select()`.
    """

    def __init__(self, wait: Callable[[float | None], None], reorder: Callable[[list[Any]], None]) -> None:
        self._wait = wait
        self._reorder = reorder
        self._keys: dict[Any, selectors.SelectorKey] = {}
        self._polls: dict[int, Poll] = {}
        self._touched: dict[int, None] = {}
        self._links = itertools.count(_FIRST_LINK)
        self._sockets = itertools.count(_FIRST_SOCKET)

    def new_link(self) -> int:
        """Return a descriptor for a link."""
        return next(self._links)

    def new_socket(self, poll: Poll) -> int:
        """Return a descriptor for a socket, which can be registered."""
        descriptor = next(self._sockets)
        self._polls[descriptor] = poll
        return descriptor

    def forget(self, descriptor: int) -> None:
        """Remove a descriptor whose socket is closed or has vanished."""
        self._polls.pop(descriptor, None)
        self._keys.pop(descriptor, None)
        self._touched.pop(descriptor, None)

    def is_link(self, descriptor: int) -> bool:
        """Return whether the descriptor is that of a link."""
        return _FIRST_LINK <= descriptor < _FIRST_SOCKET

    def poll(self, descriptor: int) -> int:
        """Return the present events of a socket; for an unknown descriptor, that it can be read and written."""
        poll = self._polls.get(descriptor)
        return selectors.EVENT_READ | selectors.EVENT_WRITE if poll is None else poll()

    def touch(self, descriptor: int) -> None:
        """Poll the descriptor in the next turn of the loop, because its state has changed."""
        if descriptor in self._keys:
            self._touched[descriptor] = None

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        descriptor = _descriptor(fileobj)
        if descriptor not in self._polls:
            raise RuntimeError(
                f"{fileobj!r} is not a simulated descriptor: real sockets do not work in virtual time. Create the"
                " socket by socket.socket() while the simulation runs"
            )
        key = self._keys[descriptor] = selectors.SelectorKey(fileobj, descriptor, events, data)
        self._touched[descriptor] = None
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        descriptor = _descriptor(fileobj)
        self._touched.pop(descriptor, None)
        return self._keys.pop(descriptor)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self.register(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return the events at once if there are any, otherwise let `timeout` seconds of virtual time pass."""
        found = []
        for descriptor in list(self._touched):
            key = self._keys[descriptor]
            events = self._polls[descriptor]() & key.events
            if events:
                found.append((key, events))
            else:
                del self._touched[descriptor]
        self._reorder(found)
        self._wait(0 if found else timeout)
        return found

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[_descriptor(fileobj)]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


def _descriptor(fileobj: Any) -> int:
    return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
