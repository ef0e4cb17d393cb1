"""Thousands of connections over a bad path, closed in every order: every byte right, every connection gone."""

from tests.testing.storm import Order, Storm
from utcp.tcp import COMPILED
from utcp.testing import Network

CONNECTIONS = 5000 if COMPILED else 1500
"""More would take longer and show nothing else: `python -m tests.testing.storm 10000`."""


def test_thousands_of_connections(simnet: Network) -> None:
    simnet.keep_trace = False
    outcome = simnet.run(Storm(simnet, CONNECTIONS).run())
    assert outcome.errors == []
    assert outcome.wrong == []
    assert outcome.answered == CONNECTIONS
    assert all(outcome.orders[order.name] > CONNECTIONS / 5 for order in Order)
    assert len(outcome.stacks) == 2
    for stack in outcome.stacks:
        assert not stack.connections
        assert not stack.time_wait
        assert stack.next_timeout() is None
        assert stack.counters.retrans_segs > CONNECTIONS / 10  # the path was bad indeed
        assert stack.counters.time_waits > CONNECTIONS / 4  # either side was the first to close
        assert stack.counters.estab_resets == 0
    client_to_server = simnet.path(simnet.hosts["client"], simnet.hosts["server"]).counts
    assert 0.04 < client_to_server["lost"] / client_to_server["sent"] < 0.06
    assert 0.015 < client_to_server["duplicated"] / client_to_server["sent"] < 0.025
