"""Tee: all that one observer would hear, both hear."""

import inspect
from typing import Any

from utcp.tcp.observer import Observer, Tee

CALLBACKS = [name for name, value in vars(Observer).items() if inspect.isfunction(value)]


class Recorder(Observer):
    """Notes every callback with its arguments."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def __getattribute__(self, name: str) -> Any:
        if name in CALLBACKS:
            return lambda *arguments: self.heard.append((name, *arguments))
        return super().__getattribute__(name)


def test_every_callback_reaches_every_observer() -> None:
    first, second = Recorder(), Recorder()
    tee = Tee(first, second)
    expected = []
    for name in CALLBACKS:  # whatever Observer learns to tell, Tee has to pass on
        callback = getattr(tee, name)
        arguments = [object() for _ in inspect.signature(callback).parameters]
        callback(*arguments)
        expected.append((name, *arguments))
    assert first.heard == expected
    assert second.heard == expected
