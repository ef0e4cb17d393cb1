"""Transitions that do not exist, and connections that wait for the next flush."""

import pytest

from tests.tcp.reach import established
from tests.tcp.script import SECRET, START
from utcp.tcp.stack import Stack
from utcp.tcp.state import CLOSED, LAST_ACK, IllegalTransition, check


def test_an_illegal_transition_is_called_by_its_states() -> None:
    with pytest.raises(IllegalTransition, match=r"^CLOSED -> LAST_ACK is not a transition of TCP$"):
        check(CLOSED, LAST_ACK)


def test_a_connection_waits_for_the_flush_once() -> None:
    t = established()
    for _ in range(3):
        t.connection.send(b"text")
    assert list(t.stack.output) == [t.connection]


def test_the_mss_is_that_of_the_path_to_this_peer() -> None:
    payloads = {"near": 1472, "far": 1232}
    stack = Stack(secret=SECRET, mtu=lambda remote: payloads[str(remote)])
    for remote, payload in payloads.items():
        assert stack.connect(remote, 80, START).receive_mss == payload - 20
