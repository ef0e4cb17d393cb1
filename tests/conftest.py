"""For all tests: the fixture `simnet`, also where utcp is not installed; the ledger of requirements."""

import gc
import signal

pytest_plugins = ["pytest_aioutcp", "pytester", "tests.conformance.ledger"]


def pytest_configure() -> None:
    """Who runs us in the background (`nohup`, a shell's `&`) may have us ignore signals, and our processes would
    inherit that. Tests send them signals.
    """
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_collection_finish() -> None:
    """Tests and modules stay to the end: no collection of garbage has to look at them again. With all tests there are
    millions of objects, and many tests collect garbage to see that nothing is left."""
    gc.collect()
    gc.freeze()
