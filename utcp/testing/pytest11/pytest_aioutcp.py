"""pytest: the fixture `simnet`, a simulated network with a seed per test.

    def test_echo(simnet):
        server, client = simnet.host("server"), simnet.host("client")
        simnet.link(server, client, latency=0.02, loss=0.1)
        simnet.run(scenario(server, client))

The seed comes from the test's name; `--utcp-seed N` or `@pytest.mark.simnet(seed=N)` give another one, and the option
counts more. The mark's `max_time` and `max_steps` bound the run. A test that fails tells its seed, and the command that
replays it.

pytest loads this module by itself where aioutcp is installed. It is installed beside the package utcp, under a name of
its own: otherwise pytest would import all of utcp, or another package of that name. The fixture imports utcp when a
test first asks for it.
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
    """A utcp.testing.Network of the test's own, with a seed of its own; a test that fails tells it."""
    from utcp.testing.network import Network

    options: dict[str, Any] = {"seed": _seed(request.node.nodeid)}
    for mark in reversed(list(request.node.iter_markers(_MARK))):  # the closest comes last, and counts
        if mark.args or not mark.kwargs.keys() <= {"seed", "max_time", "max_steps"}:
            raise pytest.UsageError(f"@pytest.mark.{_MARK} takes seed=, max_time= and max_steps=, not {mark!r}")
        options |= mark.kwargs
    if request.config.option.utcp_seed is not None:
        options["seed"] = request.config.option.utcp_seed
    network = Network(**options)
    request.node.stash[_network] = network
    yield network
    network.close()


# The older kind of wrapper: the newer one would keep every project with pytest 7 from running where utcp is installed.
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    report: pytest.TestReport = (yield).get_result()
    network = item.stash.get(_network, None)
    if report.failed and network is not None:
        loop = network.loop
        replay = shlex.join(["pytest", item.nodeid, "--utcp-seed", str(network.seed)])
        told = (
            f"seed {network.seed}; {loop.time():.6f} s of virtual time, {loop.steps} steps, {network.sent} packets,"
            f" digest {network.digest()}\nreplay: {replay}"
        )
        report.sections.append(("simulated network", told))


def _seed(name: str) -> int:
    """The same in every process and on every Python."""
    return int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), "big")
