"""Reports of bench.paths for readers."""

from collections.abc import Sequence
from typing import Any, Final

from . import machine, table
from .kernel_path import LINUX, UTCP

GOALS: Final = {"cubic": 0.95, "bbr": 0.95}
"""Minimum acceptable share of Linux's goodput, over the same path with the controller of the same name."""

QUEUE_GOALS: Final = {"bbr": 1.5}
"""Maximum acceptable mean queueing delay, as a multiple of Linux's. Not for loss-based controllers, which fill every
queue."""

QUEUE_SLACK: Final = 1.0
"""Additional allowance, packet times, because a multiple is meaningless where Linux's queue is empty."""

SHARE_GOAL: Final = 1.5
"""Maximum acceptable ratio between one flow's rate and the mean of the three others, or its inverse."""

_TITLES: Final = {
    "paths": "Goodput over impaired paths",
    "fairness": "Flows that share a path",
}


def goodput(result: dict[str, Any], controllers: Sequence[str], kernels: Sequence[str]) -> str:
    """Return the table of cells; `kernels`, the controllers of Linux, come first, with a ratio."""
    compared = [name for name in kernels if name in controllers]
    alone = [name for name in controllers if name not in kernels]
    header = ["path (bandwidth/RTT/loss)", "queue"]
    for name in compared:
        header += [f"utcp {name}", f"Linux {name}", "ratio", "wait", "Linux's"]
    for name in alone:
        header += [f"utcp {name}", "wait"]
    rows = [header]
    below = above = late = 0
    for cell in result["cells"]:
        row = [cell["cell"], str(cell["queue"])]
        for name in compared:
            ours, theirs = cell[UTCP][name], cell[LINUX].get(name)
            row.append(table.number(ours["mbit"], 2))
            if theirs is None or not theirs["mbit"]:  # not measured, or too short for any data to arrive
                row += ["-", "-", _wait(ours), "-"]
                continue
            ratio = ours["mbit"] / theirs["mbit"]
            is_below = ratio < result["goals"].get(name, 1.0)
            is_above = _waits_too_long(result, cell, name)
            row.append(table.number(theirs["mbit"], 2) + ("~" if theirs["late"] else ""))
            row.append(f"{ratio:.2f}" + ("*" if is_below else ""))
            row += [_wait(ours) + ("!" if is_above else ""), _wait(theirs)]
            late += theirs["late"]
            below += is_below
            above += is_above
        for name in alone:
            row += [table.number(cell[UTCP][name]["mbit"], 2), _wait(cell[UTCP][name])]
        rows.append(row)
    notes = [
        "Mbit/s that the receiving application read; queue in packets.",
        "wait: milliseconds that a packet of data waited in the bottleneck's queue, mean / 95th percentile.",
    ]
    if any(cell[LINUX] for cell in result["cells"]):
        goals = ", ".join(f"{share:.0%} with {name}" for name, share in result["goals"].items())
        notes.append(f"* ({below} of them): below the goal, as a share of Linux's: {goals}.")
        queue_goals = ", ".join(f"{times:g} times Linux's with {name}" for name, times in result["queue_goals"].items())
        notes.append(f"! ({above} of them): a mean wait above the goal: {queue_goals}, and a packet's time.")
        notes.append(_relay([run for cell in result["cells"] for each in cell[LINUX].values() for run in each["runs"]]))
    if late:
        notes.append(f"~ ({late} of them): the relay was late for want of CPU time; measure again.")
    return _whole(result, table.render(rows), notes)


def _wait(figures: dict[str, Any]) -> str:
    """Return both figures of the queueing delay, or a dash for results without them."""
    if "queue_delay" not in figures:
        return "-"
    return f"{1e3 * figures['queue_delay']:.1f}/{1e3 * figures['queue_delay_p95']:.1f}"


def _waits_too_long(result: dict[str, Any], cell: dict[str, Any], name: str) -> bool:
    ours, theirs = cell[UTCP][name], cell[LINUX][name]
    if name not in result["queue_goals"] or "queue_delay" not in theirs:
        return False
    slack = QUEUE_SLACK * cell["packet_time"]
    return bool(ours["queue_delay"] > result["queue_goals"][name] * theirs["queue_delay"] + slack)


def fairness(result: dict[str, Any]) -> str:
    """Return the table of scenarios with two flows, and that of those with four."""
    pairs = [["first and second flow", "first", "second", "Jain's index"]]
    fours = [["one flow and three others", "queue", "jitter", "starts", "shares", "one", "others", "", "", "wait"]]
    runs = []
    above = 0
    for scenario in result["scenarios"]:
        run, odd = scenario["run"], scenario["odd"]
        names = [f"{tcp} {controller}" for tcp, controller in scenario["flows"]]
        rates = [f"{mbit:.2f}" for mbit in run["mbit"]]
        if run["lateness"]:
            runs.append(run)
        if odd is None:
            pairs.append([", ".join(names), *rates, f"{scenario['jain']:.3f}"])
            continue
        name, rate = names.pop(odd), rates.pop(odd)
        unfair = not 1 / SHARE_GOAL <= scenario["share"] <= SHARE_GOAL
        above += unfair
        path = [f"{scenario['queue']} BDP", f"{1e3 * scenario['jitter']:g} ms", "last" if odd else "first"]
        shares = f"{scenario['share']:.2f}" + ("*" if unfair else "")
        fours.append([f"{name}, {names[0]}", *path, shares, rate, *rates, _wait(run)])
    text = table.render(pairs)
    notes = [f"Mbit/s over {result['seconds']:g} seconds after the last flow began."]
    if len(fours) > 1:
        text += "\n\n" + table.render(fours)
        notes.append(
            "shares: the rate of the one flow as a multiple of the mean of the three others, 1 when all are alike."
        )
        notes.append(f"* ({above} of them): above {SHARE_GOAL:g} or below its inverse.")
        notes.append("wait: milliseconds in the bottleneck's queue, mean / 95th percentile.")
    if runs:
        notes.append(_relay(runs))
    return _whole(result, text, notes)


def markdown(result: dict[str, Any], text: str) -> str:
    """Return the report as a page in Markdown."""
    command = "python -m bench.paths" + (" fairness" if result["benchmark"] == "fairness" else "")
    return "\n".join(
        [
            f"# {_TITLES[result['benchmark']]}",
            "",
            f"Written by `{command} --write`; [bench/README.md](../README.md#paths) says what is measured and how.",
            "",
            "```text",
            text,
            "```",
            "",
        ]
    )


def take_kernel(cells: list[dict[str, Any]], earlier: dict[str, Any]) -> None:
    """Copy Linux's figures from an `earlier` result into these cells."""
    known = {cell["cell"]: cell for cell in earlier["cells"]}
    for cell in cells:
        if cell["cell"] in known:
            cell[LINUX] = known[cell["cell"]][LINUX]


def _relay(runs: Sequence[dict[str, Any]]) -> str:
    p99 = max(run["lateness"]["p99"] for run in runs)
    worst = max(run["lateness"]["worst"] for run in runs)
    return (
        f"The relay was at most {1000 * p99:.2f} ms late for 99 % of the packets of any run,"
        f" {1000 * worst:.1f} ms for the latest packet of all."
    )


def _whole(result: dict[str, Any], text: str, notes: Sequence[str]) -> str:
    where = [machine.summary(result["machine"]), f"commit {result['commit'] or 'unknown'}"]
    if result["kernel_skipped"]:
        where.append(f"Linux not measured: {result['kernel_skipped']}")
    return "\n".join([*where, "", text, "", *notes])
