"""The benches, run as a user runs them. Their figures' sizes are the machine's affair; that they agree is ours."""

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import command, registry
from bench.peers import PEERS
from bench.stacks import STACKS
from utcp.extras import not_installed
from utcp.tcp import COMPILED

ROOT = Path(__file__).parents[2]


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own command line
        [sys.executable, "-W", "error", "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def variant(loops: str) -> str:
    """The first line: what runs."""
    utcp = "compiled" if COMPILED else 'interpreted (utcp/README.md, "Compiled", says how to compile it)'
    return f"utcp {utcp}, CPython {platform.python_version()}, {loops}"


def result_of(file: Path, *arguments: str) -> dict[str, Any]:
    done = run("bench", *arguments, "--json", str(file))
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(file.read_text())
    return result


def check(outcome: dict[str, Any], rounds: int) -> None:
    """Medians and ratios are those of the rounds."""
    for stack, measured in outcome["rounds"].items():
        assert len(measured) == rounds
        for figure, middle in outcome["medians"][stack].items():
            values = [each.get(figure) for each in measured]
            assert middle == (None if None in values else pytest.approx(statistics.median(values)))
    if outcome["rounds"].keys() >= STACKS.keys():
        for figure, ratio in outcome["ratios"].items():
            pairs = zip(outcome["rounds"]["utcp"], outcome["rounds"]["kernel_tcp"], strict=True)
            both = [(ours[figure], theirs[figure]) for ours, theirs in pairs]
            ratios = [mine / others for mine, others in both if mine is not None and others]
            assert ratio["rounds"] == pytest.approx(ratios)
            assert ratio["median"] == (pytest.approx(statistics.median(ratios)) if ratios else None)


# ---------------------------------------------------------------------- each of them


def check_outcome(name: str, outcome: dict[str, Any], rounds: int) -> None:
    """What holds of every case, and what this bench's figures say of each other."""
    assert outcome["rounds"].keys() == STACKS.keys()
    assert set(outcome["absent"].values()) <= {"not asked for"}
    check(outcome, rounds)
    headline = next(figure.name for figure in registry.load(name).figures if figure.headline)
    assert all(each[headline] > 0 for stack in STACKS for each in outcome["rounds"][stack])
    if name in CHECKS:
        CHECKS[name](outcome)


def check_closes(outcome: dict[str, Any]) -> None:
    """The times of one close and of all of them agree."""
    connections = outcome["parameters"]["connections"]
    for stack in STACKS:
        for each in outcome["rounds"][stack]:
            longest = 1.01 * 1000 * connections / each["closes_per_second"]
            assert 0 < each["close_ms_p50"] <= each["close_ms_p99"] <= longest
            assert 0 < each["both_ends_ms_p50"] <= each["both_ends_ms_p99"] <= longest
    for ours in outcome["rounds"]["utcp"]:
        assert ours["segments_per_connection"] >= 3  # FIN, FIN with ACK, ACK
        assert ours["system_calls_per_connection"] > 0


def check_churn(outcome: dict[str, Any]) -> None:
    """Both ends are counted, also where they are two processes."""
    for ours in outcome["rounds"]["utcp"]:
        # 3 to open, one echo that carries an ACK, FIN, FIN with ACK, ACK
        assert 7 <= ours["segments_per_connection"] < 14
        assert ours["cpu_us"] > 0


def check_latency(outcome: dict[str, Any]) -> None:
    for stack in STACKS:
        for each in outcome["rounds"][stack]:
            ranks = [value for name in ("us_p50", "us_p99", "us_p999") if (value := each[name]) is not None]
            assert ranks == sorted(ranks)
            assert 0 < each["us_p50"] < 1e6
            transferred = each["transfer_mb_per_second"]
            assert (transferred is not None) == (outcome["case"] == "beside a transfer")
    if outcome["case"] == "idle":
        assert all(ours["segments_per_request"] >= 2 for ours in outcome["rounds"]["utcp"])


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "closes": check_closes,
    "churn": check_churn,
    "latency": check_latency,
}


@pytest.mark.parametrize(
    ("name", "loop", "processes", "rounds"),
    [
        ("closes", "asyncio", 1, 2),
        pytest.param("bulk", "uvloop", 1, 1, marks=pytest.mark.long),
        pytest.param("latency", "uvloop", 2, 1, marks=pytest.mark.long),
    ],
)
def test_one_bench(name: str, loop: str, processes: int, rounds: int, tmp_path: Path) -> None:
    """Run a bench as `python -m bench.NAME`. `test_all_makes_one_page` covers both loops with one and two processes."""
    file = tmp_path / "result.json"
    options = ("--loop", loop, "--processes", str(processes), "--rounds", str(rounds), "--json", str(file))
    done = run(f"bench.{name}", "--quick", "--no-peers", *options)
    assert done.returncode == 0, done.stderr
    result = json.loads(file.read_text())
    assert result["benchmark"] == name
    assert result["machine"].keys() == {"cpu", "cpus", "load", "kernel", "python", "uvloop", "utcp"}
    assert result["peers"].keys() == set(PEERS)
    assert result["seconds"] > 0
    assert "commit" in result

    bench = registry.load(name)
    quick = {option.name: option.quick for option in bench.options}
    cases = [case.name for case in bench.cases(quick)]
    assert [each["case"] for each in result["outcomes"]] == cases
    for outcome in result["outcomes"]:
        assert (outcome["loop"], outcome["processes"]) == (loop, processes)
        check_outcome(name, outcome, rounds)

    lines = done.stdout.splitlines()
    assert lines[0] == variant(loop)
    assert lines[2] == bench.title
    assert lines[4] == f"{loop}, {'both ends in one process' if processes == 1 else 'a process for each end'}"
    assert lines[6].split() == ["median", "of", "the", "rounds", "utcp", "kernel", "TCP", "utcp", "/", "kernel", "TCP"]
    shown = [line.partition(": round")[2].partition(":")[0] for line in done.stderr.splitlines() if ": round" in line]
    assert shown == [f" {number} of {rounds}" for _ in cases for number in range(1, rounds + 1)]


def test_more_connections_than_a_wave(tmp_path: Path) -> None:
    (outcome,) = result_of(tmp_path / "closes.json", "closes", "--connections", "501", "--rounds", "1")["outcomes"]
    assert outcome["parameters"] == {"connections": 501}
    assert all(outcome["rounds"][stack][0]["opens_per_second"] > 0 for stack in STACKS)
    (ours,) = outcome["rounds"]["utcp"]
    assert ours["segments_per_connection"] < 3.5 + 2 * ours["retransmissions"] / 501  # of 501, and no more than these


# ---------------------------------------------------------------------- all of them


@pytest.mark.long
def test_all_makes_one_page(tmp_path: Path) -> None:
    into = tmp_path / "made"
    done = run("bench", "all", "--quick", "--no-peers", "--only", "closes", "--only", "churn", "--into", str(into))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == variant("asyncio and uvloop")
    result = json.loads((into / "performance.json").read_text())
    assert result["quick"]
    assert [each["benchmark"] for each in result["results"]] == ["closes", "churn"]
    for each in result["results"]:
        found = [(outcome["loop"], outcome["processes"]) for outcome in each["outcomes"]]
        assert found == [("asyncio", 1), ("asyncio", 2), ("uvloop", 1), ("uvloop", 2)]
        for outcome in each["outcomes"]:
            check_outcome(each["benchmark"], outcome, 1)

    page = (into / "performance.md").read_text()
    assert "Quick run: these numbers say nothing" in page
    assert "|  | asyncio | uvloop | asyncio, two processes | uvloop, two processes |" in page
    (row,) = [line for line in page.splitlines() if line.startswith("| closing many connections together | ")]
    ratio = result["results"][0]["outcomes"][0]["ratios"]["closes_per_second"]["median"]
    must, goal = (2.0, 3.0) if COMPILED else (1.0, 1.3)
    verdict = "goal" if ratio >= goal else "must" if ratio >= must else "missed"
    assert row.split(" | ")[1] == f"{ratio:.2f}x *{verdict}* ({must:.2f}x, {goal:.2f}x)"
    assert row.split(" | ")[1] in " ".join(done.stdout.split())  # printed as well
    for name in ("closes", "churn"):
        assert f"## {registry.load(name).title}" in page
        assert f"### {name}: uvloop, a process for each end" in page


@pytest.mark.long
def test_all_draws_plots(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: it belongs to the bench extra")
    done = run("bench", "all", "--quick", "--no-peers", "--only", "churn", "--into", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "](performance-churn.svg)" in (tmp_path / "performance.md").read_text()
    assert "<svg" in (tmp_path / "performance-churn.svg").read_text()


@pytest.mark.long
def test_svg(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: it belongs to the bench extra")
    file = tmp_path / "latency.svg"
    done = run("bench", "latency", "--quick", "--rounds", "1", "--no-peers", "--svg", str(file))
    assert done.returncode == 0, done.stderr
    drawing = file.read_text()
    assert all(text in drawing for text in ("kernel TCP", "beside a transfer", "µs p50"))


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["closes", "--connections", "0"], "argument --connections: must be a whole number, 1 or more, not '0'"),
        (["closes", "--rounds", "many"], "argument --rounds: must be a whole number, 1 or more, not 'many'"),
        (["bulk", "--seconds", "-1"], "argument --seconds: must be a number above 0 and up to 3600, not '-1'"),
        (["churn", "--loop", "tokio"], "argument --loop: invalid choice: 'tokio'"),
        (["churn", "--processes", "3"], "argument --processes: invalid choice: '3'"),
        (["churn", "--json", "no/such/place"], "argument --json: there is no directory no/such"),
        (["churn", "--json", "bench"], "argument --json: bench is a directory"),
        (["all", "--into", "no/such/place"], "argument --into: there is no directory no/such"),
        (["all", "--into", "README.md"], "argument --into: cannot make directory README.md: File exists"),
        (["all", "--only", "paths"], "argument --only: invalid choice: 'paths'"),
        (["churns"], "argument NAME: invalid choice: 'churns'"),
        ([], "the following arguments are required: NAME"),
    ],
)
def test_bad_arguments(
    arguments: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as exit_info:
        command.main()
    assert exit_info.value.code == 2
    out, err = capsys.readouterr()
    assert complaint in err.splitlines()[-1]
    assert out == ""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["all", "--into", "{}"], "argument --into: {} cannot be written"),
        (["churn", "--json", "{}/result.json"], "argument --json: {}/result.json cannot be written"),
    ],
)
def test_what_cannot_be_written_is_said_before_measuring(
    arguments: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # for root may write everywhere
    monkeypatch.setattr(sys, "argv", ["bench", *(each.format(tmp_path) for each in arguments)])
    with pytest.raises(SystemExit) as exit_info:
        command.main()
    assert exit_info.value.code == 2
    assert complaint.format(tmp_path) in capsys.readouterr().err.splitlines()[-1]


def test_without_matplotlib_there_is_no_svg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(sys, "argv", ["bench", "churn", "--svg", str(tmp_path / "churn.svg")])
    with pytest.raises(SystemExit) as exit_info:
        command.main()
    assert exit_info.value.code == 2
    complaint = f"argument --svg: {not_installed('matplotlib', 'bench')}"
    assert complaint in capsys.readouterr().err.splitlines()[-1]


# ---------------------------------------------------------------------- failures


def test_a_failure_is_one_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("too few descriptors")

    monkeypatch.setattr("bench.rounds.run", fail)
    monkeypatch.setattr(sys, "argv", ["bench", "churn", "--quick"])
    with pytest.raises(SystemExit) as exit_info:
        command.main()
    assert exit_info.value.code == "python -m bench: too few descriptors"
    assert capsys.readouterr() == (f"{variant('asyncio')}\n", "")


def test_ctrl_c() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "bench", "churn", "--quick", "--no-peers", "--rounds", "99"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        assert running.stderr is not None
        running.stderr.readline()  # one round is over
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does: every process of the group gets it
        out, err = running.communicate(timeout=200)
    assert (running.returncode, out) == (130, f"{variant('asyncio')}\n")
    assert err.splitlines()[-1] == "python -m bench: interrupted"
