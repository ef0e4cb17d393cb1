"""For all tests: the fixture `simnet`, also where utcp is not installed; the ledger of requirements."""

import gc
import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest

from tests import contained as containment
from tests import shared

pytest_plugins = ["pytest_aioutcp", "pytester", "tests.conformance.ledger", "tests.long_tests"]


containment.install()

# Hypothesis measures how long an example takes, and how long it takes to make one. On a busy machine, both take long.
hypothesis.settings.register_profile("suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("suite")


@pytest.fixture(autouse=True)
def _shared_objects_stay_the_same() -> Iterator[None]:
    before = shared.present()
    yield
    assert shared.present() == before


@pytest.fixture
def contained() -> Iterator[None]:
    """For tests of what becomes of an exception in the middle of a stack's work."""
    with containment.allowed():
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """`-n auto`: two processes for each processor, because many tests wait for sockets and for other processes. Their
    number can be set by the environment, as pytest-xdist documents. None: it sets the number itself."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return 2 * (os.cpu_count() or 1)


def pytest_configure() -> None:
    """Who runs us in the background (`nohup`, a shell's `&`) may have us ignore signals, and our processes would
    inherit that. Tests send them signals.
    """
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_collection_finish() -> None:
    _settle()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Between two files."""
    if nextitem is not None and nextitem.path != item.path:
        _settle()


def _settle() -> None:
    """What is alive now stays to the end (tests, modules, reports: millions of objects). No collection of garbage has
    to look at it again, and many tests collect garbage to see that nothing is left."""
    gc.collect()
    gc.freeze()
