"""The frame of the benches: rounds by turns, medians and ratios, goals, the page."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import command, page, plot, processes, registry, report, rounds
from bench.frame import (
    Aim,
    Bench,
    Case,
    Figure,
    Figures,
    Goal,
    Option,
    Outcome,
    Trial,
    Values,
    aims,
    figure,
    per,
    percentile,
    ratio,
    speed,
)
from bench.progress import Progress
from bench.rounds import Plan
from bench.stacks import STACKS, Stack

SPEEDS = {"utcp": 30.0, "kernel_tcp": 10.0, "aiokcp": 2.0}


def measure(trial: Trial) -> Figures:
    """Runs in another process."""
    if trial.stack == "aioquic":
        raise RuntimeError("no such thing")
    if trial.parameters["fails"] and trial.stack == "utcp":
        raise OSError("it broke")
    return {"speed": SPEEDS[trial.stack] + trial.serial, "seen": trial.parameters["seen"], "process": os.getpid()}


def cases(values: Values) -> Sequence[Case]:
    few = {"seen": 1}
    return [
        Case("all", {"seen": 9, **values}, peers={"aioquic": few, "aiokcp": few}),
        Case("ours", {"seen": 9, **values}, without={"kernel_tcp": "it cannot"}),
    ]


LIMIT = aims(10, 10)

BENCH = Bench(
    name="speeds",
    title="Speeds",
    options=(Option("fails", 0, 0, "fail"),),
    cases=cases,
    measure=measure,
    figures=(Figure("speed", "speed", 1, better="higher", headline=True), Figure("seen", "parameter")),
    goals=(
        Goal("faster", ratio("speed"), aims(2.0, 4.0, uvloop=(1.0, 2.0))),
        Goal("few", figure("seen"), LIMIT, interpreted=LIMIT, better="lower", unit="", decimals=0),
    ),
)


def plan(*, fails: int = 0, rounds: int = 1, peers: bool = True) -> Plan:
    return Plan(BENCH, {"fails": fails}, rounds, ["asyncio"], [1], peers)


def run(monkeypatch: pytest.MonkeyPatch, *, fails: int = 0, peers: bool = True) -> list[Outcome]:
    kernel = STACKS["kernel_tcp"]
    installed = {"aioquic": kernel, "aiokcp": kernel}
    monkeypatch.setattr(rounds, "find", installed.__getitem__)
    with Progress(2) as progress:
        return rounds.run(plan(fails=fails, rounds=2, peers=peers), progress)


def outcome(ours: Sequence[float | None], kernels: Sequence[float | None], case: str = "one") -> Outcome:
    by_stack = {"utcp": ours, "kernel_tcp": kernels}
    measured = {stack: [{"speed": value} for value in values] for stack, values in by_stack.items()}
    return Outcome(Case(case, {}), "asyncio", 1, measured, {})


# ---------------------------------------------------------------------- rounds


@pytest.mark.long
def test_stacks_take_turns_in_processes_of_their_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    everything, ours = run(monkeypatch)
    # utcp, kernel TCP, aioquic (fails, and is left out from then on), aiokcp, utcp, kernel TCP, aiokcp, ...
    assert [each["speed"] for each in everything.rounds["utcp"]] == [30.0, 34.0]
    assert [each["speed"] for each in everything.rounds["kernel_tcp"]] == [11.0, 15.0]
    assert [each["speed"] for each in everything.rounds["aiokcp"]] == [5.0, 8.0]
    assert [each["speed"] for each in ours.rounds["utcp"]] == [37.0, 38.0]
    assert ours.rounds.keys() == {"utcp"}
    found = [each["process"] for one in (everything, ours) for measured in one.rounds.values() for each in measured]
    assert len(set(found)) == len(found)

    assert everything.absent == {"aioquic": "failed: no such thing"}
    assert ours.absent == {"kernel_tcp": "it cannot"}
    assert [each["seen"] for each in [*everything.rounds["utcp"], *everything.rounds["aiokcp"]]] == [9, 9, 1, 1]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "speeds, all, asyncio, one process: round 1 of 2: utcp 30.0, kernel_tcp 11.0, aiokcp 5.0 speed"
    assert len(lines) == 4


def test_peers_may_be_left_out_or_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "run", lambda measured, trial: measured(trial))
    everything, _ = run(monkeypatch, peers=False)
    assert everything.absent == {"aioquic": "not asked for", "aiokcp": "not asked for"}

    absent = Stack(STACKS["utcp"].serve, STACKS["utcp"].dial, lambda: "it is not installed")
    monkeypatch.setattr(rounds, "find", lambda _: absent)
    with Progress(1) as progress:
        (everything, _) = rounds.run(plan(), progress)
    assert set(everything.absent.values()) == {"it is not installed"}


def test_what_a_peer_measured_before_it_failed_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(_: object, trial: Trial) -> Figures:
        if trial.stack == "aiokcp" and trial.serial >= 4:
            raise TimeoutError
        return {"speed": float(trial.serial)}

    monkeypatch.setattr(processes, "run", measured)
    everything, _ = run(monkeypatch)
    assert everything.rounds["aioquic"] == [{"speed": 2.0}, {"speed": 6.0}]
    assert everything.rounds["aiokcp"] == [{"speed": 3.0}]
    assert everything.ratio("speed", "aiokcp") == 0.0  # of the round that both have
    reason = "failed in round 2: it was not over in time (TimeoutError)"
    assert everything.absent == {"aiokcp": reason}
    assert report.absences([everything]) == [f"aiokcp is not measured in all rounds (all): {reason}"]


def test_a_failure_of_ours_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(rounds.TrialFailed, match=r"^speeds, all, asyncio, one process: utcp: it broke$"):
        run(monkeypatch, fails=1)


def test_no_two_trials_have_one_address() -> None:
    hosts = [Trial("utcp", "asyncio", 1, {}, serial).host for serial in range(2000)]
    assert len(set(hosts)) == 2000
    assert all(1 <= int(octet) <= 250 for host in hosts for octet in host.split(".")[3:])


# ---------------------------------------------------------------------- figures


def test_ratios_are_of_each_round() -> None:
    found = outcome([10.0, 30.0, 90.0], [10.0, 10.0, 100.0])
    assert found.ratios("speed") == [1.0, 3.0, 0.9]
    assert found.ratio("speed") == 1.0  # of the medians it would be 3
    assert found.median("utcp", "speed") == 30.0
    assert found.ratio("speed", "aioquic") is None


def test_what_a_round_does_not_tell_has_no_median() -> None:
    found = outcome([10.0, None], [10.0, 0.0])
    assert found.median("utcp", "speed") is None
    assert found.ratios("speed") == [1.0]


def test_goals_find_their_values() -> None:
    group = [outcome([1.0], [2.0], "first"), outcome([8.0], [2.0], "second")]
    assert ratio("speed")(group) == 0.5
    assert ratio("speed", "second")(group) == 4.0
    assert speed("speed", "second")(group) == 0.25
    assert figure("speed", "second")(group) == 8.0
    assert ratio("speed", "third")(group) is None
    assert speed("speed", "third")(group) is None


def test_nearest_rank() -> None:
    assert [percentile([4.0, 1.0, 3.0, 2.0], percent) for percent in (25, 50, 51, 99.9)] == [1.0, 2.0, 3.0, 4.0]


def test_a_time_that_could_not_be_measured_has_no_speed() -> None:
    """A processor time of zero, on a clock that is too coarse."""
    assert outcome([0.0, 2.0], [1.0, 1.0]).speeds("speed") == [0.5]
    assert per(1.0, 0) is None


def test_verdicts() -> None:
    more = Goal("", ratio("speed"), aims(1.5, 3.0))
    less = Goal("", ratio("speed"), aims(300, 150), better="lower")
    found = [report.verdict(more, Aim(1.5, 3.0), value) for value in (3.0, 2.9, 1.5, 1.4)]
    assert found == ["goal", "must", "must", "missed"]
    found = [report.verdict(less, Aim(300, 150), value) for value in (150, 151, 300, 301)]
    assert found == ["goal", "must", "must", "missed"]


def test_the_table_of_goals_judges_one_process() -> None:
    case = Case("one", {})
    outcomes = [
        Outcome(case, loop, processes, {"utcp": [{"speed": 30.0}], "kernel_tcp": [{"speed": 10.0}]}, {})
        for loop in ("asyncio", "uvloop")
        for processes in (1, 2)
    ]
    compiled = page.goals([(BENCH, outcomes)], "compiled")
    assert compiled == [
        ["", "asyncio", "uvloop", "asyncio, two processes", "uvloop, two processes"],
        ["faster", "3.00x *must* (2.00x, 4.00x)", "3.00x *goal* (1.00x, 2.00x)", "3.00x", "3.00x"],
        ["few", "-", "-", "-", "-"],
    ]


def test_interpreted_utcp_has_aims_of_its_own() -> None:
    measured: dict[str, Sequence[Figures]] = {"utcp": [{"speed": 3.0, "seen": 9.0}], "kernel_tcp": [{"speed": 1.0}]}
    assert page.goals([(BENCH, [Outcome(Case("one", {}), "asyncio", 1, measured, {})])], "interpreted") == [
        ["", "asyncio"],
        ["faster", "3.00x"],
        ["few", "9 *goal* (10)"],
    ]


def test_a_bench_that_fails_leaves_the_others_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(plan: Plan, _: Progress) -> list[Outcome]:
        if plan.bench.name == "closes":
            raise rounds.TrialFailed("closes: it broke")
        return [outcome([30.0], [10.0])]

    monkeypatch.setattr(rounds, "run", fail)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(sys, "argv", ["bench", "all", "--only", "closes", "--only", "churn", "--into", str(tmp_path)])
    with pytest.raises(SystemExit) as exit_info:
        command.main()
    assert exit_info.value.code == "python -m bench: closes: it broke"
    text = (tmp_path / "performance.md").read_text()
    assert "Not measured: closes: it broke" in text
    assert "### churn: asyncio, both ends in one process" in text
    assert "no plots: matplotlib is not installed" in capsys.readouterr().err


# ---------------------------------------------------------------------- the command


def first_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    command.main()
    return capsys.readouterr().out.splitlines()[0]


def test_the_first_line_says_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The usual measurement's time is known, any other's is not."""
    monkeypatch.setattr(rounds, "run", lambda *_: [outcome([30.0], [10.0])])
    churn = registry.load("churn")
    assert first_line(monkeypatch, capsys, "churn", "--rounds", "2").endswith(
        f", asyncio; about {2 * churn.seconds:.0f} seconds on two CPUs"
    )
    assert first_line(monkeypatch, capsys, "churn", "--loop", "both", "--processes", "both", "--rounds", "60").endswith(
        f" and uvloop; about {churn.seconds * 4:.0f} minutes on two CPUs"
    )
    assert first_line(monkeypatch, capsys, "churn", "--connections", "9").endswith(", asyncio")
    assert first_line(monkeypatch, capsys, "churn", "--quick").endswith(", asyncio")


def test_all_prints_the_goals_and_writes_nothing_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[object] = []
    for writer in (page, plot):
        monkeypatch.setattr(writer, "write_output" if writer is page else "save", lambda *a, **_: written.append(a))
    monkeypatch.setattr(rounds, "run", lambda *_: [outcome([30.0], [10.0])])
    monkeypatch.setattr(sys, "argv", ["bench", "all", "--only", "churn"])
    monkeypatch.chdir(tmp_path)
    command.main()
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()[2:]] == [
        "",
        *(goal.label for goal in registry.load("churn").goals),
    ]
    assert written == []
    assert list(tmp_path.iterdir()) == []
