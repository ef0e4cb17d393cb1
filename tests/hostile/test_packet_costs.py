"""What a packet costs does not depend on how many connections there are: counted, not timed."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from bench.packets import KINDS, Server, main
from utcp.tcp import COMPILED

FEW, MANY = 10, 1000
PACKETS = 20
"""Each target and each variant of a kind has its turn."""


@pytest.fixture(scope="module")
def servers() -> tuple[Server, Server]:
    return Server(FEW), Server(MANY)


def steps(call: Callable[[], object]) -> int:
    """How many bytecodes `call` runs, and how many calls of C functions it makes. A walk takes some for each item."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        count += event == "opcode"
        return trace

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "c_call"

    traced, profiled = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(profiled)
        sys.settrace(traced)
    return count


@pytest.mark.skipif(COMPILED, reason="what compiled code does is not counted")
@pytest.mark.parametrize("name", KINDS)
def test_a_packet_takes_as_many_steps_with_1000_connections_as_with_10(
    servers: tuple[Server, Server], name: str
) -> None:
    def cost(server: Server) -> int:
        arrivals = [KINDS[name](server, number) for number in range(PACKETS)]

        def arrive() -> None:
            for arrival in arrivals:
                server.now += 0.001
                arrival(server.now)
            server.flush()

        return steps(arrive)

    for _ in range(2):  # CPython may trace a function from its second call on
        few, many = map(cost, servers)
    assert few / 1.05 < many < few * 1.05


def test_the_benchmark_shows_each_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "packets.json"
    main(["--connections", "10", "20", "--packets", "1", "--json", str(result)])
    table = capsys.readouterr().out
    costs = json.loads(result.read_text())["seconds_per_packet"]
    assert costs.keys() == KINDS.keys()
    assert all(name in table and len(each) == 2 for name, each in costs.items())
