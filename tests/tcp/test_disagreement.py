"""Two stacks that disagree about what was sent, because somebody forged a segment: their answers come to rest."""

import pytest

from tests.tcp.pair import Pair
from tests.tcp.reach import established
from utcp.tcp.connection import Connection
from utcp.wire import ACK, FIN, Segment, encode


def forge(p: Pair, victim: Connection, flags: int, payload: bytes = b"") -> None:
    """Somebody who sees everything sends `victim` the next segment of its peer, which its peer never sent."""
    receive, send = victim.receive_side, victim.send_side
    segment = Segment(
        victim.remote_port,
        victim.local_port,
        receive.rcv_nxt,
        send.snd_nxt,
        ACK | flags,
        65535,
        payload=payload,
        ts_val=receive.ts_recent if victim.timestamps else None,
        ts_ecr=victim.ts_now(p.now) if victim.timestamps else None,
    )
    (stack,) = (each for each in p.stacks.values() if victim in each.connections.values())
    stack.receive_datagram(encode(segment), victim.remote, p.now)


@pytest.mark.defect(57)
@pytest.mark.parametrize("delay", [0.0001, 0.01, 0.2, 0.4, 1.0, 3.0])
@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize(("flags", "payload"), [(0, b"x"), (FIN, b"")], ids=["text", "FIN"])
@pytest.mark.parametrize("both", [True, False], ids=["both ends", "one end"])
def test_two_ends_that_disagree_come_to_rest(
    both: bool, flags: int, payload: bytes, timestamps: bool, delay: float
) -> None:
    """Each has received what the other never sent: every ACK stands where a keepalive probe does."""
    p = Pair(delay=delay, timestamps=timestamps, rto_initial=8.0)
    near, far = p.established()
    p.run_for(10.0)
    before = sum(p.counts.values())
    forge(p, near, flags, payload)
    if both:
        forge(p, far, flags, payload)
    p.run_for(60.0)
    sent = sum(p.counts.values())
    assert sent - before < 20
    p.run_for(600.0)
    assert sum(p.counts.values()) == sent


@pytest.mark.defect(57)
def test_keepalive_probes_are_answered_ten_times_a_second_at_most() -> None:
    t = established()
    answers = 0
    for _ in range(256):
        t.receives(". 0:0 ack 1")
        answers += len(t.drain())
        t.advance(1 / 256)
    assert answers == 10


@pytest.mark.defect(57)
@pytest.mark.parametrize("acked", [1, 51, 101])
def test_every_keepalive_probe_of_an_ordinary_peer_is_answered(acked: int) -> None:
    """At whatever interval of a tenth of a second or more, and whatever it has of what we sent."""
    t = established(challenge_ack_interval=5.0)
    t.write(100)
    t.sends("P. 1:101 ack 1")
    t.receives(f". 1:1 ack {acked}")
    t.silent()
    for _ in range(5):
        t.advance(0.101)
        t.drain()
        t.receives(f". 0:0 ack {acked}")
        t.sends(". 101:101 ack 1")


@pytest.mark.defect(57)
def test_an_ack_of_what_was_never_sent_is_no_keepalive_probe() -> None:
    """It is the peer's answer to an ACK of ours: one of them is answered, and the next after twice the time."""
    t = established(challenge_ack_interval=0.5)
    answered = []
    for _ in range(200):
        t.receives(". 0:0 ack 2")
        if t.drain():
            answered.append(t.time)
        t.advance(0.125)
    assert answered == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 23.5]
