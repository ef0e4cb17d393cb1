"""Two stacks, random users, a bad path: what must hold whatever happens.

Reproducible: the same examples and seeds each time. The compiled variant tries most of them (`tests.variant`). Others,
and more of them:
`python -m tests.properties.long 20000`, or with shrinking `UTCP_EXAMPLES=20000 python -m pytest tests/properties`.
"""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.properties import seeds
from tests.properties.machine import FlippedBits, TwoPeers
from tests.variant import examples, share

ASKED = os.environ.get("UTCP_EXAMPLES")

PROFILE = settings(
    derandomize=ASKED is None,
    database=None,
    deadline=None,
    stateful_step_count=50,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


@pytest.mark.timeout(0 if ASKED else 1000)
@pytest.mark.parametrize(("machine", "count"), [(TwoPeers, 200), (FlippedBits, 100)])
def test_the_state_machine(machine: type[RuleBasedStateMachine], count: int) -> None:
    run_state_machine_as_test(machine, settings=settings(PROFILE, max_examples=int(ASKED or examples(count))))


@pytest.mark.parametrize(("flips", "count"), [(0.0, 2000), (seeds.FLIPS, 1000)], ids=["honest", "flipped"])
def test_seeds(flips: float, count: int) -> None:
    """Thousands of short lives, led by seeds alone."""
    users = packets = 0
    mine = share(count)
    for seed in mine:
        world = seeds.run(seed, flips)
        users += len(world.users)
        packets += len(world.trace)
    # They are lives indeed, and not all the same.
    assert users > 3 * len(mine)
    assert packets > 20 * len(mine)
