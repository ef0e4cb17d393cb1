"""Data: reassembly, acknowledging, windows in both directions (RFC 9293 3.7, 3.8.6, 3.10.7.4)."""

from itertools import pairwise, permutations

import pytest

from tests.tcp.notation import stream
from tests.tcp.pair import Packet, Pair
from tests.tcp.reach import established
from tests.tcp.script import MSS, Script
from utcp.errors import InvalidState, RetransmissionTimedOut
from utcp.tcp.event import ENDED, READABLE, WRITABLE
from utcp.tcp.state import CLOSED, ESTABLISHED
from utcp.wire import PSH
from utcp.wire.seq import diff

# --- sending


@pytest.mark.rfc9293("SHLD-28", "MUST-61")
def test_segments_are_as_large_as_can_be_and_the_last_has_psh() -> None:
    t = established()
    t.write(2500)
    segments = t.sends(". 1:1001 ack 1", ". 1001:2001 ack 1", "P. 2001:2501 ack 1")
    assert [segment.flags & PSH for segment in segments] == [0, 0, PSH]


@pytest.mark.rfc9293("MAY-16", "SHLD-28")
def test_small_writes_of_one_batch_are_collected() -> None:
    t = established()
    for _ in range(25):
        t.write(100)
    t.sends(". 1:1001 ack 1", ". 1001:2001 ack 1", "P. 2001:2501 ack 1")


@pytest.mark.rfc9293("SHLD-27", "MUST-61")
def test_psh_of_several_writes_becomes_one() -> None:
    t = established()
    for _ in range(25):
        t.write(100)
    assert [segment.flags & PSH for segment in t.drain()] == [0, 0, PSH]


@pytest.mark.rfc9293("MUST-60")
def test_nodelay_sends_small_segments_at_once() -> None:
    """MUST-17."""
    t = established()
    t.write(100)
    t.sends("P. 1:101 ack 1")
    t.write(100)
    t.sends("P. 101:201 ack 1")


@pytest.mark.rfc9293("SHLD-7", "MUST-60")
def test_nagle_holds_a_small_segment_while_another_is_unacknowledged() -> None:
    """RFC 9293 3.7.4, SHLD-7."""
    t = established(nodelay=False)
    t.write(100)
    t.sends("P. 1:101 ack 1")
    t.write(100)
    t.write(100)
    t.silent()
    t.receives(". 1:1 ack 101")
    t.sends("P. 101:301 ack 1")


@pytest.mark.rfc9293("SHLD-7")
def test_nagle_lets_full_segments_go() -> None:
    t = established(nodelay=False)
    t.write(100)
    t.sends("P. 1:101 ack 1")
    t.write(1500)
    t.sends(". 101:1101 ack 1")
    t.receives(". 1:1 ack 1101")
    t.sends("P. 1101:1601 ack 1")


@pytest.mark.rfc9293("MUST-17")
def test_nagle_turned_off_on_a_live_connection() -> None:
    t = established(nodelay=False)
    t.connection.nodelay = True
    t.write(100)
    t.write(100)
    t.sends("P. 1:201 ack 1")
    t.write(100)
    t.sends("P. 201:301 ack 1")


def test_send_takes_what_the_buffer_holds_and_says_when_there_is_room() -> None:
    t = established(send_buffer=4096)
    assert t.connection.send_side.space == 4096
    assert t.write(10_000) == 4096
    assert t.connection.send_side.space == 0
    assert t.connection.send_queue == 4096
    assert not t.events & WRITABLE
    t.drain()
    t.receives(". 1:1 ack 4097")
    assert t.events & WRITABLE
    assert t.connection.send_side.space == 4096
    assert t.connection.send_queue == 0


def test_writable_is_told_only_after_a_short_send() -> None:
    t = established(send_buffer=4096)
    t.write(1000)
    t.drain()
    t.receives(". 1:1 ack 1001")
    assert not t.events & WRITABLE


def test_forced_send_takes_everything() -> None:
    t = established(send_buffer=4096)
    assert t.connection.send(stream(1, 10_001), force=True) == 10_000
    t.close()
    assert sum(len(segment.payload) for segment in t.drain()) == 10_000


def test_send_after_the_end_raises() -> None:
    t = established()
    t.abort()
    with pytest.raises(InvalidState):
        t.connection.send(b"x")


def test_octets_are_counted() -> None:
    t = established()
    t.write(1500)
    t.drain()
    t.receives("P. 1:301 ack 1001")
    assert (t.info.bytes_sent, t.info.bytes_acked, t.info.bytes_received) == (1500, 1000, 300)


# --- acknowledging


@pytest.mark.rfc9293("SHLD-18", "MUST-40")
@pytest.mark.rfc("5681", "4.2-1")
def test_ack_is_delayed() -> None:
    t = established()
    t.receives("P. 1:101 ack 1")
    t.silent()
    assert t.events & READABLE
    t.sends_at(0.04, ". 1:1 ack 101")
    t.silent_for(10)


def test_delayed_ack_is_configured() -> None:
    t = established(delayed_ack=0.2)
    t.receives("P. 1:101 ack 1")
    t.sends_at(0.2, ". 1:1 ack 101")


def test_delayed_ack_0_never_waits() -> None:
    t = established(delayed_ack=0.0)
    t.receives("P. 1:101 ack 1")
    t.sends(". 1:1 ack 101")


@pytest.mark.rfc9293("MUST-40")
@pytest.mark.rfc("5681", "4.2-1")
def test_further_data_does_not_put_the_delayed_ack_off() -> None:
    """MUST-40: it is the first octet whose ACK waits."""
    t = established(delayed_ack=0.1)
    t.receives("P. 1:101 ack 1")
    t.advance(0.06)
    t.receives("P. 101:201 ack 1")
    t.sends_at(0.1, ". 1:1 ack 201")


@pytest.mark.rfc9293("SHLD-19")
def test_every_second_full_segment_is_acknowledged_at_once() -> None:
    t = established()
    t.receives(*(f". {start}:{start + 1000} ack 1" for start in range(1, 20_001, 1000)))  # quick ACKs are over
    t.sends(". 1:1 ack 20001")
    t.receives(". 20001:21001 ack 1")
    t.silent()
    t.receives(". 21001:22001 ack 1")
    t.sends(". 1:1 ack 22001")
    t.receives(". 22001:23001 ack 1")
    t.silent()
    t.sends_after(0.04, ". 1:1 ack 23001")


@pytest.mark.rfc9293("MUST-58", "MUST-59")
def test_one_batch_gets_one_ack() -> None:
    t = established()
    t.receives(*(f". {start}:{start + 1000} ack 1" for start in range(1, 10_001, 1000)))
    t.sends(". 1:1 ack 10001")


def test_ack_rides_on_data() -> None:
    t = established()
    t.receives("P. 1:101 ack 1")
    t.write(50)
    t.sends("P. 1:51 ack 101")
    t.receives(". 101:101 ack 51")
    t.silent_for(10)


def test_pure_acks_are_not_acknowledged() -> None:
    t = established()
    t.receives(". 1:1 ack 1")
    t.receives(". 1:1 ack 1 win 100")
    t.silent_for(10)


# --- reassembly


@pytest.mark.rfc9293("SHLD-31", "MAY-13")
def test_out_of_order_segment_is_held_and_gets_an_ack_at_once() -> None:
    t = established()
    t.receives(". 1001:2001 ack 1")
    t.sends(". 1:1 ack 1")
    assert t.connection.readable == 0
    t.receives(". 1:1001 ack 1")
    t.sends(". 1:1 ack 2001")
    assert t.read() == 2000


@pytest.mark.rfc("5681", "3.2-2")
def test_segment_that_fills_part_of_a_gap_is_acknowledged_at_once() -> None:
    """RFC 5681 4.2."""
    t = established()
    t.receives(". 2001:3001 ack 1")
    t.sends(". 1:1 ack 1")
    t.receives(". 1:1001 ack 1")
    t.sends(". 1:1 ack 1001")
    t.receives(". 1001:2001 ack 1")
    t.sends(". 1:1 ack 3001")
    assert t.read() == 3000


@pytest.mark.rfc("2018", "4-4")
def test_sack_blocks_the_most_recent_first() -> None:
    """RFC 2018 4."""
    t = established(options="mss 1000,sackOK")
    t.receives(". 1001:2001 ack 1")
    t.sends(". 1:1 ack 1 <sack 1001:2001>")
    t.receives(". 5001:6001 ack 1")
    t.sends(". 1:1 ack 1 <sack 5001:6001 1001:2001>")
    t.receives(". 2001:3001 ack 1")
    t.sends(". 1:1 ack 1 <sack 1001:3001 5001:6001>")
    t.receives(". 1:1001 ack 1")
    t.sends(". 1:1 ack 3001 <sack 5001:6001>")
    t.receives(". 3001:5001 ack 1")
    (ack,) = t.sends(". 1:1 ack 6001")
    assert ack.sack_blocks == ()
    assert t.read() == 6000


@pytest.mark.rfc("2018", "4-1")
def test_no_sack_blocks_without_the_peers_permission() -> None:
    t = established()
    t.receives(". 1001:2001 ack 1")
    (ack,) = t.sends(". 1:1 ack 1")
    assert ack.sack_blocks == ()


@pytest.mark.parametrize(
    "pieces",
    [
        ((1, 101), (51, 151)),
        ((51, 151), (1, 101)),
        ((101, 151), (51, 121), (1, 151)),
        ((11, 21), (31, 41), (51, 61), (1, 151)),
        ((1, 151), (1, 151), (21, 41)),
        ((101, 151), (101, 131), (1, 111)),
        ((1, 51), (101, 151), (31, 121)),
    ],
)
def test_overlaps(pieces: tuple[tuple[int, int], ...]) -> None:
    t = established()
    for start, end in pieces:
        t.receives(f"P. {start}:{end} ack 1")
        t.drain()
    assert t.read() == 150
    t.receives("P. 151:251 ack 1")
    assert t.read() == 100


def test_old_data_is_not_read_twice() -> None:
    t = established()
    t.receives("P. 1:101 ack 1")
    assert t.read() == 100
    t.receives("P. 1:101 ack 1")
    t.sends(". 1:1 ack 101")
    assert t.read() == 0


def test_segment_that_is_partly_old() -> None:
    t = established()
    t.receives("P. 1:101 ack 1")
    t.receives("P. 51:201 ack 1")
    t.drain()
    assert t.read() == 200


def test_data_beyond_the_window_is_not_kept() -> None:
    """RFC 9293 3.10.7.4, first check: text beyond the right edge is trimmed."""
    t = established(recv_buffer=2048)
    t.receives(". 1:1001 ack 1", ". 1001:2001 ack 1", ". 2001:3001 ack 1")
    t.sends(". 1:1 ack 2049 win 0")
    assert t.read() == 2048


def test_segment_wholly_outside_the_window_gets_an_ack() -> None:
    t = established(recv_buffer=2048)
    t.receives(". 5001:6001 ack 1")
    t.sends(". 1:1 ack 1")
    assert t.read() == 0


def test_read_in_pieces() -> None:
    t = established()
    t.receives("P. 1:101 ack 1")
    assert [t.read(30), t.read(30), t.read(0), t.read(100), t.read(1)] == [30, 30, 0, 40, 0]
    assert not t.connection.at_eof


def test_urgent_data_is_delivered_in_line() -> None:
    """MUST-31: of any length; nothing is taken out of the stream."""
    t = established()
    t.receives("PU. 1:101 ack 1")
    assert t.read() == 100


def test_segment_without_ack_is_dropped() -> None:
    """RFC 9293 3.10.7.4, fifth check."""
    t = established()
    t.receives("P 1:101", "- 1:101")
    t.silent_for(1)
    assert t.connection.readable == 0


def test_data_whose_ack_is_old_is_accepted() -> None:
    t = established()
    t.write(1000)
    t.drain()
    t.receives(". 1:1 ack 1001")
    t.receives("P. 1:101 ack 1")
    assert t.read() == 100


# --- the window we offer


def test_window_closes_as_data_waits_and_opens_as_it_is_read() -> None:
    t = established(recv_buffer=4000)
    t.receives(". 1:1001 ack 1", ". 1001:2001 ack 1")
    t.sends(". 1:1 ack 2001 win 2000")
    t.receives(". 2001:3001 ack 1", ". 3001:4001 ack 1")
    t.sends(". 1:1 ack 4001 win 0")
    assert t.read() == 4000
    t.sends(". 1:1 ack 4001 win 4000")


@pytest.mark.rfc9293("MUST-39")
def test_small_reads_do_not_open_a_silly_window() -> None:
    """MUST-39: not before min(half the buffer, one segment)."""
    t = established(recv_buffer=4000)
    t.receives(*(f". {start}:{start + 1000} ack 1" for start in range(1, 4001, 1000)))
    t.sends(". 1:1 ack 4001 win 0")
    for _ in range(9):
        assert t.read(100) == 100
        t.silent()
    assert t.read(1000) == 1000
    (update,) = t.sends(". 1:1 ack 4001")
    assert update.window >= 1000


@pytest.mark.rfc9293("MUST-39")
def test_acks_offer_no_silly_window_either() -> None:
    t = established(recv_buffer=4000)
    t.receives(*(f". {start}:{start + 1000} ack 1" for start in range(1, 4001, 1000)))
    t.sends(". 1:1 ack 4001 win 0")
    assert t.read(100) == 100
    t.receives(". 4001:4002 ack 1")  # a window probe
    t.sends(". 1:1 ack 4001 win 0")


def test_window_probe_into_an_open_window_is_taken() -> None:
    t = established(recv_buffer=4000)
    t.receives(*(f". {start}:{start + 1000} ack 1" for start in range(1, 4001, 1000)))
    t.sends(". 1:1 ack 4001 win 0")
    assert t.read() == 4000
    t.sends(". 1:1 ack 4001 win 4000")
    t.receives(". 4001:4002 ack 1")
    t.sends_after(0.04, ". 1:1 ack 4002")


@pytest.mark.rfc("7323", "2.3-1")
def test_window_is_scaled_when_both_offer_it() -> None:
    t = established(options="mss 1000,wscale 7", recv_buffer=1 << 20)
    t.receives(". 1:1001 ack 1", ". 1001:2001 ack 1")
    (ack,) = t.sends(". 1:1 ack 2001")
    assert t.flow.our_shift is not None
    assert (1 << 20) - 2000 - (1 << t.flow.our_shift) < ack.window << t.flow.our_shift <= 1 << 20


@pytest.mark.rfc9293("MUST-1")
def test_window_offered_is_bounded_by_the_field_without_scaling() -> None:
    t = established(recv_buffer=1 << 20)
    t.receives(". 1:1001 ack 1", ". 1001:2001 ack 1")
    t.sends(". 1:1 ack 2001 win 65535")


@pytest.mark.parametrize("options", ["mss 1000", "mss 1000,wscale 7", "mss 1000,wscale 14"])
@pytest.mark.parametrize("recv_buffer", [2048, 70_001, 1 << 20])
@pytest.mark.rfc9293("SHLD-14")
@pytest.mark.rfc("7323", "2.4-2", "2.4-3")
def test_right_edge_never_moves_left(options: str, recv_buffer: int) -> None:
    """SHLD-14; known defect 10. The script looks at every segment that leaves; the reads here are of all sizes."""
    t = established(options=options, recv_buffer=recv_buffer)
    position = 1
    for step in range(1, 300):
        size = min(step * 37 % 1000 + 1, max((t.flow.right_edge or 0) - position, 0))
        t.receives(f"P. {position}:{position + size} ack 1")
        position += size
        t.drain()
        if step % 3 == 0:
            t.read(step * 53 % 1500)
            t.drain()
        t.advance(0.05)
        t.drain()


# --- the window the peer offers


@pytest.mark.rfc("7323", "2.4-4")
def test_no_more_than_the_window_is_sent() -> None:
    t = established(window=2500)
    t.write(10_000)
    assert sum(len(segment.payload) for segment in t.drain()) <= 2500
    t.receives(". 1:1 ack 2001 win 2500")
    t.drain()
    assert t.flow.snd_nxt <= 4501


@pytest.mark.rfc9293("MUST-1")
def test_window_above_half_of_its_field_is_not_negative() -> None:
    t = established(window=65535)
    assert t.info.snd_wnd == 65535
    t.write(10_000)
    assert sum(len(segment.payload) for segment in t.drain()) == 10_000


@pytest.mark.rfc9293("MUST-38")
def test_silly_windows_are_not_filled() -> None:
    """MUST-38: full segments, or half the largest window ever offered, or everything there is."""
    t = established(window=4000)
    t.write(10_000)
    t.sends(*(f". {start}:{start + 1000} ack 1" for start in range(1, 4001, 1000)))
    t.receives(". 1:1 ack 4001 win 100")
    t.silent()
    t.receives(". 1:1 ack 4001 win 999")
    t.silent()
    t.receives(". 1:1 ack 4001 win 1000")
    t.sends(". 4001:5001 ack 1")


@pytest.mark.rfc9293("MUST-38")
def test_half_the_largest_window_is_worth_a_segment() -> None:
    """RFC 9293 3.8.6.2.1, condition 3: a peer whose window never takes a full segment gets data all the same."""
    t = established(window=600)
    t.write(1000)
    t.sends(". 1:601 ack 1")
    t.receives(". 1:1 ack 601 win 300")
    t.sends(". 601:901 ack 1")


@pytest.mark.rfc9293("MUST-38", "MUST-60")
def test_silly_window_is_used_in_the_end() -> None:
    """RFC 9293 3.8.6.2.1, condition 4: the override timeout, 0.1 to 1 s."""
    t = established(window=4000)
    t.write(10_000)
    t.drain()
    t.receives(". 1:1 ack 4001 win 100")
    t.silent()
    t.advance(1.1)
    segments = t.drain()
    assert segments
    assert 1 <= len(segments[0].payload) <= 100


def test_window_update_with_the_next_data() -> None:
    t = established(window=1000)
    t.write(2000)
    t.sends(". 1:1001 ack 1")
    t.receives(". 1:1 ack 1001 win 1000")
    t.sends("P. 1001:2001 ack 1")


def test_old_segment_does_not_change_the_window() -> None:
    """RFC 9293 3.10.7.4: SND.WL1, SND.WL2."""
    t = established(window=5000)
    t.receives("P. 1:101 ack 1 win 5000")
    t.receives(". 101:101 ack 1 win 4000")
    assert t.info.snd_wnd == 4000
    t.receives(". 1:101 ack 1 win 60000")
    t.drain()
    assert t.info.snd_wnd == 4000


@pytest.mark.rfc9293("MUST-34", "SHLD-15", "SHLD-16")
@pytest.mark.rfc("7323", "2.4-1")
def test_peer_that_shrinks_its_window_is_coped_with() -> None:
    t = established(window=4000)
    t.write(8000)
    t.drain()
    assert t.flow.snd_nxt == 4001
    t.receives(". 1:1 ack 1 win 1000")
    t.silent()
    t.sends_at(0.2, ". 1:1001 ack 1")
    t.receives(". 1:1 ack 4001 win 1000")
    t.sends(". 4001:5001 ack 1")


@pytest.mark.rfc9293("MAY-7")
@pytest.mark.rfc("7323", "2.4-5")
def test_old_data_beyond_a_shrunken_window_is_sent_again() -> None:
    """What was in the window when it was sent may be taken all the same."""
    t = established(window=4000)
    t.write(8000)
    t.drain()
    t.receives(". 1:1 ack 1 win 300")
    t.silent()
    t.sends_at(0.2, ". 1:1001 ack 1")


@pytest.mark.rfc9293("MUST-34", "MUST-35", "SHLD-17")
@pytest.mark.rfc("7323", "2.4-1")
def test_data_beyond_a_shrunken_window_does_not_end_the_connection() -> None:
    """As long as the peer answers; R2 is three retransmissions here."""
    t = established(window=4000, retries=3)
    t.write(4000)
    t.drain()
    t.receives(". 1:1 ack 2001 win 0")
    while t.time < 600:
        t.advance(1)
        if t.drain():
            t.receives(". 1:1 ack 2001 win 0")
            t.drain()
    assert t.state == ESTABLISHED
    t.receives(". 1:1 ack 2001 win 2000")
    t.drain()
    t.receives(". 1:1 ack 4001 win 2000")
    assert t.connection.send_queue == 0


# --- zero window


def probe_times(t: Script, count: int, answer: str | None) -> list[float]:
    """When the next probes leave; each is answered."""
    times: list[float] = []
    while len(times) < count and t.time < 10_000:
        t.advance(0.05)
        if t.drain():
            times.append(t.time)
            if answer:
                t.receives(answer)
                t.silent()
    return times


@pytest.mark.rfc9293("MUST-36", "SHLD-29", "SHLD-30")
def test_zero_window_is_probed_with_doubling_intervals() -> None:
    """MUST-35, MUST-36; SHLD-29: first after one RTO; SHLD-30: exponential."""
    t = established(window=0)
    t.write(100)
    t.silent()
    times = probe_times(t, 6, ". 1:1 ack 1 win 0")
    assert times == pytest.approx([0.2, 0.6, 1.4, 3.0, 6.2, 12.6], abs=0.06)


def test_probes_are_at_most_rto_max_apart() -> None:
    t = established(window=0, rto_max=2.0)
    t.write(100)
    times = probe_times(t, 10, ". 1:1 ack 1 win 0")
    assert max(after - before for before, after in pairwise(times)) == pytest.approx(2.0, abs=0.06)


@pytest.mark.rfc9293("MUST-37")
def test_answered_probes_keep_the_connection_open() -> None:
    """MUST-37: for ever."""
    t = established(window=0, retries=3)
    t.write(100)
    probe_times(t, 30, ". 1:1 ack 1 win 0")
    assert t.time > 1000
    assert t.state == ESTABLISHED
    t.receives(". 1:1 ack 1 win 1000")
    assert t.drain()[-1].payload


def test_unanswered_probes_end_the_connection() -> None:
    """Known defect 4."""
    t = established(window=0, retries=3)
    t.write(100)
    t.advance(600)
    t.drain()
    assert t.state == CLOSED
    assert isinstance(t.error, RetransmissionTimedOut)
    assert t.stack.next_timeout() is None


def test_octet_taken_from_a_probe_is_acknowledged_data() -> None:
    """Known defect 5: the probe's octet counts in SND.NXT."""
    t = established(window=0)
    t.write(100)
    t.advance(0.2)
    probed = sum(len(segment.payload) for segment in t.drain())
    assert diff(t.info.snd_nxt, t.info.snd_una) == probed
    t.receives(f". 1:1 ack {1 + probed} win 0")
    t.silent()
    t.receives(f". 1:1 ack {1 + probed} win 1000")
    t.sends(f"P. {1 + probed}:101 ack 1")


def test_window_that_opens_lets_everything_go() -> None:
    """Known defect 19."""
    t = established(window=0)
    t.write(3000)
    t.silent()
    t.receives(". 1:1 ack 1 win 60000")
    t.sends(". 1:1001 ack 1", ". 1001:2001 ack 1", "P. 2001:3001 ack 1")


def test_probing_stops_when_the_window_opens_with_nothing_to_send() -> None:
    t = established(window=1000)
    t.write(1000)
    t.drain()
    t.receives(". 1:1 ack 1001 win 0")
    t.silent_for(600)


def test_partial_ack_that_closes_the_window_keeps_the_retransmission_timer() -> None:
    """Known defect 16: a persist timer beside it, not in its place."""
    t = established(window=2000)
    t.write(3000)
    t.sends(". 1:1001 ack 1", ". 1001:2001 ack 1")
    t.receives(". 1:1 ack 1001 win 0")
    t.advance(0.5)
    assert t.flow.seq(t.drain()[0]) == 1001


@pytest.mark.rfc9293("MUST-35", "MUST-36")
def test_ack_of_everything_with_a_closed_window_starts_probing() -> None:
    t = established(window=1000)
    t.write(2000)
    t.sends(". 1:1001 ack 1")
    t.receives(". 1:1 ack 1001 win 0")
    t.silent()
    t.advance(0.5)
    assert t.drain()


def test_probe_is_acknowledged_by_a_stack_with_a_closed_window() -> None:
    """RFC 9293 3.8.6.1: it tells its next number and window."""
    t = established(recv_buffer=2048)
    t.receives(". 1:1001 ack 1", ". 1001:2001 ack 1", "P. 2001:2049 ack 1")
    t.sends(". 1:1 ack 2049 win 0")
    t.advance(1)
    t.receives(". 2049:2050 ack 1")
    t.sends(". 1:1 ack 2049 win 0")


@pytest.mark.rfc9293("MAY-8")
def test_window_stays_closed_for_as_long_as_nobody_reads() -> None:
    t = established(recv_buffer=2048)
    t.receives(". 1:1001 ack 1", ". 1001:2001 ack 1", "P. 2001:2049 ack 1")
    t.sends(". 1:1 ack 2049 win 0")
    for _ in range(60):
        t.silent_for(60)
        t.receives(". 2049:2050 ack 1")
        t.sends(". 1:1 ack 2049 win 0")
    assert t.read() == 2048
    t.sends(". 1:1 ack 2049 win 2048")


def test_acks_behind_a_probe_are_processed_while_our_window_is_closed() -> None:
    """The peer's probe is in its SND.NXT, so its ACKs stand one octet beyond our closed window."""
    t = established(recv_buffer=2048)
    t.write(100)
    t.sends("P. 1:101 ack 1")
    t.receives(". 1:1001 ack 1", ". 1001:2001 ack 1", "P. 2001:2049 ack 1")
    t.sends(". 101:101 ack 2049 win 0")
    t.receives(". 2049:2050 ack 1")
    t.sends(". 101:101 ack 2049 win 0")
    t.receives(". 2050:2050 ack 101")
    assert t.connection.send_queue == 0


def test_both_windows_closed_and_only_one_reader() -> None:
    """One side reads, the other does not: what goes to the reader arrives, for as long as it takes."""
    p = Pair(recv_buffer=4000, retries=4)
    near, far = p.established()
    near.send(stream(0, 20_000))
    far.send(stream(0, 60_000))
    got = bytearray()

    def all_there() -> bool:
        got.extend(near.read())
        return len(got) == 60_000

    p.run(all_there)
    assert bytes(got) == stream(0, 60_000)
    assert not far.take_events() & ENDED
    assert far.readable == 4000


@pytest.mark.defect(44)
@pytest.mark.rfc9293("MUST-36", "MUST-37", "MAY-8")
@pytest.mark.parametrize("options", [True, False], ids=["all options", "no options"])
@pytest.mark.parametrize("half_closed", [True, False])
@pytest.mark.parametrize("delay", [0.0, 0.01, 1.0])
def test_both_windows_closed_for_an_hour(options: bool, half_closed: bool, delay: float) -> None:
    """Each side probes the other, ever more slowly; nothing gives up, and then everything arrives."""
    p = Pair(delay=delay, recv_buffer=4000, retries=4, timestamps=options, sack=options, keepalive=True)
    near, far = p.established()
    size = 30_000
    for connection in (near, far):
        connection.send(stream(0, size))
        if half_closed:
            connection.shutdown(p.now)
    p.run_for(60)
    before = dict(p.counts)
    p.run_for(3600)
    for name, count in p.counts.items():
        assert 100 < count - before[name] < 140, "a probe a minute, and the answers to the other side's"
    got = {near: bytearray(), far: bytearray()}

    def all_there() -> bool:
        for connection, data in got.items():
            data.extend(connection.read())
        return len(got[near]) == len(got[far]) == size

    p.run(all_there)
    for connection, data in got.items():
        assert data == stream(0, size)
        assert not connection.take_events() & ENDED


@pytest.mark.rfc9293("MUST-66")
def test_acks_are_processed_while_our_window_is_closed() -> None:
    """RFC 9293 3.10.7.4: "special allowance should be made to accept valid ACKs"; MUST-66."""
    t = established(recv_buffer=2048)
    t.write(100)
    t.sends("P. 1:101 ack 1")
    t.receives(". 1:1001 ack 1", ". 1001:2001 ack 1", "P. 2001:2049 ack 1")
    t.sends(". 101:101 ack 2049 win 0")
    t.receives(". 2049:2049 ack 101")
    assert t.connection.send_queue == 0


# --- two stacks


@pytest.mark.parametrize("recv_buffer", [2048, 5000, 1 << 20])
@pytest.mark.parametrize("options", [True, False], ids=["all options", "no options"])
def test_transfer(recv_buffer: int, options: bool) -> None:
    p = Pair(recv_buffer=recv_buffer, timestamps=options, sack=options, window_scaling=options)
    near, far = p.established()
    data = stream(0, 300_000)
    near.send(data)
    near.shutdown(p.now)
    got = bytearray()

    def all_there() -> bool:
        got.extend(far.read())
        return far.at_eof

    p.run(all_there)
    assert bytes(got) == data


@pytest.mark.parametrize("every", [5, 7, 20])
@pytest.mark.parametrize("fate", [(), (0.0, 0.0), (0.035,)], ids=["lost", "duplicated", "late"])
def test_transfer_over_a_bad_link(every: int, fate: tuple[float, ...]) -> None:
    def rule(packet: Packet) -> tuple[float, ...]:
        return fate if packet.count % every == 2 else (0.0,)

    p = Pair(rule)
    near, far = p.established()
    data = stream(0, 60_000)
    near.send(data)
    far.send(data)
    near.shutdown(p.now)
    far.shutdown(p.now)
    got, back = bytearray(), bytearray()

    def all_there() -> bool:
        got.extend(far.read())
        back.extend(near.read())
        return far.at_eof and near.at_eof

    p.run(all_there)
    assert bytes(got) == data
    assert bytes(back) == data


def test_slow_reader_stops_the_sender_and_starts_it_again() -> None:
    p = Pair(recv_buffer=4000, send_buffer=20_000)
    near, far = p.established()
    near.send(stream(0, 20_000))
    p.run_for(3)
    assert far.readable == 4000
    assert near.send_queue == 16_000
    got = bytearray()
    for _ in range(100):
        got.extend(far.read(500))
        p.run_for(0.1)
    assert bytes(got) == stream(0, 20_000)
    assert not near.take_events() & ENDED


def test_bulk_needs_one_ack_for_two_segments() -> None:
    p = Pair(timestamps=False)
    near, far = p.established()
    near.send(stream(0, 500_000))
    got = 0

    def all_there() -> bool:
        nonlocal got
        got += len(far.read())
        return got == 500_000

    p.run(all_there)
    assert p.counts["client"] <= 500_000 // MSS + 5
    assert p.counts["server"] <= 500_000 // MSS // 2 + 30


def test_reordering_that_one_batch_repairs_makes_no_duplicate_acks() -> None:
    """They would be duplicates of a hole that is filled: the peer would send again what we have."""
    t = established()
    t.receives(". 1001:2001 ack 1", ". 2001:3001 ack 1", ". 3001:4001 ack 1", ". 4001:5001 ack 1", ". 1:1001 ack 1")
    t.sends(". 1:1 ack 5001")


@pytest.mark.defect(52)
@pytest.mark.rfc("5681", "4.2-2")
@pytest.mark.parametrize("options", [f"mss {MSS}", f"mss {MSS},sackOK", f"mss {MSS},sackOK,ts 1000"])
@pytest.mark.parametrize("pause", [True, False])
@pytest.mark.parametrize("size", [100, MSS])
def test_a_segment_behind_a_hole_makes_one_ack(options: str, pause: bool, size: int) -> None:
    """Also while the ACK of what came before it is delayed; the same ACK left twice."""
    t = established(options=options)
    t.receives(f". 1:{1 + size} ack 1")
    if pause:
        t.silent_for(0.01)
    t.receives(f". {1 + 2 * size}:{1 + 3 * size} ack 1")
    (ack,) = t.sends(f". 1:1 ack {1 + size}")
    assert bool(ack.sack_blocks) == t.info.sack
    t.receives(f". {1 + 3 * size}:{1 + 4 * size} ack 1", f". {1 + 4 * size}:{1 + 5 * size} ack 1")
    t.sends(f". 1:1 ack {1 + size}", f". 1:1 ack {1 + size}")
    t.silent_for(1.0)


@pytest.mark.defect(52)
@pytest.mark.rfc("5681", "4.2-2")
def test_no_order_of_arrival_makes_more_acks_than_segments() -> None:
    for order in permutations(range(5)):
        t = established(options=f"mss {MSS},sackOK")
        for number in order:
            t.receives(f". {1 + MSS * number}:{1 + MSS * (number + 1)} ack 1")
            assert len(t.drain()) <= 1
        t.advance(0.04)
        assert len(t.drain()) <= 1
        assert t.info.bytes_received == 5 * MSS


def test_three_segments_behind_a_hole_make_three_duplicates_of_the_ack_before_it() -> None:
    """RFC 5681 4.2, also when all arrive in one batch: fast retransmit counts duplicates, not ACKs."""
    t = established()
    t.receives(". 1:1001 ack 1", ". 1001:2001 ack 1", ". 3001:4001 ack 1", ". 4001:5001 ack 1", ". 5001:6001 ack 1")
    t.sends(*[". 1:1 ack 2001"] * 4)


def test_a_window_that_stays_small_is_used_without_delay_doubling() -> None:
    """RFC 9293 3.8.6.2.1: what is sent into it after a time is acknowledged, so the next waits no longer for it."""
    t = established(window=10_000)
    t.write(20_000)
    t.drain()
    t.flow.window = 500
    t.receives(f". 1:1 ack {t.flow.snd_nxt}")
    begin = t.now
    while t.now < begin + 60:
        t.advance(0.1)
        if t.drain():
            t.receives(f". 1:1 ack {t.flow.snd_nxt}")
    assert t.info.bytes_acked == 20_000
