"""The same seed gives the same bytes at the same times: in any process, with any hash seed, on any Python."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import utcp
from tests.testing.plain_programs import digest as plain_digest
from tests.testing.storm import Storm
from tests.testing.troubles import digests
from utcp.testing import Network

SOURCE = Path(utcp.__file__).parents[1]
ROOT = Path(__file__).parents[2]

OTHER_PYTHONS = ("python3.11", "python3.12", "python3.13")


def in_another_process(python: str, hash_seed: str, module: str = "tests.testing.troubles") -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{SOURCE}{os.pathsep}{ROOT}"}
    process = subprocess.run(  # noqa: S603  # Python itself
        [python, "-W", "ignore", "-m", module],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    return process.stdout.splitlines()[-1]


def find(name: str) -> str | None:
    """An interpreter that runs: in the path, or installed beside this one, as pyenv does."""
    beside = sorted(Path(sys.base_prefix).parent.glob(f"*/bin/{name}"))
    for python in (shutil.which(name), *map(str, beside)):
        # pyenv has programs in the path that only say where the real ones are.
        if python and not subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:  # noqa: S603
            return python
    return None


@pytest.fixture(scope="module")
def here() -> str:
    return in_another_process(sys.executable, "0")


@pytest.mark.parametrize("hash_seed", ["1", "4711", "random"])
def test_whatever_the_hash_seed(here: str, hash_seed: str) -> None:
    assert in_another_process(sys.executable, hash_seed) == here


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # one is forgotten on purpose
def test_whatever_ran_before_in_the_process(here: str) -> None:
    assert digests(1) == here


@pytest.mark.parametrize("name", OTHER_PYTHONS)
def test_on_other_pythons(here: str, name: str) -> None:
    version = name.removeprefix("python")
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        pytest.skip(f"this is {name}")
    python = find(name)
    if python is None:
        pytest.skip(f"there is no {name} that runs")
    assert in_another_process(python, "0") == here


def test_another_seed_gives_another_run() -> None:
    runs = []
    for seed in (1, 1, 2):
        net = Network(seed)
        net.run(Storm(net, 20).run())
        runs.append(net.digest())
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("name", OTHER_PYTHONS)
def test_plain_asyncio_on_other_pythons(name: str) -> None:
    """With dates and random numbers in what the programs send."""
    python = find(name)
    if python is None:
        pytest.skip(f"there is no {name} that runs")
    assert in_another_process(python, "random", "tests.testing.plain_programs") == plain_digest(1)
    assert plain_digest(2) != plain_digest(1)
