"""The tables of speeds in README.md and bench/README.md."""

import json
from pathlib import Path
from typing import Any

from bench import summary
from bench.registry import NAMES, load


def result(variant: str, python: str, ratios: dict[tuple[str, int], float]) -> dict[str, Any]:
    """A recorded result of churn alone: the ratio on each loop with each number of processes."""
    outcomes = [
        {
            "case": "100 at a time",
            "parameters": {},
            "loop": loop,
            "processes": processes,
            "rounds": {
                "utcp": [{"connections_per_second": 100 * ratio}],
                "kernel_tcp": [{"connections_per_second": 100.0}],
            },
            "absent": {},
        }
        for (loop, processes), ratio in ratios.items()
    ]
    machine = {"utcp": variant, "python": f"CPython {python}", "cpu": "a CPU", "cpus": 2, "kernel": "Linux 6"}
    return {"machine": machine | {"uvloop": "0.22"}, "results": [{"benchmark": "churn", "outcomes": outcomes}]}


def recorded(directory: Path, *results: dict[str, Any]) -> list[summary.Recording]:
    for number, each in enumerate(results):
        (directory / str(number)).mkdir()
        (directory / str(number) / "performance.json").write_text(json.dumps(each))
    return summary.recordings(directory)


BOTH = [("asyncio", 1), ("uvloop", 1), ("asyncio", 2), ("uvloop", 2)]


def test_compiled_and_newest_come_first(tmp_path: Path) -> None:
    ratios = dict.fromkeys(BOTH, 1.0)
    found = recorded(
        tmp_path,
        result("interpreted", "3.13.0", ratios),
        result("compiled", "3.9.1", ratios),
        result("compiled", "3.13.0", ratios),
    )
    assert [(each.variant, each.python) for each in found] == [
        ("compiled", "3.13"),
        ("compiled", "3.9"),
        ("interpreted", "3.13"),
    ]


def test_the_front_page_has_the_default_install_and_says_where_the_kernel_is_faster(tmp_path: Path) -> None:
    mixed = dict(zip(BOTH, (2.0, 0.5, 0.1, 0.2), strict=True))
    interpreted = result("interpreted", "3.13.0", dict.fromkeys(BOTH, 9.0))
    assert summary.front(recorded(tmp_path, result("compiled", "3.13.0", mixed), interpreted)).splitlines() == [
        "",
        "|  | asyncio, Python 3.13 | uvloop, Python 3.13 |",
        "| --- | ---: | ---: |",
        "| opening, echo and closing | 2.00 / 0.10 | 0.50 / 0.20 |",
        "",
        "Kernel TCP is faster in some cases at *opening, echo and closing*.",
        "",
    ]


def test_the_front_page_where_the_kernel_is_always_faster(tmp_path: Path) -> None:
    slower = recorded(tmp_path, result("compiled", "3.13.0", dict.fromkeys(BOTH, 0.9)))
    assert "Kernel TCP is faster in all cases at *opening, echo and closing*." in summary.front(slower)


def test_the_front_page_where_it_is_not(tmp_path: Path) -> None:
    faster = recorded(tmp_path, result("compiled", "3.13.0", dict.fromkeys(BOTH, 1.0)))
    assert "Kernel TCP is faster at none of these." in summary.front(faster)


def test_the_details_have_each_recording_in_one_process_and_in_two(tmp_path: Path) -> None:
    one, two = dict(zip(BOTH, (2.0, 1.9, 1.8, 1.7), strict=True)), dict(zip(BOTH[:2], (0.7, 0.6), strict=True))
    found = recorded(tmp_path, result("compiled", "3.13.0", one), result("interpreted", "3.13.0", two))
    lines = summary.details(found).splitlines()
    heads = [f"{variant}, 3.13, {loop}" for variant in ("compiled", "interpreted") for loop in ("asyncio", "uvloop")]
    assert lines[3] == f"|  | {' | '.join(heads)} |"
    assert [line for line in lines if line.startswith("| opening")] == [
        "| opening, echo and closing | 2.00 | 1.90 | 0.70 | 0.60 |",
        "| opening, echo and closing | 1.80 | 1.70 | - | - |",
    ]
    assert lines[-2] == "Measured on a CPU, 2 CPUs, Linux 6, uvloop 0.22."


def test_the_pages_are_those_of_the_recorded_results() -> None:
    for page, text in summary.pages():
        assert page.read_text() == text, f"{page.name}: `python -m bench.summary` writes it anew"


def test_each_bench_with_speeds_is_recorded() -> None:
    wanted = {name for name in NAMES if any(goal.speed for goal in load(name).goals)}
    for each in summary.recordings():
        assert wanted <= set(each.outcomes)
