"""Fixtures that close what a test opens."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeAlias

import pytest

from utcp.link.udp import UdpLink

Keep: TypeAlias = Callable[[UdpLink], UdpLink]


@pytest.fixture
def keep() -> Iterator[Keep]:
    """Registers a link to be closed when the test ends, and returns it."""
    with ExitStack() as stack:

        def register(link: UdpLink) -> UdpLink:
            stack.callback(link.close)
            return link

        yield register
