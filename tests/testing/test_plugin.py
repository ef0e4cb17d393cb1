"""The pytest plugin, in projects of its own."""

import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import utcp
from utcp.testing import Network

SOURCE = Path(utcp.__file__).parents[1]
PATH = f"{SOURCE}:{SOURCE / 'utcp' / 'testing' / 'pytest11'}"
"""Where utcp and the plugin are found: in a checkout the plugin has a folder of its own."""

FAILING = """
    import asyncio

    def test_that_fails(simnet):
        async def scenario():
            print("draw", simnet.random.random())
            await asyncio.sleep(2.5)
            assert simnet.host("a").name == "b"
        simnet.run(scenario())

    def test_that_passes(simnet):
        print("draw", simnet.random.random())

    def test_without_a_network():
        assert 0
"""


@pytest.fixture(autouse=True)
def _source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", PATH)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # an installed utcp is not what is tested here


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "pytest_aioutcp", "-p", "no:cacheprovider", *arguments)


def seed_of(result: pytest.RunResult) -> str:
    [line] = [line for line in result.outlines if line.startswith("seed ")]
    return line.removeprefix("seed ").partition(";")[0]


def draw_of(result: pytest.RunResult) -> str:
    return next(line for line in result.outlines if line.startswith("draw"))


def test_a_failing_test_tells_its_seed_and_how_to_replay_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=FAILING)
    result = run(pytester)
    result.assert_outcomes(passed=1, failed=2)
    seed = seed_of(result)
    result.stdout.fnmatch_lines(
        [
            "*- simulated network -*",
            f"seed {seed}; 2.500000 s of virtual time, * steps, 0 packets, digest *",
            f"replay: pytest test_it.py::test_that_fails --utcp-seed {seed}",
        ]
    )
    assert str(result.stdout).count("simulated network -") == 1  # not beside the test without a network
    replayed = run(pytester, "test_it.py::test_that_fails", "--utcp-seed", seed)
    assert draw_of(replayed) == draw_of(result)
    other = run(pytester, "test_it.py::test_that_fails", "--utcp-seed", "12")
    assert seed_of(other) == "12"
    assert draw_of(other) != draw_of(result)


def test_each_test_has_a_seed_of_its_own_that_stays(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(10))
        def test_it(simnet, number):
            print("seed is", simnet.seed)
        """
    )
    runs = [
        [line for line in run(pytester, "-s", "-v").outlines if "seed is" in line for _ in range(1)] for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert len({line.partition("seed is")[2] for line in runs[0]}) == 10


def test_the_mark(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio
        import pytest
        from utcp.testing import OutOfBounds

        pytestmark = pytest.mark.simnet(seed=7, max_time=10)

        def test_of_the_module(simnet):
            assert simnet.seed == 7
            with pytest.raises(OutOfBounds, match="10 s"):
                simnet.run(asyncio.sleep(11))

        @pytest.mark.simnet(seed=8, max_steps=99)
        def test_of_its_own(simnet):
            assert simnet.seed == 8
            assert (simnet.loop.max_time, simnet.loop.max_steps) == (10, 99)

        @pytest.mark.simnet(sed=8)
        def test_misspelt(simnet):
            pass
        """
    )
    result = run(pytester, "--strict-markers")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*takes seed=, seeds=, shuffle=, max_time=, max_steps=, not *"])


ASYNC = """
    import asyncio
    import pytest
    import utcp

    async def serve():
        async with await utcp.start_server(lambda _, writer: writer.close(), "0.0.0.0", 9000) as server:
            await server.serve_forever()

    @pytest.fixture
    def server(simnet):
        host = simnet.host("server")
        host.start(serve)
        return host

    async def read_all():
        reader, writer = await utcp.open_connection("server", 9000)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    async def test_plain(simnet, server, tmp_path):
        assert asyncio.get_running_loop() is simnet.loop
        await read_all()
        assert tmp_path.exists()

    @pytest.mark.asyncio
    async def test_asyncio(server):
        await read_all()

    @pytest.mark.anyio
    async def test_anyio(server):
        await read_all()

    @pytest.mark.parametrize("seconds", [1, 1000])
    class TestMethods:
        async def test_method(self, simnet, server, seconds):
            await asyncio.sleep(seconds)
            await read_all()
            assert simnet.loop.time() >= seconds

    async def test_that_fails(simnet, server):
        await asyncio.sleep(2.5)
        assert not await read_all()
        raise ValueError("as it should")

    @pytest.mark.simnet(max_time=10)
    async def test_that_hangs(simnet):
        await simnet.host("client").run(asyncio.sleep(11))
"""


@pytest.mark.parametrize(
    "plugins",
    [
        (),
        ("pytest_asyncio.plugin",),
        ("pytest_asyncio.plugin", "auto"),
        ("anyio.pytest_plugin",),
        ("pytest_asyncio.plugin", "anyio.pytest_plugin"),
    ],
    ids=["alone", "pytest-asyncio", "pytest-asyncio auto", "anyio", "both"],
)
def test_async_tests_run_in_the_network(pytester: pytest.Pytester, plugins: tuple[str, ...]) -> None:
    if "anyio.pytest_plugin" in plugins:
        pytest.importorskip("anyio", reason="anyio is not installed: it belongs to the integrations extra")
    pytester.makepyfile(test_it=ASYNC)
    mode = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function") if "auto" in plugins else ()
    loaded = [argument for plugin in plugins if plugin != "auto" for argument in ("-p", plugin)]
    result = run(pytester, *loaded, *mode, "-W", "ignore")
    result.assert_outcomes(passed=5, failed=2)
    result.stdout.fnmatch_lines(
        [
            "E *ValueError: as it should",
            "replay: pytest test_it.py::test_that_fails --utcp-seed *",
            "E *OutOfBounds: more than 10 s of virtual time*",
        ]
    )


def test_an_async_fixture_cannot_start_programs_on_hosts(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio
        import pytest_asyncio

        @pytest_asyncio.fixture
        async def server(simnet):
            await simnet.host("server").run(asyncio.sleep(1))

        async def test_it(simnet, server):
            pass
        """
    )
    result = run(pytester, "-p", "pytest_asyncio.plugin", "-W", "ignore")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*Host.run() was called on a real event loop*Call it in a fixture without async*"])


def test_a_network_that_is_not_run_leaves_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import gc

        def test_unused(simnet):
            pass

        def test_after():
            gc.collect()
        """
    )
    run(pytester, "-W", "error").assert_outcomes(passed=2)


@pytest.mark.parametrize(
    "arguments",
    [(), ("-p", "pytest_aioutcp"), ("-p", "no:pytest_aioutcp")],
    ids=["alone", "asked", "barred"],
)
@pytest.mark.parametrize("conftest", ["", "pytest_plugins = ['pytest_aioutcp']"], ids=["", "conftest"])
def test_installed_it_is_found_and_never_registered_twice(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], conftest: str
) -> None:
    installed = pytester.mkdir("installed")
    metadata = installed / "aioutcp-0.0.dist-info"
    metadata.mkdir()
    metadata.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: aioutcp\nVersion: 0.0\n")
    metadata.joinpath("entry_points.txt").write_text("[pytest11]\npytest_aioutcp = pytest_aioutcp\n")
    monkeypatch.setenv("PYTHONPATH", f"{installed}:{PATH}")
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    pytester.makeconftest(conftest)
    pytester.makepyfile("def test_it(simnet): pass")
    others = {plugin.name for plugin in entry_points(group="pytest11")} - {"pytest_aioutcp"}  # slow to load
    barred = [argument for name in sorted(others) for argument in ("-p", f"no:{name}")]
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *barred, *arguments)
    if "no:pytest_aioutcp" in arguments:
        result.assert_outcomes(errors=1)
    else:
        result.assert_outcomes(passed=1)


@pytest.mark.defect(101)
def test_another_package_of_the_name_breaks_no_run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Universal Tool Calling Protocol's import name is utcp, too. Only a test that asks for simnet misses it."""
    pytester.mkpydir("utcp")
    monkeypatch.setenv("PYTHONPATH", f"{pytester.path}:{PATH}")
    pytester.makepyfile("def test_without(): pass", test_with="def test_with(simnet): pass")
    result = pytester.runpytest_subprocess("-p", "pytest_aioutcp", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines("E *ModuleNotFoundError: No module named 'utcp.testing'")


def test_the_entry_point_is_named_like_the_module() -> None:
    """Otherwise pytest would register it twice, and fail, when a conftest.py asks for it by module."""
    pyproject = SOURCE / "pyproject.toml"
    if not pyproject.exists():
        pytest.skip("no source tree: utcp is imported from where it is installed")
    assert '[project.entry-points.pytest11]\npytest_aioutcp = "pytest_aioutcp"\n' in pyproject.read_text()


@pytest.mark.defect(72)
def test_loading_it_imports_nothing_of_utcp() -> None:
    script = """
import sys
import pytest
before = set(sys.modules)
import pytest_aioutcp
print(*sorted(set(sys.modules) - before))
"""
    process = subprocess.run(  # noqa: S603  # our own interpreter and script
        [sys.executable, "-c", script], cwd=SOURCE, capture_output=True, text=True, check=True, timeout=200
    )
    assert set(process.stdout.split()) <= {"inspect", "pytest_aioutcp", "re", "shlex"}


def test_the_public_names_are_where_they_are_said_to_be() -> None:
    for package in (utcp, utcp.testing):
        assert set(package.__all__) <= set(dir(package))
        for name in package.__all__:
            assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'open_conection'"):
        utcp.open_conection  # type: ignore[attr-defined]  # noqa: B018


MANY = """
    import asyncio
    import pytest

    async def shout(reader, writer):
        writer.write((await reader.read()).upper())
        writer.close()

    async def serve():
        async with await asyncio.start_server(shout, "0.0.0.0", 80) as server:
            await server.serve_forever()

    @pytest.fixture(scope="module")
    def begun():
        print("module begins")
        yield []
        print("module ends")

    @pytest.fixture
    def server(simnet):
        host = simnet.host("server")
        simnet.link(host, simnet.main, latency=0.05, jitter=0.01, loss=0.2)
        host.start(serve)
        return host

    async def talk():
        reader, writer = await asyncio.open_connection("server", 80)
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read() == b"HELLO"
        writer.close()

    async def test_that_passes(simnet, server, begun):
        begun.append(simnet.replay)
        print("run", simnet.replay)
        await talk()

    async def test_that_fails(simnet, server, begun):
        assert begun == [f"{seed} shuffled" for seed in range(20)]
        print("run", simnet.replay)
        await talk()
        assert simnet.loop.time() < 1.1

    def test_without_async(simnet, server):
        async def scenario():
            await talk()
            assert simnet.loop.time() < 1.1
        simnet.run(scenario())

    @pytest.mark.simnet(seed=3)
    async def test_of_one_seed(simnet):
        assert simnet.replay == "3"

    @pytest.mark.simnet(shuffle=False)
    async def test_in_the_usual_order(simnet):
        assert "shuffled" not in simnet.replay

    @pytest.mark.xfail
    async def test_expected_to_fail(simnet):
        raise ValueError

    async def test_skipped(simnet):
        pytest.skip("now")
"""


@pytest.mark.parametrize(
    "more", [(), ("-p", "pytest_asyncio.plugin"), ("-p", "xdist", "-n1")], ids=["alone", "pytest-asyncio", "xdist"]
)
def test_many_seeds(pytester: pytest.Pytester, more: tuple[str, ...]) -> None:
    pytester.makepyfile(test_it=MANY)
    result = run(pytester, "--simnet-seeds=20", "--simnet-ladders=ladders", "-W", "ignore", *more)
    result.assert_outcomes(passed=3, failed=2, skipped=1, xfailed=1)
    result.stdout.fnmatch_lines(
        [
            "E *assert * < 1.1",
            "*- simulated network -*",
            "seed * shuffled fails",
            "replay: pytest test_it.py::test_that_fails --utcp-seed '* shuffled'",
            "shrunk by * runs from * faults and * s to * and * s of virtual time",
            "replay: pytest test_it.py::test_that_fails --utcp-seed '* keep *.lost'",
            "faults:",
            "  the * packet * was lost at * s",
            "*- connection main:* > server:80 -*",
            "page: ladders/test_it-py-test_that_fails-1.html",
        ]
    )
    output = str(result.stdout)
    assert output.count("module begins") <= 1  # each failure shows the output of one run
    assert (pytester.path / "ladders" / "test_it-py-test_that_fails-1.html").read_text().startswith("<!DOCTYPE html>")
    line = next(line for line in result.outlines if "--utcp-seed" in line and " keep " in line)
    replayed = run(pytester, "-W", "ignore", "-k", "without_async", "--utcp-seed", line.split("'")[1])
    replayed.assert_outcomes(failed=1, deselected=6)


def test_a_mark_and_the_decorator_for_many_seeds(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_it="""
        import pytest
        from utcp.testing import simulate

        seen = []

        @pytest.mark.simnet(seeds=4)
        async def test_marked(simnet):
            seen.append(simnet.replay)

        @simulate(seeds=3)
        async def test_decorated(net, tmp_path):
            assert tmp_path.exists()
            seen.append(net.replay)

        def test_both():
            print("seen", seen)
        """
    )
    four, three = (", ".join(repr(f"{seed} shuffled") for seed in range(count)) for count in (4, 3))
    assert f"seen [{four}, {three}]" in str(run(pytester, "-s").stdout)
    assert "seen ['7', '7']" in str(run(pytester, "-s", "--utcp-seed=7").stdout)
    assert "seen ['0 shuffled', '0 shuffled']" in str(run(pytester, "-s", "--simnet-seeds=1").stdout)


def test_the_decorator_shows_the_commands_that_replay(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_it="""
        import pytest
        from utcp.testing import simulate

        @pytest.mark.parametrize("number", [5])
        @simulate(seeds=[3, 4], shuffle=False)
        async def test_decorated(net, number):
            assert number == 5
            assert not net.chance("lightning", 1)
        """
    )
    result = run(pytester)
    result.assert_outcomes(failed=1)
    lines = [line.partition("replay: ")[2] for line in result.outlines if "replay: " in line]
    assert lines[0] == "pytest 'test_it.py::test_decorated[5]' --utcp-seed 3"
    replayed = run(pytester, *shlex.split(lines[-1])[1:])
    replayed.assert_outcomes(failed=1)
    assert lines[-1] in str(replayed.stdout)


def test_the_fixture_is_here_too(simnet: Network) -> None:
    assert simnet.main.name == "main"
