"""Known defects of opening: initial numbers, SYNs, resets, what a segment must prove."""

import pytest

from tests.tcp.pair import Pair
from tests.tcp.reach import closed, established, simultaneous_open, syn_rcvd, time_wait
from tests.tcp.script import MSS, SECRET, Script
from utcp.errors import ConnectionReset
from utcp.tcp.state import CLOSED, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, SYN_RCVD, TIME_WAIT
from utcp.wire.seq import MASK, add, gt


def isn(*, after: float = 0.0, secret: bytes = SECRET, local_port: int = 50000) -> int:
    """The ISN of an active open so many seconds after the script begins."""
    t = Script(secret=secret)
    t.advance(after)
    t.connect(local_port=local_port)
    (syn,) = t.sends("S 0:0")
    return syn.seq


@pytest.mark.defect(2)
def test_isn_follows_a_clock_and_hides_behind_a_key() -> None:
    """RFC 9293 3.4.1, MUST-8, MUST-9: one tick in 4 microseconds, offset by a keyed hash of the four addresses."""
    assert (isn(after=1.0) - isn()) & MASK == 250_000
    assert isn(secret=b"another key, random octets") != isn()
    offsets = {(isn(local_port=port) - isn()) & MASK for port in range(50001, 50017)}
    assert len(offsets) == 16
    assert max(offsets) - min(offsets) > 1 << 24  # no counter from one connection to the next


@pytest.mark.defect(7)
def test_close_in_syn_rcvd_takes_no_ack_of_the_syn_for_one_of_the_fin() -> None:
    t = simultaneous_open()
    t.close()
    fins = t.drain()
    t.receives(". 1:1 ack 1")
    fins += t.drain()
    assert [t.flow.seq(fin) for fin in fins] == [1]
    assert t.state == FIN_WAIT_1
    assert not t.ended
    t.receives(". 1:1 ack 2")
    t.silent()
    assert t.state == FIN_WAIT_2
    assert t.error is None


@pytest.mark.defect(9)
@pytest.mark.parametrize("syn", ["S 5000:5000", "S 1:1", "S -100000:-100000"])
def test_syn_on_a_connection_is_answered_so_that_its_sender_can_reconnect(syn: str) -> None:
    """RFC 5961 4.2: the challenge ACK makes a peer that has forgotten the connection reset it."""
    t = established(passive=True)
    t.receives(syn)
    t.sends(". 1:1 ack 1")
    t.receives("R 1:1")
    t.silent()
    assert isinstance(t.error, ConnectionReset)
    t.receives(syn)
    t.sends("S.")
    assert t.state == SYN_RCVD


@pytest.mark.defect(9)
def test_rebooted_peer_reconnects_within_a_round_trip_and_an_rto() -> None:
    p = Pair(delay=0.01)
    p.client.connect("server", 80, p.now, local_port=50000)
    p.server.listen(80, p.now)
    p.run_for(0.1)
    p.reboot("client")
    again = p.client.connect("server", 80, p.now, local_port=50000)
    p.run(lambda: again.state == ESTABLISHED, seconds=1.2)


@pytest.mark.defect(12)
def test_inexact_rst_in_the_window_is_challenged() -> None:
    """RFC 5961 3.2."""
    t = established()
    t.receives("R 1000:1000")
    t.sends(". 1:1 ack 1")
    assert t.state == ESTABLISHED
    t.receives("R 1:1")
    t.silent()
    assert t.state == CLOSED


@pytest.mark.defect(33)
def test_closing_a_listener_leaves_nothing_in_its_queue() -> None:
    t = established(passive=True)
    waiting = t.flow_to(50001, 80)
    waiting.receives("S 0:0 <mss 1000>")
    waiting.sends("S. 0:0 ack 1")
    waiting.receives(". 1:1 ack 1")
    half_open = t.flow_to(50002, 80)
    half_open.receives("S 0:0 <mss 1000>")
    half_open.sends("S. 0:0 ack 1")
    t.listener.close(t.now)
    waiting.sends("R? 1:1")
    half_open.sends("R 1:1")
    assert list(t.stack.connections) == [t.flow.key]  # the accepted one is not the listener's any more
    assert t.state == ESTABLISHED
    half_open.receives(". 1:1 ack 1")
    half_open.sends("R 1:1")


@pytest.mark.defect(37)
@pytest.mark.parametrize("line", ["R 0:0", "R 7:7", "R. 0:0 ack 0", "R. 5:5 ack 7"])
def test_rst_is_never_answered_with_rst(line: str) -> None:
    t = closed()
    t.receives(line)
    t.silent()
    t = established()
    t.abort()
    t.sends("R? 1:1")
    t.receives(line)
    t.silent()


@pytest.mark.defect(37)
def test_two_aborts_that_cross_leave_silence() -> None:
    p = Pair(timestamps=False)
    near, far = p.established()
    near.send(b"x" * 5000)
    far.send(b"x" * 5000)
    p.run_for(0.005)
    near.abort(p.now)
    far.abort(p.now)
    p.run()
    # One each, and one for each segment that was under way to a connection that is gone.
    assert p.client.counters.out_rsts == p.server.counters.out_rsts == 1 + 5
    assert not p.client.connections
    assert not p.server.connections


@pytest.mark.defect(38)
def test_newer_syn_in_time_wait_connects_at_once() -> None:
    """MAY-2, RFC 6191: a client that reuses its port does not wait for 2 MSL to pass."""
    t = time_wait(passive=True)
    assert t.flow.our_iss is not None
    old_snd_nxt = add(t.flow.our_iss, 2)
    t.receives(f"S 100000:100000 <mss {MSS}>")
    t.flow.begin(add(t.flow.peer_iss, 100_000))
    (syn_ack,) = t.sends("S. 0:0 ack 1")
    assert gt(syn_ack.seq, old_snd_nxt)
    t.receives(". 1:1 ack 1")
    t.silent()
    assert t.state == ESTABLISHED


@pytest.mark.defect(38)
def test_older_syn_in_time_wait_is_answered() -> None:
    t = time_wait(passive=True)
    t.receives("S -100000:-100000")
    t.sends(". 2:2 ack 2")
    assert t.state == TIME_WAIT


@pytest.mark.defect(42)
def test_syn_again_with_another_timestamp_opens_nothing_new() -> None:
    t = syn_rcvd(options=f"mss {MSS},ts 100")
    for clock in (1100, 3100):
        t.receives(f"S 0:0 <mss {MSS},ts {clock}>")
        t.sends("S. 0:0 ack 1")
        assert len(t.stack.connections) == len(t.listener.half_open) == 1


@pytest.mark.defect(43)
def test_wrapped_old_duplicate_fails_paws() -> None:
    """RFC 7323 5.3: in the window by its number, too old by its timestamp."""
    t = established(options=f"mss {MSS},ts 5000")
    t.receives("P. 1:101 ack 1 <ts 6000>")
    assert t.read() == 100
    t.drain()
    t.receives("P. 101:201 ack 1 <ts 5500>")
    t.sends(". 1:1 ack 101")
    assert t.connection.readable == 0
    assert t.stack.counters.paws_drops == 1
