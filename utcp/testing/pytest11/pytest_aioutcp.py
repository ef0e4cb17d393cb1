"""The pytest fixture `simnet`: a simulated network with a seed per test.

    async def test_echo(simnet):
        server, client = simnet.host("server"), simnet.host("client")
        simnet.link(server, client, latency=0.02, loss=0.1)
        await server.run(utcp.start_server(echo, "0.0.0.0", 9000))
        await client.run(ask("server"))

An async test that uses the fixture runs in the network, on the host `simnet.main`, in virtual time, with or without
pytest-asyncio and anyio. A test without async runs the network itself: `simnet.run(scenario())`. Async fixtures run on
real event loops; write fixtures that start programs on hosts without async (`Host.start`).

The seed is derived from the test's name. `@pytest.mark.simnet(seed=N)` or `--utcp-seed N` set another one, and the
option takes precedence. The mark's `max_time` and `max_steps` bound the run. A failing test reports its seed, the
command that replays it, and the ladders of its latest connections, as text and as HTML files.

`--simnet-seeds=N` or `@pytest.mark.simnet(seeds=N)` run each test that uses the fixture under N seeds, with all of its
function's fixtures set up anew for each, until one fails. The failing run is then repeated with fewer faults
(`utcp.testing.shrink`). A test with `seed=` in its mark runs once.

pytest loads this module automatically where aioutcp is installed. The module stands outside the package utcp, under a
name of its own, because pytest would otherwise import all of utcp, or another package of that name. The fixture imports
utcp on first use.
"""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from _pytest.runner import runtestprotocol

if TYPE_CHECKING:
    from utcp.testing.faults import RunSeed
    from utcp.testing.network import Network
    from utcp.testing.shrink import Failure

_MARK: Final = "simnet"
_OPTIONS: Final = ("seed", "seeds", "shuffle", "max_time", "max_steps")
_MANY: Final = ("seeds", "shuffle")
"""Options of a mark for many seeds."""

_network: Final = pytest.StashKey["Network"]()
_test: Final = pytest.StashKey[Callable[..., Coroutine[Any, Any, None]]]()
"""The function of an async test."""
_temporary: Final = pytest.StashKey[pytest.TempPathFactory]()
_chosen: Final = pytest.StashKey[str]()
"""The seed of the present run of a test that runs under many seeds."""
_error: Final = pytest.StashKey[BaseException]()
"""The error of the present run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("utcp", "utcp's simulated networks")
    group.addoption(
        "--utcp-seed", metavar="N", help="the seed of every simulated network (fixture simnet), to replay one"
    )
    group.addoption(
        "--simnet-seeds",
        metavar="N",
        type=int,
        default=0,
        help="run each test with the fixture simnet under N seeds, until one fails, and shrink the failure",
    )
    group.addoption(
        "--simnet-ladders",
        metavar="DIR",
        type=Path,
        help="where a failing test writes the ladders of its connections (default: in pytest's temporary directory)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"{_MARK}({', '.join(f'{name}=...' for name in _OPTIONS)}): how the fixture simnet makes its network"
    )
    # Registered after the other plugins, so that it is asked before them whether it runs an async test.
    config.pluginmanager.register(_AsyncTests(), "utcp-async-tests")


@pytest.fixture
def simnet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Yield a utcp.testing.Network for this test, with a seed of its own. A failing test reports the seed."""
    from utcp.testing.network import Network

    options: dict[str, Any] = {"seed": _seed(request.node.nodeid)} | _marked(request.node)
    options = {name: value for name, value in options.items() if name not in _MANY}
    options["seed"] = request.node.stash.get(_chosen, options["seed"])
    if request.config.option.utcp_seed is not None:
        options["seed"] = request.config.option.utcp_seed
    network = Network(**options)
    request.node.stash[_network] = network
    request.node.stash[_temporary] = tmp_path_factory
    test = getattr(request.node, "obj", None)  # before another plugin replaces it
    if inspect.iscoroutinefunction(test):
        request.node.stash[_test] = test
    yield network
    network.close()


class _AsyncTests:
    """Runs the async tests that use the fixture in its network."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        test = pyfuncitem.stash.get(_test, None)
        if test is None:
            return None
        names = pyfuncitem._fixtureinfo.argnames  # noqa: SLF001  # as pytest itself passes them
        pyfuncitem.stash[_network].run(test(**{name: pyfuncitem.funcargs[name] for name in names}))
        return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test under many seeds, if that is wanted."""
    seeds = _seeds(item)
    if not seeds:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _run_many(item, seeds):
        item.ihook.pytest_runtest_logreport(report=report)
    # Each run has ended the fixtures of the function alone. The others end now, if the next test does not need them.
    end = pytest.CallInfo.from_call(
        lambda: item.session._setupstate.teardown_exact(nextitem),  # noqa: SLF001  # pytest has no public way
        when="teardown",
    )
    if end.excinfo is not None:
        report = item.ihook.pytest_runtest_makereport(item=item, call=end)
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a function of `utcp.testing.simulate()`, under the seeds of the command line if it has some."""
    simulation: Any = getattr(pyfuncitem.obj, "simulation", None)
    if type(simulation).__module__ != "utcp.testing.search":
        return None
    option = pyfuncitem.config.option
    seeds: Iterable[int | str] = range(option.simnet_seeds) if option.utcp_seed is None else [option.utcp_seed]
    names = pyfuncitem._fixtureinfo.argnames  # noqa: SLF001  # as pytest itself passes them
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    simulation.search(seeds or simulation.seeds, (), arguments, lambda seed: _replay(pyfuncitem, seed))
    return True


# The old kind of hook wrapper, because the new one would break every project that uses pytest 7 where utcp is
# installed.
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    report: pytest.TestReport = (yield).get_result()
    network = item.stash.get(_network, None)
    if not report.failed or network is None:
        return
    if call.when == "call" and call.excinfo is not None:
        item.stash[_error] = call.excinfo.value
    if _chosen not in item.stash:
        report.sections.append(("simulated network", f"{_summary(network)}\nreplay: {_replay(item, network.replay)}"))
        _add_ladders(item, report, network)


# ------------------------------------------------------------------ many seeds


def _seeds(item: pytest.Item) -> list[RunSeed]:
    """Return the seeds under which a test runs, or none if it runs once."""
    option = item.config.option
    if option.utcp_seed is not None or "simnet" not in getattr(item, "fixturenames", ()):
        return []
    try:
        marked = _marked(item)
    except pytest.UsageError:  # the fixture raises it again
        return []
    count = option.simnet_seeds or marked.get("seeds", 0)
    if not count or "seed" in marked:
        return []
    from utcp.testing.faults import RunSeed

    return [RunSeed(seed, shuffled=marked.get("shuffle", True)) for seed in range(count)]


def _run_many(item: pytest.Item, seeds: list[RunSeed]) -> list[pytest.TestReport]:
    """Run a test under the seeds until it does not pass, and shrink a failure. Return the reports of the last, or the
    smallest, run."""
    reports: list[pytest.TestReport] = []
    try:
        for seed in seeds:
            failure, reports = _run_once(item, seed)
            if failure is not None:
                return _shrunk(item, failure)
            if not all(report.passed for report in reports):
                break
    finally:
        del item.stash[_chosen]
    return reports


def _run_once(item: pytest.Item, seed: RunSeed) -> tuple[Failure | None, list[pytest.TestReport]]:
    """Run a test with the fixtures of its function set up anew. Return the failure, if its call failed."""
    from utcp.testing.shrink import Failure

    item.stash[_chosen] = str(seed)
    keys: tuple[pytest.StashKey[Any], ...] = (_network, _test, _error)
    for key in keys:
        if key in item.stash:
            del item.stash[key]
    item._report_sections.clear()  # noqa: SLF001  # what former runs have written
    item._initrequest()  # type: ignore[attr-defined]  # noqa: SLF001  # as other plugins repeat tests
    parent: Any = item.parent  # the next to run, so that fixtures of the module are kept
    reports = runtestprotocol(item, log=False, nextitem=parent)
    network, error = item.stash.get(_network, None), item.stash.get(_error, None)
    if network is None or error is None:
        return None, reports
    return Failure(seed, network, error, reports), reports


def _shrunk(item: pytest.Item, failure: Failure) -> list[pytest.TestReport]:
    from utcp.testing.shrink import MAX_RUNS, shrink

    max_runs = 0 if item.config.option.usepdb else MAX_RUNS
    shrunk = shrink(failure, lambda seed: _run_once(item, seed)[0], max_runs=max_runs)
    reports: list[pytest.TestReport] = shrunk.smallest.details
    network = shrunk.smallest.network
    for report in reports:
        if report.when == "call":
            text = f"{shrunk.report(lambda seed: _replay(item, seed))}\n{_summary(network)}"
            report.sections.append(("simulated network", text))
            _add_ladders(item, report, network)
    return reports


def _marked(item: pytest.Item) -> dict[str, Any]:
    """Return the options of a test's marks. Raises pytest.UsageError for others."""
    options: dict[str, Any] = {}
    for mark in reversed(list(item.iter_markers(_MARK))):  # the closest mark comes last and takes precedence
        if mark.args or not mark.kwargs.keys() <= {*_OPTIONS}:
            known = ", ".join(f"{name}=" for name in _OPTIONS)
            raise pytest.UsageError(f"@pytest.mark.{_MARK} takes {known}, not {mark!r}")
        options |= mark.kwargs
    return options


# ------------------------------------------------------------------ what a failure shows


def _summary(network: Network) -> str:
    loop = network.loop
    return (
        f"seed {network.replay}; {loop.time():.6f} s of virtual time, {loop.steps} steps, {network.sent} packets,"
        f" digest {network.digest()}"
    )


def _replay(item: pytest.Item, seed: str) -> str:
    return shlex.join(["pytest", item.nodeid, "--utcp-seed", seed])


def _add_ladders(item: pytest.Item, report: pytest.TestReport, network: Network) -> None:
    """Add the ladders of the latest connections to a report, and write them as pages."""
    from utcp.testing.explain import explain

    folder: Path | None = item.config.option.simnet_ladders
    for number, ladder in enumerate(explain(network), 1):
        if folder is None:
            folder = item.stash[_temporary].mktemp("ladders")
        folder.mkdir(parents=True, exist_ok=True)
        test = re.sub(r"\W+", "-", item.nodeid).strip("-")
        page = folder / f"{test}-{number}.html"
        page.write_text(ladder.page(), encoding="utf-8")
        report.sections.append((f"connection {ladder.title}", f"{ladder.text()}\npage: {page}"))


def _seed(name: str) -> int:
    """Return a seed that is the same in every process and on every Python version."""
    return int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), "big")
