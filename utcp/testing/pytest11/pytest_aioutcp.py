"""The pytest fixture `simnet`: a simulated network with a seed per test.

    def test_echo(simnet):
        server, client = simnet.host("server"), simnet.host("client")
        simnet.link(server, client, latency=0.02, loss=0.1)
        simnet.run(scenario(server, client))

The seed is derived from the test's name. `@pytest.mark.simnet(seed=N)` or `--utcp-seed N` set another one, and the
option takes precedence. The mark's `max_time` and `max_steps` bound the run. A failing test reports its seed and the
command that replays it.

pytest loads this module automatically where aioutcp is installed. The module stands outside the package utcp, under a
name of its own, because pytest would otherwise import all of utcp, or another package of that name. The fixture imports
utcp on first use.
"""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterator
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from utcp.testing.network import Network

_MARK: Final = "simnet"

_network: Final = pytest.StashKey["Network"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("utcp", "utcp's simulated networks")
    group.addoption(
        "--utcp-seed", metavar="N", help="the seed of every simulated network (fixture simnet), to replay one"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"{_MARK}(seed=..., max_time=..., max_steps=...): how the fixture simnet makes its network"
    )


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
    yield network
    network.close()


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
