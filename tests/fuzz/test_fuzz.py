"""A fixed number of fuzzing runs: the seeds that are kept, hypothesis's octets, and atheris where it is installed."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, receive_datagrams
from tests.variant import interpreted_only
from utcp.tcp.connection import Connection
from utcp.tcp.receive import ReceiveSide
from utcp.tcp.stack import Stack
from utcp.tcp.time_wait import TimeWaitTable
from utcp.tcp.transmit import Remote
from utcp.wire import RST, Segment

CORPUS = Path(__file__).parent / "corpus"
SEEDS = sorted(path for path in CORPUS.rglob("*") if path.is_file())
ROOT = Path(__file__).parents[2]

RUNS = {"captures": 50, "decode": 100_000, "stack": 4_000}
"""Of atheris: about five seconds each."""

EXAMPLES = {"captures": 200, "decode": 1_000, "stack": 1_000}
"""Of hypothesis."""


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"{seed.parent.name}-{seed.name[:8]}")
def test_seeds(seed: Path) -> None:
    TARGETS[seed.parent.name](seed.read_bytes())


def test_every_target_has_seeds() -> None:
    assert {seed.parent.name for seed in SEEDS} == set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_octets_of_hypothesis(target: str) -> None:
    @settings(max_examples=EXAMPLES[target], deadline=None)
    @given(data=st.binary(max_size=300))
    def run(data: bytes) -> None:
        TARGETS[target](data)

    run()


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed: pip install '.[fuzz]'")
@pytest.mark.parametrize("target", TARGETS)
def test_atheris(target: str, tmp_path: Path) -> None:
    found = tmp_path / "found"
    found.mkdir()
    options = [f"-runs={RUNS[target]}", "-seed=1", "-max_len=300", f"-artifact_prefix={tmp_path}/"]
    command = [sys.executable, "-m", "tests.fuzz", target, *options, str(found), str(CORPUS / target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)  # noqa: S603
    artifacts = [f"{path.name}: {path.read_bytes().hex()}" for path in tmp_path.iterdir() if path.is_file()]
    assert done.returncode == 0, "\n".join([*artifacts, done.stderr[-4000:]])
    assert f"Done {RUNS[target]} runs" in done.stderr


def _reset_thrice(stack: Stack, remote: Remote, segment: Segment, now: float) -> None:
    for _ in range(3):
        stack.put(remote, Segment(segment.dst_port, segment.src_port, segment.ack, 0, RST), now)


def _offer_nothing(receive: ReceiveSide) -> int:
    receive.rcv_adv = receive.rcv_nxt
    return 0


BREAKAGES = {
    "one segment gets three": (Stack, "reset_in_reply", _reset_thrice),
    "the window takes back what it offered": (ReceiveSide, "acknowledge", _offer_nothing),
    "FIN_WAIT_2 goes on for ever": (Connection, "wait_for_fin", lambda connection, now: None),
    "TIME_WAIT never ends": (TimeWaitTable, "take_expired", lambda table, now: []),
}


@interpreted_only
@pytest.mark.parametrize("breakage", BREAKAGES)
def test_broken_promises_are_noticed(monkeypatch: pytest.MonkeyPatch, breakage: str) -> None:
    """The targets are worth running: a broken stack does not get through the seeds."""
    owner, name, replacement = BREAKAGES[breakage]
    monkeypatch.setattr(owner, name, replacement)

    def run() -> None:
        for seed in SEEDS:
            if seed.parent.name == "stack":
                receive_datagrams(seed.read_bytes())

    with pytest.raises(AssertionError):
        run()
