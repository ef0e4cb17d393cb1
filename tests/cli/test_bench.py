"""`utcp bench`: the benchmarks of the checkout, or of the wheel; their arguments pass through."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import utcp
from utcp.cli import main
from utcp.cli.bench import MISSING

ROOT = Path(utcp.__file__).parents[1]


def test_arguments_pass_through(tmp_path: Path) -> None:
    """From another directory: the benchmarks are found beside the package, by their processes too."""
    arguments = ("churn", "--quick", "--rounds", "1", "--no-peers", "--processes", "2", "--json", "churn.json")
    done = subprocess.run(  # noqa: S603  # our own command line
        [sys.executable, "-c", f"import sys; sys.path[0] = {str(ROOT)!r}; import utcp.__main__", "bench", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "Open, echo 64 octets, close" in done.stdout
    result = json.loads((tmp_path / "churn.json").read_text())
    assert result["benchmark"] == "churn"
    assert [each["processes"] for each in result["outcomes"]] == [2]


def test_help_is_that_of_the_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: utcp bench ")
    assert main(["bench", "bulk", "-h"]) == 0
    assert capsys.readouterr().out.startswith("usage: utcp bench bulk ")
    assert main([]) == 0
    assert " bench Measure utcp against the kernel's TCP. " in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "utcp bench: the following arguments are required: NAME"),
        (["churns"], "utcp bench: argument NAME: invalid choice: 'churns'"),
        (["churn", "--at-once", "0"], "utcp bench churn: argument --at-once: must be a whole number, 1 or more"),
        (["churn", "--json", "no/such/place"], "utcp bench churn: argument --json: there is no directory no/such"),
    ],
)
def test_bad_arguments(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(complaint)
    assert err.count("\n") == 1


def test_a_failure_is_one_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("too few descriptors")

    monkeypatch.setattr("bench.rounds.run", fail)
    assert main(["bench", "churn", "--quick"]) == 1
    assert capsys.readouterr() == ("", "utcp bench: too few descriptors\n")


def test_ctrl_c(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "utcp", "bench", "churn", "--quick", "--no-peers", "--rounds", "99"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        assert running.stderr is not None
        running.stderr.readline()  # one round is over
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does: every process of the group gets it
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "utcp bench: interrupted"


def test_without_the_benchmarks_it_says_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("utcp.cli.bench.find_spec", lambda _: None)
    monkeypatch.setattr(utcp, "__file__", str(tmp_path / "utcp" / "__init__.py"))
    assert main(["bench", "churn"]) == 1
    assert capsys.readouterr() == ("", f"utcp bench: {MISSING}\n")


def test_without_what_they_need(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(_: str) -> None:
        raise ModuleNotFoundError("No module named 'uvloop'", name="uvloop")

    monkeypatch.setattr("utcp.cli.bench.import_module", missing)
    assert main(["bench", "churn"]) == 1
    assert capsys.readouterr().err == "utcp bench: uvloop is not installed here: pip install 'aioutcp[bench]'\n"
