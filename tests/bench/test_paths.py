"""bench.paths, run as a user runs it. How good the figures are is not tested here, only that they are ones."""

import json
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bench import kernel_path, machine, path_report, processes, simulated_path
from bench import paths as paths_module
from bench.fairness import Scenario, jain, scenarios, share
from bench.impairment import Lateness, Port, Relay
from bench.path_cells import CELLS, QUEUE20, Cell, Run, matching, seed_of
from utcp.tcp.congestion import CONTROLLERS
from utcp.testing import Network
from utcp.testing.path import Conditions
from utcp.testing.path import Path as NetworkPath

ROOT = Path(__file__).parents[2]
SLOW = Cell(10e6, 0.02)


def paths(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own command line
        [sys.executable, "-W", "error", "-m", "bench.paths", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


# ---------------------------------------------------------------------- cells


def test_the_grid_and_the_extra_rows() -> None:
    names = [cell.name for cell in CELLS]
    assert len(names) == len(set(names)) == 37
    assert {"10mbit/1ms/0%", "100mbit/20ms/0.1%", "100mbit/100ms/3%"} <= set(names)
    assert sum(name.endswith("/reorder") for name in names) == 3
    assert sum(name.endswith("/queue20") for name in names) == 3
    peculiar = {"20mbit/20ms/bloat", "20mbit/20ms/ack500k", "20mbit/20ms/policer", "20mbit/20ms/jitter10ms"}
    assert {"200mbit/50ms/bursts", "5mbit/300ms/0%", "20mbit/20ms/5%", *peculiar} <= set(names)


def test_queues() -> None:
    assert Cell(100e6, 0.1).queue == 833  # a bandwidth-delay product of packets of 1500 octets
    assert Cell(10e6, 0.001).queue == 20
    assert Cell(100e6, 0.1, kind=QUEUE20).queue == 20


def test_peculiar_paths() -> None:
    assert Cell(20e6, 0.02, kind="bloat").queue == 167  # 0.1 seconds of packets
    ack_path = Cell(20e6, 0.02, kind="ack500k")
    assert (ack_path.conditions.bandwidth, ack_path.ack_conditions.bandwidth) == (20e6, 500e3)
    policer = Cell(20e6, 0.02, kind="policer")
    assert policer.conditions.policer_burst == policer.queue * 1500 == 33 * 1500
    assert Cell(20e6, 0.02, kind="jitter10ms").conditions.jitter == 0.01
    bursts = Cell(200e6, 0.05, kind="bursts").conditions
    assert bursts.burst_start / (bursts.burst_start + bursts.burst_end) == pytest.approx(0.004, rel=0.01)
    assert SLOW.ack_conditions == SLOW.conditions


def test_chance_takes_several_seeds() -> None:
    assert len(Cell(10e6, 0.02).seeds) == 1
    assert len(Cell(10e6, 0.02, loss=0.01).seeds) == 3


def test_names_select_cells() -> None:
    assert [cell.name for cell in matching("100mbit/20ms/1%")] == ["100mbit/20ms/1%"]
    assert len(matching("20ms/1%")) == 2
    with pytest.raises(ValueError, match="no path is called '7ms'"):
        matching("7ms")


def test_jains_index() -> None:
    assert jain([5.0, 5.0]) == 1.0
    assert jain([8.0, 0.0]) == 0.5


def test_the_share_of_one_flow_among_others() -> None:
    assert share([6.0, 2.0, 3.0, 4.0], 0) == 2.0
    assert share([4.0, 4.0, 4.0, 2.0], 3) == 0.5


def test_one_flow_of_another_tcp_shares_with_three() -> None:
    fours = [scenario for scenario in scenarios(kernel=True) if scenario.odd is not None]
    assert len(fours) == 32
    for one, others in (
        ("utcp", "Linux"),
        ("Linux paced", "Linux"),
        ("Linux", "utcp"),
        ("Linux", "Linux paced"),
    ):
        found = [each for each in fours if each.flows[each.odd or 0][0] == one and (others, "cubic") in each.flows]
        assert {(each.queue, each.jitter, each.odd) for each in found} == {
            (queue, jitter, odd) for queue in (1, 4) for jitter in (0.0, 0.002) for odd in (0, 3)
        }
    assert all(len(each.flows) == 4 and 3 * each.stagger < 1 for each in fours)
    assert not any(each.real for each in scenarios(kernel=False))


def test_the_table_of_shares() -> None:
    run = Run((6.0, 2.0, 3.0, 4.0), 1, 0, 0, 0.002, 0.004, Lateness(0.0, 0.0001, 0.002))
    flows = (("utcp", "cubic"), *[("Linux", "cubic")] * 3)
    common = {"flows": flows, "queue": 4, "jitter": 0.002, "odd": 0, "jain": 0.9, "share": 2.0, "run": asdict(run)}
    result = {"machine": machine.describe(0.0), "commit": None, "kernel_skipped": None, "seconds": 45.0}
    lines = path_report.fairness(result | {"scenarios": [common]}).splitlines()
    row = ["utcp", "cubic,", "Linux", "cubic", "4", "BDP", "2", "ms", "first", "2.00*"]
    assert [*row, "6.00", "2.00", "3.00", "4.00", "2.0/4.0"] in [line.split() for line in lines]
    assert "* (1 of them): above 1.5 or below its inverse." in lines


def test_scenarios_have_the_queue_and_jitter_that_they_say() -> None:
    conditions = Scenario((("utcp", "cubic"),), queue=4, jitter=0.0).conditions
    assert (conditions.queue, conditions.jitter) == (4 * 67, 0.0)


# ---------------------------------------------------------------------- utcp


def test_the_simulation_gives_the_same_figures_again() -> None:
    conditions = Cell(10e6, 0.02, loss=0.01).conditions
    first, second, other = (simulated_path.run(conditions, ["newreno"], 2.0, seed) for seed in (1, 1, 2))
    assert first == second
    assert other != first
    assert first.lost > 0


def test_goodput_is_below_the_rate_and_near_it() -> None:
    run = simulated_path.run(SLOW.conditions, ["newreno"], 2.0, 1)
    assert 5.0 < run.mbit[0] <= 10 * 1440 / 1500
    assert run.lost == 0
    assert run.lateness is None


def test_how_long_packets_wait_in_the_queue() -> None:
    """CUBIC fills the queue of 20 packets, which take 24 ms to pass; a policer has none."""
    run = simulated_path.run(SLOW.conditions, ["cubic"], 2.0, 1)
    assert 0.005 < run.queue_delay < run.queue_delay_p95 <= 20 * 1500 * 8 / 10e6
    run = simulated_path.run(Cell(10e6, 0.02, kind="policer").conditions, ["cubic"], 2.0, 1)
    assert run.queue_delay == run.queue_delay_p95 == 0.0
    assert run.queue_full > 0


def test_the_path_of_acknowledgements_can_have_its_own_conditions() -> None:
    slow = Cell(10e6, 0.02).conditions
    without, narrow = (
        simulated_path.run(slow, ["cubic"], 2.0, 1, ack_conditions=conditions)
        for conditions in (None, Cell(50e3, 0.02).conditions)
    )
    assert 0 < narrow.mbit[0] < 0.9 * without.mbit[0]


def test_two_flows_share_one_path() -> None:
    run = simulated_path.run(SLOW.conditions, ["newreno", "newreno"], 3.0, 1, stagger=0.5)
    assert len(run.mbit) == 2
    assert min(run.mbit) > 0.5
    assert sum(run.mbit) < 11  # holes that are filled release what arrived before


def test_the_simulator_and_the_relay_draw_the_same_luck() -> None:
    lossy = Conditions(loss=0.3)
    network = Network(5, conditions=lossy)
    simulated = network.path(network.host("sender"), network.host("receiver"))
    path = NetworkPath(lossy, seed_of(5, "sender", "receiver"))
    assert [path.carry(12, 0.0) for _ in range(40)] == [simulated.carry(12, 0.0) for _ in range(40)]
    network.close()


# ---------------------------------------------------------------------- the relay


@pytest.fixture
def ends() -> Iterator[list[socket.socket]]:
    """Four ends of two wires: ours and the relay's, twice."""
    with ExitStack() as stack:
        both = [stack.enter_context(end) for _ in range(2) for end in kernel_path.wire()]
        for end in both:
            end.setblocking(False)
        yield both


def carry(relay: Relay, seconds: float) -> None:
    never, writer = os.pipe()
    try:
        assert not relay.run(never, seconds)
    finally:
        os.close(never)
        os.close(writer)


def packet(number: int, *, version: int = 4, protocol: int = socket.IPPROTO_TCP, to: str = "10.0.0.2") -> bytes:
    """An IP packet's header, as far as the relay looks at it, and a payload of 20 octets that end with its number."""
    addresses = socket.inet_aton("10.0.0.1") + socket.inet_aton(to)
    return bytes([version << 4 | 5, *bytes(8), protocol, 0, 0]) + addresses + bytes(19) + bytes([number])


def test_the_relay_treats_packets_as_the_path_does(ends: list[socket.socket]) -> None:
    """Each has the luck that it would have in the simulator; what is no TCP packet for a host takes none away."""
    sender, from_sender, receiver, to_receiver = ends
    lossy, seed = Conditions(loss=0.3), seed_of(5, "sender", "receiver")
    simulated, path = NetworkPath(lossy, seed), NetworkPath(lossy, seed)
    survivors = [number for number in range(40) if simulated.carry(12, 0.0)]
    assert 0 < len(survivors) < 40

    for number in range(40):
        sender.send(packet(number, protocol=socket.IPPROTO_UDP))
        sender.send(packet(number, version=6))
        sender.send(packet(number, to="10.0.0.7"))
        sender.send(packet(number))
    back = NetworkPath(Conditions(), 0)
    relay = Relay(Port("10.0.0.1", from_sender.fileno(), path), Port("10.0.0.2", to_receiver.fileno(), back))
    carry(relay, 0.5)

    assert [receiver.recv(100)[-1] for _ in survivors] == survivors
    with pytest.raises(BlockingIOError):
        receiver.recv(100)
    assert path.counts["sent"] == 40
    assert 0 <= relay.lateness.p50 <= relay.lateness.p99 <= relay.lateness.worst


def test_the_relay_counts_whole_packets(ends: list[socket.socket]) -> None:
    """Of packets of 40 octets, 1600 bits per second let five through in a second, and two in half of one."""
    sender, from_sender, receiver, to_receiver = ends
    path = NetworkPath(Conditions(bandwidth=1600), 0)
    back = NetworkPath(Conditions(), 0)
    for number in range(5):
        sender.send(packet(number))
    relay = Relay(Port("10.0.0.1", from_sender.fileno(), path), Port("10.0.0.2", to_receiver.fileno(), back))
    carry(relay, 0.5)
    assert [receiver.recv(100)[-1] for _ in range(2)] == [0, 1]
    with pytest.raises(BlockingIOError):
        receiver.recv(100)


def test_the_relay_stops_when_told(ends: list[socket.socket]) -> None:
    _, from_sender, receiver, to_receiver = ends
    path = NetworkPath(Conditions(), 0)
    relay = Relay(Port("10.0.0.1", from_sender.fileno(), path))
    receiver.send(b"that is all")
    assert relay.run(to_receiver.fileno(), 100.0)


# ---------------------------------------------------------------------- Linux


@pytest.fixture
def needs_linux() -> None:
    reason = kernel_path.unavailable(["reno"])
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.parametrize(
    ("lateness", "runs", "kept"),
    [([0.001], 1, 0.001), ([0.002, 0.001], 2, 0.001), ([0.004, 0.002, 0.003, 0.001], 3, 0.002)],
    ids=["punctual", "late once", "late always"],
)
def test_a_run_whose_relay_was_late_is_repeated(
    lateness: list[float], runs: int, kept: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Run] = []

    def run(*_: object, **__: object) -> Run:
        made.append(Run((1.0,), 1, 0, 0, lateness=Lateness(0.0, lateness[len(made)], 1.0)))
        return made[-1]

    monkeypatch.setattr(kernel_path, "run", run)
    assert paths_module.lateness_allowed(SLOW) == pytest.approx(0.0012)
    assert paths_module.measure_linux(SLOW, "cubic", 10.0, 1).p99 == kept
    assert len(made) == runs


@pytest.mark.usefixtures("needs_linux")
def test_linux_over_the_same_path() -> None:
    run = processes.run(kernel_path.run, SLOW.conditions, [(kernel_path.LINUX, "reno")], 1.5, 1)
    assert 0 < run.mbit[0] <= 10 * 1448 / 1500  # near the upper bound unless the machine is busy
    assert run.sent > 10
    assert run.lost == 0
    assert run.lateness is not None


@pytest.mark.usefixtures("needs_linux")
@pytest.mark.parametrize("linux", [kernel_path.LINUX, kernel_path.PACED_LINUX])
def test_utcp_and_linux_share_one_path(linux: str) -> None:
    flows = [(kernel_path.UTCP, "newreno"), (linux, "reno")]
    run = processes.run(kernel_path.run, SLOW.conditions, flows, 1.5, 1, 0.2)
    assert len(run.mbit) == 2
    assert min(run.mbit) > 0
    assert sum(run.mbit) < 12  # holes that are filled release what arrived before


# ---------------------------------------------------------------------- the command


@pytest.mark.long
def test_json(tmp_path: Path) -> None:
    file = tmp_path / "paths.json"
    done = paths("--only", "10mbit/20ms/1%", "--no-kernel", "--duration", "0.5", "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    progress = done.stderr.splitlines()
    assert progress[0] == "Linux is not measured: not asked for"
    assert len(progress) == 1 + 3 * len(CONTROLLERS)

    result = json.loads(file.read_text())
    assert result["machine"].keys() >= {"cpu", "kernel", "python"}
    (cell,) = result["cells"]
    assert cell["cell"] == "10mbit/20ms/1%"
    assert cell["Linux"] == {}
    assert cell["utcp"].keys() == CONTROLLERS.keys()
    for figures in cell["utcp"].values():
        assert [run["seed"] for run in figures["runs"]] == [1, 2, 3]
        assert figures["mbit"] == pytest.approx(statistics.fmean(run["mbit"][0] for run in figures["runs"]))


@pytest.mark.long
def test_table() -> None:
    done = paths("--only", "10mbit/1ms/0%", "--no-kernel", "--duration", "0.5")
    assert done.returncode == 0, done.stderr
    assert "Linux not measured: not asked for\n" in done.stdout
    assert "\n10mbit/1ms/0% " in done.stdout


def test_cells_below_the_goal_are_marked() -> None:
    lateness = {"p50": 0.0, "p99": 0.0001, "worst": 0.002}
    wait = {"queue_delay": 0.002, "queue_delay_p95": 0.004}
    longer = {"queue_delay": 0.0043, "queue_delay_p95": 0.006}  # 1.5 times, and 1.2 ms for a packet, would be 4.2
    linux: dict[str, Any] = {
        name: {"mbit": 5.0, "late": name == "bbr", **wait, "runs": [{"mbit": [5.0], "lateness": lateness}]}
        for name in ("cubic", "bbr")
    }
    utcp: dict[str, Any] = {
        name: {"mbit": mbit, **longer} for name, mbit in (("newreno", 3.0), ("cubic", 4.0), ("bbr", 4.5))
    }
    cells: list[dict[str, Any]] = [{"cell": SLOW.name, "queue": 20, "packet_time": 0.0012, "utcp": utcp, "Linux": {}}]
    path_report.take_kernel(cells, {"cells": [{"cell": "another"}, {"cell": SLOW.name, "Linux": linux}]})
    goals = {"cubic": 0.95, "bbr": 0.9}
    result: dict[str, Any] = {"machine": machine.describe(0.0), "commit": None, "kernel_skipped": None, "cells": cells}
    result |= {"goals": goals, "queue_goals": {"bbr": 1.5}}
    lines = path_report.goodput(result, ["bbr", "cubic", "newreno"], ["cubic", "bbr"]).splitlines()
    cubic = ["4.00", "5.00", "0.80*", "4.3/6.0", "2.0/4.0"]
    bbr = ["4.50", "5.00~", "0.90", "4.3/6.0!", "2.0/4.0"]
    assert lines[4].split() == [SLOW.name, "20", *cubic, *bbr, "3.00", "4.3/6.0"]
    assert "! (1 of them): a mean wait above the goal: 1.5 times Linux's with bbr, and a packet's time." in lines
    assert "* (1 of them): below the goal, as a share of Linux's: 95% with cubic, 90% with bbr." in lines
    assert "~ (1 of them): the relay was late for want of CPU time; measure again." in lines
    assert any(line.startswith("The relay was at most 0.10 ms late") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--only", "7ms"], "argument --only: no path is called '7ms': a name is like 100mbit/100ms/reorder"),
        (["--duration", "0"], "argument --duration: must be seconds, above 0 and up to 3600, not '0'"),
        (["--duration", "long"], "argument --duration: must be seconds, above 0 and up to 3600, not 'long'"),
        (["--jobs", "0"], "argument --jobs: must be a whole number, 1 or more, not '0'"),
        (["--json", "no/such/place"], "argument --json: there is no directory no/such"),
        (["--json", "bench"], "argument --json: bench is a directory"),
        (["--kernel-from", "none.json"], "argument --kernel-from: there is no file none.json"),
        (["fairness", "--only", "20ms"], "fairness has its own paths: --only and --kernel-from are not for it"),
        (["unfairness"], "argument what: invalid choice: 'unfairness'"),
    ],
)
def test_bad_arguments(
    arguments: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.paths", *arguments])
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as exit_info:
        paths_module.main()
    assert exit_info.value.code == 2
    out, err = capsys.readouterr()
    assert complaint in err.splitlines()[-1]
    assert out == ""
