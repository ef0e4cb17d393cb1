"""bench.closes, run as a user runs it. Its figures' sizes are the machine's affair; that they agree is ours."""

import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STACKS = ("utcp", "kernel_tcp")


def closes(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own command line
        [sys.executable, "-W", "error", "-m", "bench.closes", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_json(loop: str, tmp_path: Path) -> None:
    file = tmp_path / "closes.json"
    done = closes("--connections", "50", "--rounds", "2", "--loop", loop, "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    progress = done.stderr.splitlines()
    assert [line.partition(":")[0] for line in progress] == ["round 1 of 2", "round 2 of 2"]

    result = json.loads(file.read_text())
    assert result["connections"] == 50
    assert result["loop"] == loop
    assert result["machine"].keys() == {"cpu", "cpus", "load", "kernel", "python", "uvloop"}

    rounds = {stack: result[stack]["rounds"] for stack in STACKS}
    assert [len(rounds[stack]) for stack in STACKS] == [2, 2]
    speeds = {stack: [each["closes_per_second"] for each in rounds[stack]] for stack in STACKS}
    ratios = [ours / kernels for ours, kernels in zip(speeds["utcp"], speeds["kernel_tcp"], strict=True)]
    assert result["ratios"] == pytest.approx(ratios)
    assert result["ratio"] == pytest.approx(statistics.median(ratios))
    for stack in STACKS:
        for figure in rounds[stack][0]:
            if rounds[stack][0][figure] is not None:
                assert result[stack][figure] == pytest.approx(statistics.median(each[figure] for each in rounds[stack]))
        for each in rounds[stack]:
            assert 0 < each["close_ms_p50"] <= each["close_ms_p99"] <= 1.01 * 50_000 / each["closes_per_second"]
            assert 0 < each["both_ends_ms_p50"] <= each["both_ends_ms_p99"] <= 1.01 * 50_000 / each["closes_per_second"]
    for each in rounds["utcp"]:
        assert each["segments_per_connection"] >= 3  # FIN, FIN with ACK, ACK
        assert each["system_calls_per_connection"] > 0


def test_table() -> None:
    done = closes("--connections", "20", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("20 connections closed together, asyncio loop\n")
    assert "closes per second" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--connections", "0"], "argument --connections: must be a whole number, 1 or more, not '0'"),
        (["--rounds", "many"], "argument --rounds: must be a whole number, 1 or more, not 'many'"),
        (["--loop", "tokio"], "argument --loop: invalid choice: 'tokio'"),
        (["--json", "no/such/place"], "argument --json: there is no directory no/such"),
        (["--json", "bench"], "argument --json: bench is a directory"),
    ],
)
def test_bad_arguments(arguments: list[str], complaint: str) -> None:
    done = closes(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr.splitlines()[-1]
    assert done.stdout == ""


def test_more_connections_than_file_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        pytest.skip("no limit on file descriptors")
    done = closes("--connections", str(hard))
    assert done.returncode == 1
    assert done.stderr == (
        f"python -m bench.closes: {2 * hard} sockets and 64 descriptors besides exceed the hard limit of {hard} "
        "(ulimit -Hn)\n"
    )
