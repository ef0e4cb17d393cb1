"""A pytest plugin: tests with the mark `long` run only with `--long`.

A long test takes seconds, and what it proves more than the others is rarely broken. The summary of a run tells how many
were left out.
"""

from typing import Any, Final

import pytest

STASH: Final = pytest.StashKey[int]()
"""How many long tests were left out of this run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests that are marked long, too")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[STASH] = 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    long = [item for item in items if item.get_closest_marker("long")]
    if long and not config.getoption("long"):
        config.stash[STASH] = len(long)
        items[:] = [item for item in items if not item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the number over to the process that started this one, if pytest-xdist did."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["long"] = session.config.stash[STASH]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A process that pytest-xdist started has ended. All of them leave out the same tests."""
    node.config.stash[STASH] = getattr(node, "workeroutput", {}).get("long", node.config.stash[STASH])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := config.stash[STASH]:
        terminalreporter.write_line(f"{left_out} long tests were left out: --long runs them, too")
