"""Two stacks, random users, and a third party that forges segments: what must hold whatever it sends.

Others, and more of them: `python -m tests.properties.long --forged 20000`.
"""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.properties import forgery
from tests.properties.machine import ForgedSegments

ASKED = os.environ.get("UTCP_EXAMPLES")

PROFILE = settings(
    derandomize=ASKED is None,
    database=None,
    deadline=None,
    max_examples=int(ASKED or 60),
    stateful_step_count=50,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


@pytest.mark.timeout(0 if ASKED else 1000)
@pytest.mark.defect(57)
def test_the_state_machine() -> None:
    run_state_machine_as_test(ForgedSegments, settings=PROFILE)


@pytest.mark.defect(49, 57)
@pytest.mark.parametrize("seed", [1261, 702656])
def test_two_window_probes_that_cross_come_to_rest(seed: int) -> None:
    """Both windows seem closed, both ends have the other's probe, and each ACK stands one octet before RCV.NXT, where a
    keepalive probe does: its ACK field has the news that ends it."""
    forgery.run(seed)


@pytest.mark.defect(57)
def test_seeds() -> None:
    """Short lives, led by seeds alone."""
    segments = users = true = whole = 0
    for seed in range(400):
        world = forgery.run(seed)
        segments += len(world.forged)
        users += len(world.users)
        true += sum(world.reads_are_true(user) for user in world.users)
        whole += sum(world.delivers_all(user) for user in world.users)
    # Much was forged, and enough of it in vain: what that must not change was checked.
    assert segments > 4000
    assert users > true > whole > 200
