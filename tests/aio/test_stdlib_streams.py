"""Our streams behave as asyncio's: CPython's own tests say so."""

import importlib.util
import re
import subprocess
import sys

import pytest


def has_tests() -> bool:
    try:
        return importlib.util.find_spec("test.test_asyncio.test_streams") is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.skipif(not has_tests(), reason="this Python comes without its own tests (the package `test`)")
def test_cpythons_tests_of_streams_pass_with_ours() -> None:
    # In a process of its own: they set the event loop's policy.
    ran = subprocess.run(
        [sys.executable, "-m", "tests.aio.stdlib_streams"], capture_output=True, text=True, check=False, timeout=200
    )
    assert ran.returncode == 0, ran.stderr
    found = re.search(r"^Ran (\d+) tests", ran.stderr, re.MULTILINE)
    assert found is not None
    assert int(found[1]) > 50
