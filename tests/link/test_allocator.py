"""A batch of datagrams takes its memory from what the batch before has freed, without page faults."""

import platform
import subprocess
import sys
from typing import Final

import pytest

PROGRAM: Final = """
import resource, sys
from utcp.link.allocator import keep_freed_memory
if sys.argv[1] == "keeps":
    keep_freed_memory()

def batch():
    received = [bytearray(b"x") * 65_000 for _ in range(32)]
    return b"".join(received[:4])

for _ in range(5):
    batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(argument: str) -> int:
    command = [sys.executable, "-c", PROGRAM, argument]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)  # noqa: S603


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other rules")
def test_freed_memory_is_kept_for_the_next_batch() -> None:
    assert faults("keeps") < 100
    assert faults("returns") > 1000  # otherwise the call is needless
