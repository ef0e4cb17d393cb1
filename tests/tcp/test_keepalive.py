"""Keepalive (RFC 9293 3.8.4)."""

from typing import Any

import pytest

from tests.tcp.pair import Pair
from tests.tcp.reach import established, fin_wait_2
from tests.tcp.script import Script
from utcp.config import Config
from utcp.errors import KeepaliveTimedOut
from utcp.tcp.state import CLOSED, ESTABLISHED, FIN_WAIT_2
from utcp.wire import encode

KNOBS: dict[str, Any] = {
    "keepalive": True,
    "keepalive_idle": 10.0,
    "keepalive_interval": 2.0,
    "keepalive_count": 3,
}
PROBE = ". 0:0 ack 1"
"""SEQ = SND.NXT - 1: the peer has that octet, and answers with an ACK."""


def alive(**knobs: Any) -> Script:
    return established(**KNOBS, **knobs)


@pytest.mark.defect(100)
def test_by_default_a_dead_peer_is_known_within_two_minutes() -> None:
    t = established(keepalive=Config().keepalive)
    for time in (60, 70, 80, 90, 100):
        t.sends_at(time, PROBE)
    t.advance(10.1)
    t.drain()
    assert isinstance(t.error, KeepaliveTimedOut)
    assert t.time < 120


@pytest.mark.defect(100)
def test_of_two_idle_ends_one_probes_at_a_time() -> None:
    """A probe is a sign of life of its sender."""
    pair = Pair(keepalive=True, keepalive_idle=60.0)
    pair.established()
    sent = sum(pair.counts.values())
    pair.run_for(3600)
    assert sum(pair.counts.values()) - sent <= 2 * 60


@pytest.mark.defect(100)
def test_probe_of_the_peer_puts_ours_off() -> None:
    t = alive()
    t.sends_at(10, PROBE)
    t.advance(1)
    t.receives(". 0:0 ack 1")
    t.sends(". 1:1 ack 1")
    t.sends_at(21, PROBE)


@pytest.mark.rfc9293("MAY-5", "MUST-27", "SHLD-12")
def test_idle_connection_is_probed_without_data() -> None:
    t = alive()
    (probe,) = t.sends_at(10, PROBE)
    assert probe.payload == b""


def test_answered_probe_begins_a_new_idle_time() -> None:
    t = alive()
    t.sends_at(10, PROBE)
    t.receives(". 1:1 ack 1")
    t.sends_at(20, PROBE)
    t.receives(". 1:1 ack 1")
    t.sends_at(30, PROBE)
    assert t.state == ESTABLISHED


@pytest.mark.rfc9293("MUST-29")
def test_one_unanswered_probe_is_no_proof() -> None:
    t = alive()
    t.sends_at(10, PROBE)
    t.sends_at(12, PROBE)
    t.receives(". 1:1 ack 1")
    t.sends_at(22, PROBE)
    assert t.state == ESTABLISHED


def test_unanswered_probes_end_the_connection() -> None:
    t = alive()
    for time in (10, 12, 14):
        t.sends_at(time, PROBE)
    t.advance(1.9)
    assert t.state == ESTABLISHED
    t.drain()
    t.advance(0.2)
    t.drain()
    assert t.state == CLOSED
    assert isinstance(t.error, KeepaliveTimedOut)
    assert t.stack.next_timeout() is None


@pytest.mark.rfc9293("MUST-26")
def test_what_arrives_puts_the_probe_off() -> None:
    t = alive()
    t.advance(6)
    t.receives("P. 1:101 ack 1")
    t.sends_after(0.04, ". 1:1 ack 101")
    t.silent_for(9.9)
    t.sends_at(16, ". 0:0 ack 101")


@pytest.mark.rfc9293("MUST-26")
def test_the_probe_is_put_off_no_further_than_that() -> None:
    """Also where probes are further apart than the idle time: a NAT on the way waits for no one."""
    t = established(keepalive=True, keepalive_idle=10.0, keepalive_interval=75.0)
    t.advance(9)
    t.receives("P. 1:101 ack 1")
    t.sends_after(0.04, ". 1:1 ack 101")
    t.sends_at(19, ". 0:0 ack 101")


def test_the_probe_after_data_that_was_outstanding() -> None:
    t = established(keepalive=True, keepalive_idle=10.0, keepalive_interval=75.0)
    t.advance(9.9)
    t.write(100)
    t.sends("P. 1:101 ack 1")
    t.advance(0.15)
    t.receives(". 1:1 ack 101")
    t.sends_at(20.05, ". 100:100 ack 1")


def expires_with(line: str) -> Script:
    """The keepalive timer expires, and this segment arrives before anything is sent."""
    t = alive(delayed_ack=0.0)
    t.now = t.start + 10
    t.stack.handle_timeout(t.now)
    t.stack.receive_datagram(encode(t.flow.segment(line)), t.flow.remote, t.now)
    return t


@pytest.mark.defect(59)
@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("F. 1:1 ack 1", ". 1:1 ack 2"),
        ("P. 1:101 ack 1", ". 1:1 ack 101"),
        ("P. 101:201 ack 1", ". 1:1 ack 1"),
    ],
)
def test_ack_that_is_owed_when_the_timer_expires_is_no_probe(line: str, answer: str) -> None:
    """The peer has just been heard of. It would drop an ACK with the SEQ of a probe."""
    t = expires_with(line)
    t.sends(answer)
    assert t.stack.counters.keepalives == 0


@pytest.mark.defect(59)
def test_peer_that_speaks_when_the_timer_expires_is_not_probed() -> None:
    t = expires_with(". 1:1 ack 1")
    t.silent()
    t.sends_at(20, PROBE)
    assert t.stack.counters.keepalives == 1


@pytest.mark.defect(59)
def test_challenge_that_is_owed_when_the_timer_expires_leaves_beside_the_probe() -> None:
    """What is not acceptable proves nothing of the peer."""
    t = expires_with("S 5000:5000")
    t.sends(". 1:1 ack 1", PROBE)


@pytest.mark.defect(59)
def test_data_that_leaves_when_the_timer_expires_replaces_the_probe() -> None:
    t = alive()
    t.now = t.start + 10
    t.stack.handle_timeout(t.now)
    t.write(100)
    t.sends("P. 1:101 ack 1")


@pytest.mark.rfc9293("MUST-26")
def test_no_probe_while_data_is_outstanding() -> None:
    """MUST-26: retransmission does that work."""
    t = alive()
    t.advance(9.9)
    t.write(100)
    t.sends("P. 1:101 ack 1")
    for segment in _everything_for(t, 60):
        assert segment.payload


def _everything_for(t: Script, seconds: float) -> list[Any]:
    t.advance(seconds)
    return t.drain()


@pytest.mark.rfc9293("MUST-24")
def test_turned_on_and_off_by_the_user() -> None:
    t = established(**{**KNOBS, "keepalive": False})
    t.keepalive = True
    t.connection.set_keepalive(True, t.now)
    t.sends_at(10, PROBE)
    t.receives(". 1:1 ack 1")
    t.connection.set_keepalive(False, t.now)
    t.silent_for(3600)


def test_half_closed_connection_is_probed() -> None:
    """FIN_WAIT_2 after a mere shutdown has no limit of its own: keepalive finds the dead peer."""
    t = fin_wait_2(half=True, **KNOBS)
    for time in (10, 12, 14):
        t.sends_at(time, ". 1:1 ack 1")
    assert t.state == FIN_WAIT_2
    t.advance(2.1)
    t.drain()
    assert t.state == CLOSED
    assert isinstance(t.error, KeepaliveTimedOut)


def test_probe_of_the_peer_is_answered() -> None:
    t = established()
    t.receives(". 0:0 ack 1")
    t.sends(". 1:1 ack 1")


def test_probe_with_a_garbage_octet_is_answered() -> None:
    """MAY-6: some stacks send one."""
    t = established()
    t.receives(". 0:1 ack 1")
    t.sends(". 1:1 ack 1")
    assert t.connection.readable == 0


def test_passive_connections_are_probed_too() -> None:
    t = established(passive=True, **KNOBS)
    t.sends_at(10, PROBE)


def test_turned_on_in_time_wait_it_does_nothing() -> None:
    """Known defect 34 by a side door: the user may hold a connection whose ports are in TIME_WAIT already."""
    t = established(keepalive_idle=1.0)
    t.shutdown()
    t.sends("F. 1:1 ack 1")
    t.receives(". 1:1 ack 2", "F. 1:1 ack 2")
    t.sends(". 2:2 ack 2")
    t.connection.set_keepalive(True, t.now)
    assert not t.connection.keepalive.enabled
    t.silent_for(3600)
    assert t.stack.next_timeout() is None


def test_turned_on_after_a_reset_it_leaves_nothing_behind() -> None:
    t = established()
    t.receives("R 1:1")
    t.connection.set_keepalive(True, t.now)
    assert t.stack.next_timeout() is None


def test_idle_peers_of_our_own_live_on_with_any_interval() -> None:
    """Keepalive probes are answered each, whatever rations the answers to other empty segments."""
    pair = Pair(lambda packet: (0.0,), keepalive=True, keepalive_idle=0.1, keepalive_interval=0.1, keepalive_count=3)
    near, far = pair.established()
    pair.run_for(30)
    assert near.state == far.state == ESTABLISHED
