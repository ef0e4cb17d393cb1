"""What is counted is counted each time."""

from collections.abc import Callable

import pytest

from tests.tcp.reach import closing, established, fin_wait_1, last_ack, simultaneous_open, syn_rcvd, syn_sent
from tests.tcp.script import MSS, Script


def passive_opens(t: Script, port: int) -> None:
    t.flow_to(port, 80).receives(f"S 0:0 <mss {MSS}>")


def half_open_resets(t: Script, port: int) -> None:
    passive_opens(t, port)
    t.drain()
    t.flow_to(port, 80).receives("R 1:1")


def listening() -> Script:
    t = Script()
    t.listen()
    return t


def test_passive_opens() -> None:
    t = listening()
    for port in (50001, 50002, 50003):
        passive_opens(t, port)
        t.drain()
    assert t.stack.counters.passive_opens == 3
    assert t.stack.counters.attempt_fails == 0


def test_half_open_connections_that_vanish_are_failed_attempts_and_no_resets() -> None:
    t = listening()
    for port in (50001, 50002, 50003):
        half_open_resets(t, port)
    assert t.stack.counters.attempt_fails == 3
    assert t.stack.counters.estab_resets == 0


def test_refused_opens_are_failed_attempts() -> None:
    t = Script()
    for port in (50001, 50002, 50003):
        t.connect(local_port=port)
        t.sends("S 0:0")
        t.receives("R. 0:0 ack 1")
    assert t.stack.counters.attempt_fails == 3
    assert t.stack.counters.estab_resets == 0


@pytest.mark.parametrize("end", [lambda t: t.receives("R 1:1"), lambda t: t.abort()], ids=["theirs", "ours"])
def test_established_connections_that_are_reset(end: Callable[[Script], None]) -> None:
    t = Script()
    for port in (50001, 50002, 50003):
        t.connect(local_port=port)
        t.drain()
        t.receives(f"S. 0:0 ack 1 <mss {MSS}>")
        t.drain()
        end(t)
        t.drain()
    assert t.stack.counters.estab_resets == 3
    assert t.stack.counters.attempt_fails == 0


def test_challenge_acks() -> None:
    t = established()
    for _ in range(3):
        t.receives("S 5:5")
        t.sends(". 1:1 ack 1")
        t.advance(0.5)
    assert t.stack.counters.challenge_acks == 3


@pytest.mark.parametrize(("option", "answers"), [("nots", 0), ("ts 999", 1)])
def test_paws_drops(option: str, answers: int) -> None:
    t = established(options=f"mss {MSS},ts 1000")
    for _ in range(3):
        t.receives(f"P. 1:101 ack 1 <{option}>")
        assert len(t.drain()) == answers
    assert t.stack.counters.paws_drops == 3


@pytest.mark.parametrize("reach", [syn_sent, simultaneous_open, syn_rcvd])
def test_opens_given_up_are_failed_attempts(reach: Callable[[], Script]) -> None:
    t = reach()
    t.advance(2000)
    t.drain()
    assert t.stack.counters.attempt_fails == 1


@pytest.mark.parametrize("reach", [fin_wait_1, closing, last_ack])
def test_closes_given_up_are_resets(reach: Callable[[], Script]) -> None:
    t = reach()
    t.advance(2000)
    t.drain()
    assert t.stack.counters.estab_resets == 1
    assert t.stack.counters.out_rsts == 1
