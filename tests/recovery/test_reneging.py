"""A peer that drops what it had SACKed (RFC 2018 8), and SACK blocks that no honest peer sends."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tests.recovery.trace import MSS, RTT, consistent, recovery, sender, seqs
from tests.variant import examples
from utcp.tcp.recovery.recovery import OPEN


@pytest.mark.rfc("2018", "5-1", "5-4")
def test_what_the_peer_dropped_after_a_sack_is_sent_again() -> None:
    """RFC 2018 8: a timeout forgets all SACKs, and then everything goes again at the pace of slow start, not of the
    timer."""
    t = sender(10)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:10001>")
    assert seqs(t.drain(), t) == [1]
    t.advance(RTT)
    t.receives(". 1:1 ack 1001")  # all but the first is gone
    t.drain()
    una = 1001
    for _ in range(20):
        t.advance(t.info.rto + 0.001 if una == 1001 else RTT)
        sent = seqs(t.drain(), t)
        while una in sent:  # the peer takes what is in order, and nothing else
            una += MSS
        t.receives(f". 1:1 ack {una}")
        if una > 10_000:
            break
        sent = seqs(t.drain(), t)
        while una in sent:
            una += MSS
        t.receives(f". 1:1 ack {una}")
    assert una == 10_001
    assert t.stack.counters.timeouts == 1
    assert recovery(t).board.sacked == 0
    t.silent_for(60)


def test_a_reneging_peer_gives_no_round_trip_sample() -> None:
    """When what it had dropped is acknowledged after all, nobody knows when it left (Karn)."""
    t = sender(10, options="mss 1000,sackOK")
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:10001>")
    t.drain()
    t.advance(RTT)
    t.receives(". 1:1 ack 1001")
    t.drain()
    srtt = t.info.rtt
    t.advance(t.info.rto + 0.001)
    t.drain()
    t.receives(". 1:1 ack 10001")
    assert t.info.rtt == srtt


@pytest.mark.rfc("2018", "5-4")
def test_a_sack_that_covers_everything_leaves_the_timer_running() -> None:
    """Even the first octet is SACKed, but never acknowledged: it goes again."""
    t = sender(3)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1:3001>")
    t.drain()
    t.advance(2.0)
    assert 1 in seqs(t.drain(), t)
    t.receives(". 1:1 ack 3001")
    t.silent_for(60)


def test_sacks_of_a_refused_window_probe_are_not_believed() -> None:
    t = sender(window=0)
    t.write(100)
    t.advance(1.0)
    t.drain()
    t.receives(". 1:1 ack 1 win 0 <sack 1:2>")
    t.advance(5.0)
    assert seqs(t.drain(), t)[0] == 1
    t.receives(". 1:1 ack 1 win 4000")
    t.advance(1.0)
    t.drain()
    t.receives(". 1:1 ack 101")
    t.silent_for(60)


edges = st.one_of(
    st.integers(-3, 14).map(lambda n: n * 1000 + 1),
    st.integers(-2500, 12_500),
    st.sampled_from([-(1 << 31), (1 << 31) - 1, -(1 << 30), 1 << 30]),
)
blocks = st.lists(st.tuples(edges, edges), min_size=1, max_size=4)
segments = st.one_of(
    blocks.map(lambda all_of: f"<sack {' '.join(f'{left}:{right}' for left, right in all_of)}>"),
    st.sampled_from([0.01, 0.05, 0.1, 0.3, 2.0]),
    st.integers(0, 12),
)


@settings(max_examples=examples(250), deadline=None, derandomize=True)
@given(
    events=st.lists(segments, min_size=1, max_size=12),
    options=st.sampled_from(["mss 1012,sackOK,ts 100", "mss 1000,sackOK"]),
)
@pytest.mark.parametrize("fin", [False, True])
@pytest.mark.rfc("2018", "5-5")
def test_blocks_of_nonsense_break_nothing(events: list[str | float | int], options: str, fin: bool) -> None:
    """Inverted, overlapping, huge, beyond SND.NXT, below SND.UNA, in any order, with honest ACKs between them: the
    scoreboard stays whole, and at the end everything that was written has been sent and can be acknowledged."""
    t = sender(options=options)
    t.write(12 * MSS)
    if fin:
        t.shutdown()
    t.drain()
    una = 1
    for event in events:
        if isinstance(event, str):
            t.receives(f". 1:1 ack {una} {event}")
        elif isinstance(event, float):
            t.advance(event)
        else:
            una = max(una, min(1 + event * MSS, t.flow.snd_nxt))
            t.receives(f". 1:1 ack {una}")
        t.drain()
        board = recovery(t).board
        consistent(board)
        assert board.una == una
        assert board.nxt == t.flow.snd_nxt
        assert recovery(t).in_flight >= 0
        assert t.info.snd_cwnd >= MSS
    last = 12 * MSS + 1 + fin
    for _ in range(40):  # an honest peer from here on, which has nothing but what was acknowledged
        if una == last:
            break
        t.advance(t.info.rto + 0.001)
        sent = {(t.flow.seq(segment), t.flow.seq(segment) + segment.length) for segment in t.drain()}
        assert sent, "nothing comes any more"
        progress = True
        while progress:
            progress = False
            for start, end in sent:
                if start <= una < end:
                    una, progress = end, True
        t.receives(f". 1:1 ack {una}")
        sent = {(t.flow.seq(segment), t.flow.seq(segment) + segment.length) for segment in t.drain()}
        for start, end in sorted(sent):
            if start <= una < end:
                una = end
        t.receives(f". 1:1 ack {una}")
        t.drain()
    assert una == last
    assert recovery(t).board.una == recovery(t).board.nxt
    assert recovery(t).phase == OPEN or recovery(t).board.in_flight == 0


@pytest.mark.rfc("2018", "5-5")
def test_a_block_that_begins_below_una_is_ignored() -> None:
    """It was sent before the cumulative ACK, or is no SACK of this connection: believing less costs nothing."""
    t = sender(5)
    t.advance(RTT)
    t.receives(". 1:1 ack 2001 <sack 1001:4001>")
    assert recovery(t).board.sacked == 0
    t.receives(". 1:1 ack 5001")
    t.silent_for(10)
