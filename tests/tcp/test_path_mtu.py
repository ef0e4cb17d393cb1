"""The segment size that a path takes: the kernel's word, ICMP's, and what gets through (RFC 8899, 4821, 1191, 5927)."""

from errno import ECONNREFUSED, EHOSTUNREACH, EMSGSIZE
from functools import partial
from struct import pack
from typing import Any

import pytest

from tests.tcp.pair import Pair, Rule
from tests.tcp.reach import established, syn_rcvd, syn_sent
from tests.tcp.script import SECRET, START, Script
from utcp.errors import ConnectionRefused, PathUnreachable, RetransmissionTimedOut
from utcp.tcp.connection import Connection
from utcp.tcp.event import TROUBLE
from utcp.tcp.path_mtu import BASE, MAX_PROBES, RAISE_AFTER, PathMtu
from utcp.tcp.stack import Stack
from utcp.tcp.state import CLOSED, ESTABLISHED, SYN_SENT


def quote(t: Script, seq: int) -> bytes:
    """What a router quotes of a segment of ours with this relative sequence number."""
    return pack("!HHI", t.flow.local_port, t.flow.remote_port, ((t.flow.our_iss or 0) + seq) & 0xFFFFFFFF)


# --- too big


@pytest.mark.rfc("8899", "3-1", "3-13", "4.4-1")
def test_icmp_too_big_makes_segments_smaller_and_sends_again_what_was_larger() -> None:
    t = established()
    t.write(3000)
    t.sends(". 1:1001 ack 1", ". 1001:2001 ack 1", "P. 2001:3001 ack 1")
    before = t.info
    t.stack.path_error("peer", EMSGSIZE, 820, quote(t, 1001), t.now)
    t.sends(". 1:801 ack 1", ". 801:1601 ack 1", ". 1601:2401 ack 1", "P. 2401:3001 ack 1")
    assert t.info.snd_mss == 800
    assert (t.info.snd_cwnd, t.info.snd_ssthresh) == (before.snd_cwnd, before.snd_ssthresh)  # no congestion
    assert t.stack.counters.timeouts == 0


@pytest.mark.rfc("5927", "7.2-3")
@pytest.mark.rfc("8899", "4.6.2-2")
@pytest.mark.rfc("8899", "3-10", "3-11")
def test_icmp_too_big_makes_nothing_larger() -> None:
    """RFC 8899 3 (6); after ten minutes the search goes for what the kernel believes of the path."""
    t = established()
    t.write(1000)
    t.drain()
    t.stack.path_error("peer", EMSGSIZE, 720, quote(t, 1), t.now)
    t.drain()
    t.stack.path_error("peer", EMSGSIZE, 920, quote(t, 1), t.now)
    t.silent()
    assert t.info.snd_mss == 700
    t.receives(". 1:1 ack 1001")
    t.advance(RAISE_AFTER + 1)
    t.write(5000)
    t.sends(
        ". 1001:2001 ack 1",
        *(f". {start}:{start + 700} ack 1" for start in range(2001, 5501, 700)),
        "P. 5501:6001 ack 1",
    )


def test_icmp_too_big_does_not_make_segments_tiny() -> None:
    """RFC 5927 7: a forged MTU of 68 would make 30 segments of one."""
    t = established()
    t.write(1000)
    t.drain()
    t.stack.path_error("peer", EMSGSIZE, 68, quote(t, 1), t.now)
    t.drain()
    assert t.info.snd_mss == t.stack.default_mss


@pytest.mark.parametrize("seq", [0, 2002, 1 << 31])
@pytest.mark.rfc("5927", "4.1-1")
@pytest.mark.rfc("8899", "3-9")
def test_icmp_about_what_is_not_under_way_is_ignored(seq: int) -> None:
    """RFC 5927 4.1: whoever cannot see our segments has to guess the sequence number."""
    t = established()
    t.write(2000)
    t.drain()
    t.stack.path_error("peer", EMSGSIZE, 820, quote(t, seq), t.now)
    t.stack.path_error("peer", EHOSTUNREACH, None, quote(t, seq), t.now)
    t.silent()
    assert t.info.snd_mss == 1000
    assert t.stack.counters.out_of_window_icmps == 2
    assert not t.connection.take_events() & TROUBLE


@pytest.mark.parametrize("size", range(8))
@pytest.mark.rfc("5927", "4.1-2")
def test_icmp_that_quotes_too_little_is_ignored(size: int) -> None:
    t = syn_sent()
    t.stack.path_error("peer", ECONNREFUSED, None, quote(t, 0)[:size], t.now)
    assert not t.ended


@pytest.mark.rfc("8899", "4.4-1")
def test_a_datagram_that_the_kernel_refuses_as_too_big_is_sent_again_in_pieces() -> None:
    """EMSGSIZE from the socket: the kernel has learned of a smaller path MTU."""
    t = established(mtu=1020, mss=None)
    t.write(2000)
    t.sends(". 1:1001 ack 1", "P. 1001:2001 ack 1")
    t.mtu = 720
    t.stack.path_failed("peer", [(t.flow.local_port, t.flow.remote_port)], EMSGSIZE, t.now)
    t.sends(". 1:701 ack 1", ". 701:1401 ack 1", "P. 1401:2001 ack 1")
    assert t.state == ESTABLISHED


# --- unreachable


@pytest.mark.rfc9293("MUST-54")
@pytest.mark.rfc("5927", "5.2-2")
def test_port_unreachable_ends_an_open() -> None:
    t = syn_sent()
    t.stack.path_error("peer", ECONNREFUSED, None, quote(t, 0), t.now)
    t.silent()
    assert t.state == CLOSED
    assert isinstance(t.error, ConnectionRefused)


@pytest.mark.defect(79)
@pytest.mark.parametrize("code", [ECONNREFUSED, EHOSTUNREACH])
def test_unreachable_ends_all_opens_to_that_port(code: int) -> None:
    """Several SYNs may leave as one datagram, about which there is one message."""
    t = syn_sent()
    port = t.flow.remote_port
    connect = partial(t.stack.connect, now=t.now)
    same, other_port, other_peer = connect("peer", port), connect("peer", port + 1), connect("other", port)
    t.stack.datagrams_to_send(t.now)
    not_sent = connect("peer", port)
    t.stack.path_error("peer", code, None, quote(t, 0), t.now)
    assert t.error is not same.error
    assert isinstance(same.error, type(t.error))
    assert [each.state for each in (same, other_port, other_peer, not_sent)] == [CLOSED, SYN_SENT, SYN_SENT, SYN_SENT]


@pytest.mark.rfc("5927", "5.2-2")
def test_host_unreachable_ends_an_open() -> None:
    t = syn_sent()
    t.stack.path_error("peer", EHOSTUNREACH, None, quote(t, 0), t.now)
    assert isinstance(t.error, PathUnreachable)
    assert t.error.errno == EHOSTUNREACH


def test_unreachable_frees_a_half_open_connection() -> None:
    """Its SYN was forged, and the host whose address it bears says so."""
    t = syn_rcvd()
    t.stack.path_error("peer", ECONNREFUSED, None, quote(t, 0), t.now)
    assert not t.stack.connections


@pytest.mark.rfc9293("MUST-54", "SHLD-25")
def test_later_it_is_a_soft_error_and_the_cause_of_what_follows() -> None:
    t = established(retries=2)
    t.write(100)
    t.drain()
    t.stack.path_error("peer", EHOSTUNREACH, None, quote(t, 1), t.now)
    assert t.state == ESTABLISHED
    assert t.connection.take_events() & TROUBLE
    t.advance(60)
    t.drain()
    assert isinstance(t.error, RetransmissionTimedOut)
    assert isinstance(t.error.__cause__, PathUnreachable)


def test_an_ack_ends_the_trouble() -> None:
    t = established(retries=2)
    t.write(100)
    t.drain()
    t.stack.path_error("peer", EHOSTUNREACH, None, quote(t, 1), t.now)
    t.receives(". 1:1 ack 101")
    t.write(100)
    t.advance(60)
    t.drain()
    assert isinstance(t.error, RetransmissionTimedOut)
    assert t.error.__cause__ is None


# --- black holes


def narrow(largest: int) -> Rule:
    """A path that drops what is larger, without a word: UDP payload, our header with timestamps included."""
    return lambda packet: (0.0,) if len(packet.segment.payload) + 32 <= largest else ()


def outage(begin: float, end: float) -> Rule:
    """Nothing passes between these times."""
    return lambda packet: () if begin <= packet.time < end else (0.0,)


def send(pair: Pair, near: Connection, far: Connection, octets: int) -> None:
    """The client sends so much, and the server has it."""
    near.send(bytes(octets), force=True)
    got = 0

    def over() -> bool:
        nonlocal got
        got += len(far.read())
        return got == octets

    pair.run(over, seconds=120)


def transfer(pair: Pair, octets: int) -> int:
    """Send so much from the client to the server; the client's MSS at the end."""
    near, far = pair.established()
    send(pair, near, far, octets)
    return near.mss


@pytest.mark.parametrize("largest", [1252, 1300, 1400, 1460])
@pytest.mark.rfc("8899", "3-1", "3-3", "3-5", "4.3-1")
def test_black_hole_is_found_and_the_largest_size_that_passes_is_used(largest: int) -> None:
    knobs: dict[str, Any] = {"mss": None}
    mss = transfer(Pair(narrow(largest), **knobs), 1_000_000)
    assert largest - 32 - 16 <= mss <= largest - 32


@pytest.mark.rfc("8899", "3-12")
def test_probes_cost_little_and_their_loss_is_no_congestion() -> None:
    pair = Pair(narrow(1300), mss=None)
    transfer(pair, 1_000_000)
    assert pair.client.counters.timeouts <= 4
    assert pair.client.counters.retrans_segs < 60


@pytest.mark.parametrize(("largest", "sack"), [(96, True), (296, True), (548, True), (548, False), (1199, True)])
@pytest.mark.rfc("8899", "5.1.2-3")
@pytest.mark.defect(54)
def test_a_path_below_the_base_size_is_used_as_well(largest: int, sack: bool) -> None:
    """Down to segments of 64 octets, and from there up to what passes."""
    pair = Pair(narrow(largest), mss=None, sack=sack)
    mss = transfer(pair, 500 * largest)
    assert 0.8 * (largest - 32) <= mss <= largest - 32
    assert pair.time < 40
    assert pair.client.counters.timeouts <= (12 if sack else 18)


@pytest.mark.parametrize("seconds", [0.5, 2.0, 5.0, 20.0])
@pytest.mark.rfc("8899", "3-7")
@pytest.mark.defect(54)
def test_an_outage_does_not_leave_segments_small(seconds: float) -> None:
    """Small segments were lost as well: once the path is back, the first probe has the full size."""
    pair = Pair(outage(0.05, 0.05 + seconds), mss=None)
    near, far = pair.established()
    before = near.mss
    send(pair, near, far, 300_000)
    assert pair.client.counters.timeouts
    assert near.mss == before == 1472 - 32


@pytest.mark.defect(54)
def test_after_a_long_outage_what_was_in_flight_is_not_sent_again_in_tiny_segments() -> None:
    """Segments of 64 octets time out as well, and one of them is the first to get through. What was in flight came in
    thousands of them, which overflow queues that count packets."""
    pair = Pair(outage(0.12, 15.0), mss=None)
    near, far = pair.established()
    send(pair, near, far, 2_000_000)
    assert pair.client.counters.retrans_segs < 400


@pytest.mark.defect(54)
def test_after_an_outage_messages_have_the_base_size() -> None:
    pair = Pair(outage(0.1, 30.0), mss=None)
    near, far = pair.established()
    pair.run_for(0.1)
    send(pair, near, far, 1400)
    assert near.mss == BASE


@pytest.mark.defect(54)
def test_on_a_narrow_path_messages_make_segments_larger_as_far_as_they_go() -> None:
    """There is never enough to send for a probe of the full size, with data behind it."""
    pair = Pair(narrow(500), mss=None)
    near, far = pair.established()
    send(pair, near, far, 1400)
    assert near.mss == 64
    for _ in range(10):
        send(pair, near, far, 1400)
    assert near.mss >= 300


def test_a_short_outage_does_not_make_small_segments_smaller() -> None:
    """What is small enough for the base size is suspected later: paths that do not take that are rare."""
    pair = Pair(outage(0.1, 3.0), mss=None)
    near, far = pair.established()
    pair.run_for(0.1)
    before = near.mss
    send(pair, near, far, 500)
    assert pair.client.counters.timeouts >= 3
    assert near.mss == before


# --- the search


@pytest.mark.rfc("8899", "3-6", "5.1.2-1")
def test_search_halves_until_it_knows() -> None:
    mtu = PathMtu(9000)
    assert not mtu.black_hole_suspected(1, 9000, 0.0)
    assert mtu.black_hole_suspected(2, 9000, 0.0)
    assert mtu.size == BASE
    probes = []
    while size := mtu.due(10_000, 1.0):
        probes.append(size)
        if size <= 4000:
            mtu.arrived(size, 1.0)
        else:
            for _ in range(MAX_PROBES):
                assert mtu.due(10_000, 1.0) == size
                mtu.lost(size, 1.0)
    assert 4000 - 16 <= mtu.size <= 4000
    assert probes[:2] == [9000, (BASE + 9000) // 2]
    assert len(probes) <= 11


@pytest.mark.rfc("8899", "5.1.1-2")
def test_search_begins_anew_after_ten_minutes() -> None:
    mtu = PathMtu(1400)
    mtu.black_hole_suspected(2, 1400, 0.0)
    while size := mtu.due(9000, 1.0):
        mtu.lost(size, 1.0)
    assert mtu.size == BASE
    assert mtu.due(9000, RAISE_AFTER) == 0
    assert mtu.due(9000, 1.0 + RAISE_AFTER) == 1400
    mtu.arrived(1400, 700.0)
    assert mtu.size == 1400
    assert mtu.due(9000, 10_000.0) == 0


@pytest.mark.rfc("8899", "4.3-1", "5.1.2-3")
@pytest.mark.defect(54)
def test_segments_become_smaller_step_by_step() -> None:
    mtu = PathMtu(1440)
    falls = [timeouts for timeouts in range(1, 10) if mtu.black_hole_suspected(timeouts, mtu.size, 0.0)]
    assert falls == [2, 4, 6]
    assert mtu.size == 64
    assert mtu.due(9000, 1.0) == 1440
    assert mtu.due(500, 1.0) == 500
    assert mtu.due(100, 1.0) == 0


@pytest.mark.defect(54)
def test_the_base_size_is_tried_once_more_when_something_smaller_gets_through() -> None:
    mtu = PathMtu(1440)
    for timeouts in range(1, 7):
        mtu.black_hole_suspected(timeouts, mtu.size, 0.0)
    assert mtu.size == 64
    assert mtu.first_passed(1.0)
    assert mtu.size == BASE
    assert not mtu.first_passed(1.0)
    assert not mtu.black_hole_suspected(1, BASE, 2.0)
    assert mtu.black_hole_suspected(2, BASE, 2.0)
    assert mtu.size == 64  # it was the size
    assert not mtu.first_passed(3.0)
    mtu.arrived(500, 4.0)
    for timeouts in range(1, 7):
        mtu.black_hole_suspected(timeouts, mtu.size, 5.0)
    assert mtu.size == 64
    assert mtu.first_passed(6.0)
    assert mtu.size == 500  # no more than what had passed before


@pytest.mark.rfc("8899", "4.3-1")
@pytest.mark.parametrize(("length", "first"), [(1440, 2), (1169, 2), (1168, 4), (517, 4), (516, 6), (65, 6)])
def test_small_segments_are_suspected_later(length: int, first: int) -> None:
    mtu = PathMtu(1440)
    assert [n for n in range(first + 1) if mtu.black_hole_suspected(n, length, 0.0)] == [first]


def test_what_is_small_enough_is_not_suspected() -> None:
    assert not PathMtu(500).black_hole_suspected(5, 500, 0.0)
    assert not PathMtu(52).black_hole_suspected(9, 52, 0.0)
    assert not PathMtu(1440).black_hole_suspected(9, 64, 0.0)


def test_icmp_with_an_mtu_that_is_no_smaller_changes_nothing() -> None:
    """Else whoever hits a sequence number in flight has a whole flight sent again."""
    t = established()
    t.write(9000)
    t.drain()
    for mtu in (1020, 1500, 9000):
        t.stack.path_error("peer", EMSGSIZE, mtu, quote(t, 1001), t.now)
    t.stack.path_failed("peer", [(t.flow.local_port, t.flow.remote_port)], EMSGSIZE, t.now)
    t.silent()
    assert (t.info.lost, t.info.total_retrans) == (0, 0)


def test_icmp_about_the_syn_of_one_connection_changes_no_other() -> None:
    """Connections in SYN_SENT share their controller."""
    stack = Stack(secret=SECRET, mtu=lambda _: 65_000)
    one, other = stack.connect("peer", 80, START), stack.connect("peer", 81, START)
    stack.datagrams_to_send(START)
    window = other.info().snd_cwnd
    stack.path_error("peer", EMSGSIZE, 9000, pack("!HHI", one.local_port, 80, one.send_side.iss), START)
    assert one.mss < 9000 < other.mss
    assert other.info().snd_cwnd == window


def test_black_hole_without_sack() -> None:
    """A lost probe is not taken for arrived when its octets have come in smaller segments."""
    pair = Pair(narrow(1300), mss=None, sack=False)
    mss = transfer(pair, 1_000_000)
    assert 1300 - 32 - 16 <= mss <= 1300 - 32
    assert pair.client.counters.timeouts <= 8
