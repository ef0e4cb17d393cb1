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
option takes precedence. The mark's `max_time` and `max_steps` bound the run. A failing test reports its seed and the
command that replays it.

pytest loads this module automatically where aioutcp is installed. The module stands outside the package utcp, under a
name of its own, because pytest would otherwise import all of utcp, or another package of that name. The fixture imports
utcp on first use.
"""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Coroutine, Generator, Iterator
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from utcp.testing.network import Network

_MARK: Final = "simnet"

_network: Final = pytest.StashKey["Network"]()
_test: Final = pytest.StashKey[Callable[..., Coroutine[Any, Any, None]]]()
"""The function of an async test."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("utcp", "utcp's simulated networks")
    group.addoption(
        "--utcp-seed", metavar="N", help="the seed of every simulated network (fixture simnet), to replay one"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"{_MARK}(seed=..., max_time=..., max_steps=...): how the fixture simnet makes its network"
    )
    # Registered after the other plugins, so that it is asked before them whether it runs an async test.
    config.pluginmanager.register(_AsyncTests(), "utcp-async-tests")


@pytest.fixture
def simnet(request: pytest.FixtureRequest) -> Iterator[Network]:
    """Yield a utcp.testing.Network for this test, with a seed of its own. A failing test reports the seed."""
    from utcp.testing.network import Network

    options: dict[str, Any] = {"seed": _seed(request.node.nodeid)}
    for mark in reversed(list(request.node.iter_markers(_MARK))):  # the closest mark comes last and takes precedence
        if mark.args or not mark.kwargs.keys() <= {"seed", "max_time", "max_steps"}:
            raise pytest.UsageError(f"@pytest.mark.{_MARK} takes seed=, max_time= and max_steps=, not {mark!r}")
        options |= mark.kwargs
    if request.config.option.utcp_seed is not None:
        options["seed"] = request.config.option.utcp_seed
    network = Network(**options)
    request.node.stash[_network] = network
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


# The old kind of hook wrapper, because the new one would break every project that uses pytest 7 where utcp is
# installed.
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    report: pytest.TestReport = (yield).get_result()
    network = item.stash.get(_network, None)
    if report.failed and network is not None:
        loop = network.loop
        replay = shlex.join(["pytest", item.nodeid, "--utcp-seed", str(network.seed)])
        text = (
            f"seed {network.seed}; {loop.time():.6f} s of virtual time, {loop.steps} steps, {network.sent} packets,"
            f" digest {network.digest()}\nreplay: {replay}"
        )
        report.sections.append(("simulated network", text))


def _seed(name: str) -> int:
    """Return a seed that is the same in every process and on every Python version."""
    return int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), "big")
