"""For all tests: the fixture `simnet`, also where utcp is not installed; the ledger of requirements."""

import signal

pytest_plugins = ["pytest_aioutcp", "pytester", "tests.conformance.ledger"]


def pytest_configure() -> None:
    """Who runs us in the background (`nohup`, a shell's `&`) may have us ignore signals, and our processes would
    inherit that. Tests send them signals.
    """
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
