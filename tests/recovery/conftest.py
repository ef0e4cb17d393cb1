"""The controller that `trace.sender` uses, for these tests only."""

from collections.abc import Iterator

import pytest

from tests.recovery.trace import Unpaced
from utcp.tcp.congestion import CONTROLLERS


@pytest.fixture(autouse=True, scope="package")
def _unpaced() -> Iterator[None]:
    CONTROLLERS[Unpaced.name] = Unpaced
    yield
    del CONTROLLERS[Unpaced.name]
