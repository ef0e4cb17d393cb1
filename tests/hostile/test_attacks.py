"""`python -m tests.hostile` in short: an innocent connection beside an attacker, each a process of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.__main__ import BEGIN, END, holds, main, row, write
from tests.hostile.arena import Arena, Result, Side
from tests.hostile.attacks import ALL, BY_NAME
from tests.interop import namespace

SECONDS = 0.8
MAX_STALL = 20.0
"""Seconds: machines that run tests are busy with others. `python -m tests.hostile` judges times, on a quiet machine."""


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with Arena("utcp", root=namespace.missing() is None) as arena:
        yield arena


@pytest.mark.parametrize("name", ["malformed", "syn-1000"])
def test_an_innocent_connection_goes_on(arena: Arena, name: str) -> None:
    attack = BY_NAME[name]
    if attack.forges and (reason := namespace.missing()):
        pytest.skip(reason)
    result = arena.suffer(attack, SECONDS, quiet=0.1)
    assert result.sent > 0
    assert result.attacked.longest < MAX_STALL
    assert None not in result.attacked.opens


SIDE = Side(0.001, 0.002, 0.003, [0.01, 1.01], None, 0.5, 0.01, 10_000_000, 1440)
RESULT = Result("syn-1000", "utcp", SIDE, SIDE, 1000, 2_500_000)


def changed(**values: object) -> Result:
    fields = {name: getattr(SIDE, name) for name in Side.__slots__}
    return Result("syn-1000", "utcp", SIDE, Side(**(fields | values)), 1000, 2_500_000)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({}, True),
        ({"longest": 0.26}, False),
        ({"p99": 0.0061}, False),
        ({"p99": 0.0049}, True),
        ({"opens": [0.01, 3.01]}, False),
        ({"opens": [0.01, None]}, False),
    ],
)
def test_what_holds(values: dict[str, object], verdict: bool) -> None:
    assert holds(changed(**values), BY_NAME["syn-1000"]) is verdict


def test_a_row_of_the_table() -> None:
    result = changed(p50=0.02, mss=492, opens=[0.01, 1.01, None])
    assert row(result, BY_NAME["syn-1000"]) == [
        BY_NAME["syn-1000"].about,
        "utcp",
        "no",
        "1.00 → 20",
        "2.00 → 2.00",
        "3.00 → 3.00",
        "1 + 1 of 3",
        "10",
        "50",
        "2.5",
        "MSS 1440 → 492",
    ]


def test_the_table_replaces_what_stands_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    write(page, "new\n")
    assert page.read_text() == "new\n"
    page.write_text(f"before\n{BEGIN}old\n{END}after\n")
    write(page, "new\n")
    assert page.read_text() == f"before\n{BEGIN}new\n{END}after\n"


def test_an_unknown_attack_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["nonsense"])
    assert "there is no attack 'nonsense'" in capsys.readouterr().err


def test_every_attack_has_a_name_of_its_own() -> None:
    assert len(BY_NAME) == len(ALL)
