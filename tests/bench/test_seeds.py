"""What a search over seeds costs, counted: calls of Python functions."""

import sys
from types import FrameType
from typing import Any

import pytest

from bench import seeds
from tests.variant import interpreted_only


def calls(stack: str, seed: int) -> int:
    """Return the number of calls of Python functions in the run of a seed, the creation of its network included."""
    count = 0

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        seeds.run(stack, [seed])
    finally:
        sys.setprofile(None)
    return count


@interpreted_only
@pytest.mark.parametrize(("stack", "most"), [("asyncio", 6500), ("utcp", 4250)])
def test_a_seed_is_some_thousand_calls(stack: str, most: int) -> None:
    """1,000 seeds take 25 seconds with two processes."""
    seeds.run(stack, [0])  # imports, and searches the modules for what is replaced
    assert most * 0.8 < calls(stack, 1) <= most


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.seeds", "--seeds=4", "--processes=2"])
    seeds.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(":")[0] for line in lines] == [
        f"4 seeds over {stack}, 2 processes" for stack in ("asyncio", "utcp")
    ]
