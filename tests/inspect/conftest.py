"""Every asynchronous test here runs under both loops, as those of tests/aio do."""

import pytest

from tests.aio.conftest import peers, pytest_asyncio_loop_factories

__all__ = ["peers", "pytest_asyncio_loop_factories"]


@pytest.fixture(autouse=True)
def _no_log_observer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The observers of a stack are those of the tests alone."""
    monkeypatch.setattr("utcp.aio.registry.default_observer", lambda: None)
