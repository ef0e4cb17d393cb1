"""Every asynchronous test here runs under both loops, as those of tests/aio do."""

from tests.aio.conftest import peers, pytest_asyncio_loop_factories

__all__ = ["peers", "pytest_asyncio_loop_factories"]
