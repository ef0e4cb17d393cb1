"""Ladders, from hand-made observer calls to the text they are drawn as."""

from __future__ import annotations

import pytest

from tests.trace.ladders import CLIENT_PORT, ISN, SERVER_PORT, Ends, lossy_close
from utcp.tcp import timers
from utcp.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    LISTEN,
    SYN_RCVD,
    SYN_SENT,
    TIME_WAIT,
)
from utcp.trace.ladder import Arrow, LadderRecorder, Rung, render_text
from utcp.trace.ladder.rungs import stays_in_time_wait
from utcp.trace.ladder.width import columns
from utcp.wire import ACK, FIN, PSH, RST, SYN


def assert_ladder(ends: Ends, expected: str, width: int = 90) -> None:
    text = render_text(ends.recorder.rungs(), width)
    assert text == expected.removeprefix("\n"), "\n" + text


def test_nothing_recorded() -> None:
    assert LadderRecorder().rungs() == []
    assert render_text([], width=60) == "       ms  client      |                       | server\n"


def test_open_half_close_close() -> None:
    ends = Ends()
    ends.recorder.note("the client opens", 0.0)
    ends.open()
    data = ends.send("client", PSH | ACK, 1, 1, 10, b"hello")
    ends.receive("server", data, 11)
    ends.recorder.note("the client half-closes", 0.02)
    ends.state("client", ESTABLISHED, FIN_WAIT_1, 20)
    fin = ends.send("client", FIN | ACK, 6, 1, 20.25)
    ends.receive("server", fin, 21)
    ends.state("server", ESTABLISHED, CLOSE_WAIT, 21)
    ack = ends.send("server", PSH | ACK, 1, 7, 21, b"bye")
    ends.receive("client", ack, 22)
    ends.state("client", FIN_WAIT_1, FIN_WAIT_2, 22)
    ends.state("server", CLOSE_WAIT, LAST_ACK, 30)
    fin = ends.send("server", FIN | ACK, 4, 7, 30)
    ends.receive("client", fin, 31)
    ends.state("client", FIN_WAIT_2, TIME_WAIT, 31)
    ack = ends.send("client", ACK, 7, 5, 31)
    ends.receive("server", ack, 32)
    ends.state("server", LAST_ACK, CLOSED, 32)
    ends.recorder.client.time_wait_ended("remote", SERVER_PORT, CLIENT_PORT, 1.031)

    assert_ladder(
        ends,
        """
       ms  client      |                                                     | server
      0.0  CLOSED      |                                                     | LISTEN
           the client opens
      0.0  SYN_SENT    |--- SYN seq=0 -------------------------------------->| SYN_RCVD
      1.0  ESTABLISHED |<---------------------------- SYN,ACK seq=0 ack=1 ---|
      2.0              |--- ACK seq=1 ack=1 -------------------------------->| ESTABLISHED
     10.0              |--- PSH,ACK seq=1:6 ack=1 len=5 -------------------->|
           the client half-closes
     20.2  FIN_WAIT_1  |--- FIN,ACK seq=6 ack=1 ---------------------------->| CLOSE_WAIT
     21.0  FIN_WAIT_2  |<-------------------- PSH,ACK seq=1:4 ack=7 len=3 ---|
     30.0  TIME_WAIT   |<---------------------------- FIN,ACK seq=4 ack=7 ---| LAST_ACK
     31.0              |--- ACK seq=7 ack=5 -------------------------------->| CLOSED
   1031.0  CLOSED      |                                                     |
""",
    )
    assert ends.recorder.path("client") == (
        CLOSED,
        SYN_SENT,
        ESTABLISHED,
        FIN_WAIT_1,
        FIN_WAIT_2,
        TIME_WAIT,
        CLOSED,
    )
    assert ends.recorder.path("server") == (LISTEN, SYN_RCVD, ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSED)


def test_rungs_are_values_for_any_renderer() -> None:
    ends = Ends()
    ends.open()
    rungs = ends.recorder.rungs()
    assert rungs[0] == Rung(0.0, CLOSED, LISTEN)
    assert rungs[2] == Rung(
        time=0.001,
        client=ESTABLISHED,
        server=SYN_RCVD,
        arrow=Arrow("server", SYN | ACK, seq=0, ack=1, length=0, sent=0.001, received=0.002, retransmission=False),
    )


def test_lost_segments_are_crossed_out_and_retransmissions_marked() -> None:
    ends = Ends()
    ends.state("client", CLOSED, SYN_SENT, 0)
    ends.send("client", SYN, 0, 0, 0)
    again = ends.send("client", SYN, 0, 0, 1000)  # the same bytes: the one that arrives is the younger
    ends.receive("server", again, 1001)
    ends.state("server", LISTEN, SYN_RCVD, 1001)
    ends.send("server", SYN | ACK, 0, 1, 1001)
    syn_ack = ends.send("server", SYN | ACK, 0, 1, 2001)
    ends.receive("client", syn_ack, 2002)
    ends.state("client", SYN_SENT, ESTABLISHED, 2002)
    ends.send("client", PSH | ACK, 1, 1, 2002, b"x" * 1000)
    ends.send("client", PSH | ACK, 1001, 1, 2002, b"y" * 1000)
    ends.send("client", ACK, 2001, 1, 2300)  # takes no sequence space: nothing is repeated
    ends.send("client", PSH | ACK, 501, 1, 2400, b"x" * 2000)  # from the middle of what was sent, and beyond
    ends.send("client", PSH | ACK, 2501, 1, 2500, b"z")
    assert_ladder(
        ends,
        """
       ms  client      |                                                     | server
      0.0  CLOSED      |                                                     | LISTEN
      0.0  SYN_SENT    |--- SYN seq=0 --x                                    |
   1000.0              |--- SYN seq=0 (retransmission) --------------------->| SYN_RCVD
   1001.0              |                          x-- SYN,ACK seq=0 ack=1 ---|
   2001.0  ESTABLISHED |<----------- SYN,ACK seq=0 ack=1 (retransmission) ---|
   2002.0              |--- PSH,ACK seq=1:1001 ack=1 len=1000 --x            |
   2002.0              |--- PSH,ACK seq=1001:2001 ack=1 len=1000 --x         |
   2300.0              |--- ACK seq=2001 ack=1 --x                           |
   2400.0              |--- PSH,ACK seq=501:2501 ack=1 len=2000 --x          |
                       |    (retransmission)                                 |
   2500.0              |--- PSH,ACK seq=2501:2502 ack=1 len=1 --x            |
""",
    )


def test_simultaneous_close() -> None:
    ends = Ends()
    ends.open()
    ends.state("client", ESTABLISHED, FIN_WAIT_1, 10)
    ours = ends.send("client", FIN | ACK, 1, 1, 10)
    ends.state("server", ESTABLISHED, FIN_WAIT_1, 11)
    theirs = ends.send("server", FIN | ACK, 1, 1, 11)
    ends.receive("server", ours, 20)
    ends.state("server", FIN_WAIT_1, CLOSING, 20)
    our_ack = ends.send("server", ACK, 2, 2, 20)
    ends.receive("client", theirs, 21)
    ends.state("client", FIN_WAIT_1, CLOSING, 21)
    their_ack = ends.send("client", ACK, 2, 2, 21)
    ends.receive("client", our_ack, 30)
    ends.state("client", CLOSING, TIME_WAIT, 30)
    ends.receive("server", their_ack, 31)
    ends.state("server", CLOSING, TIME_WAIT, 31)
    assert_ladder(
        ends,
        """
       ms  client      |                                                     | server
      0.0  CLOSED      |                                                     | LISTEN
      0.0  SYN_SENT    |--- SYN seq=0 -------------------------------------->| SYN_RCVD
      1.0  ESTABLISHED |<---------------------------- SYN,ACK seq=0 ack=1 ---|
      2.0              |--- ACK seq=1 ack=1 -------------------------------->| ESTABLISHED
     10.0  FIN_WAIT_1  |--- FIN,ACK seq=1 ack=1 ---------------------------->|
     11.0  CLOSING     |<---------------------------- FIN,ACK seq=1 ack=1 ---| FIN_WAIT_1
     20.0              |<-------------------------------- ACK seq=2 ack=2 ---| CLOSING
     21.0              |--- ACK seq=2 ack=2 -------------------------------->| TIME_WAIT
     30.0  TIME_WAIT   |                                                     |
""",
    )


def test_states_that_no_segment_shows_have_a_row_of_their_own() -> None:
    ends = Ends()
    ends.open()
    ends.state("client", ESTABLISHED, FIN_WAIT_1, 10)
    ends.state("client", FIN_WAIT_1, CLOSED, 11)  # nothing had left before the abort
    rst = ends.send("client", RST | ACK, 1, 1, 11)
    ends.receive("server", rst, 12)
    ends.state("server", ESTABLISHED, CLOSED, 12)
    assert_ladder(
        ends,
        """
       ms  client      |                                                     | server
      0.0  CLOSED      |                                                     | LISTEN
      0.0  SYN_SENT    |--- SYN seq=0 -------------------------------------->| SYN_RCVD
      1.0  ESTABLISHED |<---------------------------- SYN,ACK seq=0 ack=1 ---|
      2.0              |--- ACK seq=1 ack=1 -------------------------------->| ESTABLISHED
     10.0  FIN_WAIT_1  |                                                     |
     11.0  CLOSED      |--- RST,ACK seq=1 ack=1 ---------------------------->| CLOSED
""",
    )


def test_a_call_after_an_arrival_is_not_what_the_segment_led_to() -> None:
    """Whether time has passed in between, as on a real clock, or not, as in a simulation."""
    for moment in (3, 10):
        ends = Ends()
        ends.open()
        ack = ends.send("server", ACK, 1, 1, 2)
        ends.receive("client", ack, 3)
        ends.state("client", ESTABLISHED, FIN_WAIT_1, moment)
        ends.send("client", FIN | ACK, 1, 1, moment)
        rungs = ends.recorder.rungs()
        assert rungs[-2].client is None
        assert rungs[-1].client == FIN_WAIT_1
    ack = ends.send("client", ACK, 2, 1, 20)
    ends.receive("server", ack, 21)
    ends.state("server", ESTABLISHED, CLOSED, 30)  # an abort, long after what arrived last
    assert ends.recorder.rungs()[-1] == Rung(0.03, server=CLOSED)


def test_a_state_is_shown_by_the_next_segment_sent() -> None:
    """Even if something arrives in between, as on a busy connection; but not if that leads to another state."""
    ends = Ends()
    ends.open()
    data = ends.send("server", PSH | ACK, 1, 1, 9, b"data")
    ends.state("client", ESTABLISHED, FIN_WAIT_1, 10)
    ends.receive("client", data, 11)
    ends.send("client", FIN | ACK, 1, 5, 12)
    fin = ends.send("server", FIN | ACK, 5, 1, 13)
    ends.receive("client", fin, 14)
    ends.state("client", FIN_WAIT_1, CLOSING, 14)
    assert_ladder(
        ends,
        """
       ms  client      |                                                     | server
      0.0  CLOSED      |                                                     | LISTEN
      0.0  SYN_SENT    |--- SYN seq=0 -------------------------------------->| SYN_RCVD
      1.0  ESTABLISHED |<---------------------------- SYN,ACK seq=0 ack=1 ---|
      2.0              |--- ACK seq=1 ack=1 -------------------------------->| ESTABLISHED
      9.0              |<-------------------- PSH,ACK seq=1:5 ack=1 len=4 ---|
     12.0  FIN_WAIT_1  |--- FIN,ACK seq=1 ack=5 --x                          |
     13.0  CLOSING     |<---------------------------- FIN,ACK seq=5 ack=1 ---|
""",
    )

    ends = Ends()
    ends.open()
    ends.state("client", ESTABLISHED, FIN_WAIT_1, 10)
    fin = ends.send("server", FIN | ACK, 1, 1, 11)
    ends.receive("client", fin, 12)
    ends.state("client", FIN_WAIT_1, CLOSING, 12)
    ends.send("client", FIN | ACK, 1, 2, 13)
    assert [rung.client for rung in ends.recorder.rungs()[-3:]] == [FIN_WAIT_1, CLOSING, CLOSING]


def test_a_reset_in_reply_leaves_in_the_state_that_it_ends() -> None:
    ends = Ends()
    ends.open()
    data = ends.send("client", PSH | ACK, 1, 1, 10, b"unwelcome")
    ends.receive("server", data, 11)
    ends.send("server", RST, 1, 0, 11)
    ends.state("server", ESTABLISHED, CLOSED, 11)
    assert [rung.server for rung in ends.recorder.rungs()[-3:]] == [None, ESTABLISHED, CLOSED]


def test_repeating_the_old_does_not_make_the_newer_new() -> None:
    ends = Ends()
    ends.open()
    for seq in (1, 101, 1, 101, 201):
        ends.send("client", ACK, seq, 1, 10, b"x" * 100)
    arrows = [rung.arrow for rung in ends.recorder.rungs()[-5:]]
    assert [arrow and arrow.retransmission for arrow in arrows] == [False, False, True, True, False]


def test_two_states_reached_by_one_segment() -> None:
    ends = Ends()
    ends.open()
    fin = ends.send("server", FIN | ACK, 1, 1, 10)
    ends.receive("client", fin, 11)
    ends.state("client", ESTABLISHED, CLOSE_WAIT, 11)
    ends.state("client", CLOSE_WAIT, LAST_ACK, 11)
    ends.send("client", FIN | ACK, 1, 2, 11)
    assert_ladder(
        ends,
        """
       ms  client      |                                                     | server
      0.0  CLOSED      |                                                     | LISTEN
      0.0  SYN_SENT    |--- SYN seq=0 -------------------------------------->| SYN_RCVD
      1.0  ESTABLISHED |<---------------------------- SYN,ACK seq=0 ack=1 ---|
      2.0              |--- ACK seq=1 ack=1 -------------------------------->| ESTABLISHED
     10.0  CLOSE_WAIT  |<---------------------------- FIN,ACK seq=1 ack=1 ---|
     11.0  LAST_ACK    |--- FIN,ACK seq=1 ack=2 --x                          |
""",
    )


def test_refusal_and_a_segment_doubled_by_the_network() -> None:
    ends = Ends()
    ends.state("client", CLOSED, SYN_SENT, 0)
    syn = ends.send("client", SYN, 0, 0, 0)
    ends.receive("server", syn, 1)
    refusal = ends.send("server", RST | ACK, -ISN["server"], 1, 1)  # SEQ 0 on the wire
    ends.receive("server", syn, 1.5)
    ends.receive("client", refusal, 2)
    ends.state("client", SYN_SENT, CLOSED, 2)
    assert_ladder(
        ends,
        """
       ms  client      |                                                     | server
      0.0  CLOSED      |                                                     |
      0.0  SYN_SENT    |--- SYN seq=0 -------------------------------------->|
      1.0  CLOSED      |<---------------------------- RST,ACK seq=0 ack=1 ---|
      1.5              |... SYN seq=0 -------------------------------------->|
""",
    )


def test_a_new_connection_on_the_same_ports_has_numbers_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = Ends()
    ends.open()
    ends.state("client", ESTABLISHED, CLOSED, 10)
    rst = ends.send("client", RST | ACK, 1, 1, 10)
    ends.receive("server", rst, 11)
    ends.state("server", ESTABLISHED, CLOSED, 11)
    monkeypatch.setitem(ISN, "client", 123)
    monkeypatch.setitem(ISN, "server", 456)
    ends.state("client", CLOSED, SYN_SENT, 20)
    syn = ends.send("client", SYN, 0, 0, 20)
    ends.receive("server", syn, 21)
    ends.state("server", LISTEN, SYN_RCVD, 21)
    syn_ack = ends.send("server", SYN | ACK, 0, 1, 21)
    ends.receive("client", syn_ack, 22)
    ends.state("client", SYN_SENT, ESTABLISHED, 22)
    assert_ladder(
        ends,
        """
       ms  client      |                                                     | server
      0.0  CLOSED      |                                                     | LISTEN
      0.0  SYN_SENT    |--- SYN seq=0 -------------------------------------->| SYN_RCVD
      1.0  ESTABLISHED |<---------------------------- SYN,ACK seq=0 ack=1 ---|
      2.0              |--- ACK seq=1 ack=1 -------------------------------->| ESTABLISHED
     10.0  CLOSED      |--- RST,ACK seq=1 ack=1 ---------------------------->| CLOSED
     20.0  SYN_SENT    |--- SYN seq=0 -------------------------------------->| SYN_RCVD
     21.0  ESTABLISHED |<---------------------------- SYN,ACK seq=0 ack=1 ---|
""",
    )


def test_the_rst_that_answers_a_segment_without_ack_has_seq_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a number of the sender's sequence space (RFC 9293 3.10.7.1), as from a LAST_ACK peer that a SYN reaches."""
    ends = Ends()
    ends.open()
    monkeypatch.setitem(ISN, "client", 123)
    ends.send("client", SYN, 0, 0, 10)
    ends.send("server", RST | ACK, -ISN["server"], 1, 11)
    assert "RST,ACK seq=0 ack=1" in render_text(ends.recorder.rungs())


def test_other_connections_are_ignored() -> None:
    ends = Ends()
    other = Ends(client_port=50001, recorder=ends.recorder)
    ends.open()
    before = ends.recorder.rungs()
    other.open()
    other.recorder.server.time_wait_ended("remote", 50001, SERVER_PORT, 1.0)
    assert ends.recorder.rungs() == before


@pytest.mark.defect(61)
def test_connections_of_other_peers_on_the_same_ports_are_ignored() -> None:
    ends = Ends()
    other = Ends(recorder=ends.recorder, remote="another host")
    ends.open()
    before = ends.recorder.rungs()
    other.open()
    other.timer("client", timers.RETRANSMIT, 5)
    other.recorder.client.time_wait_ended("another host", SERVER_PORT, CLIENT_PORT, 1.0)
    assert ends.recorder.rungs() == before


def test_without_the_opening_the_numbers_are_the_raw_ones() -> None:
    ends = Ends()
    ends.send("server", PSH | ACK, 1, 1, 0, b"late")
    assert_ladder(
        ends,
        """
       ms  client      |                                                         | server
      0.0              | x-- PSH,ACK seq=7000001:7000005 ack=4294967295 len=4 ---|
""",
    )


def test_the_ladder_is_as_wide_as_asked_or_as_needed() -> None:
    ends = Ends()
    ends.open()
    lines = render_text(ends.recorder.rungs(), width=0, names=("left", "right")).splitlines()
    assert lines[0] == "       ms  left        |                            | right"
    assert lines[3] == "      1.0  ESTABLISHED |<--- SYN,ACK seq=0 ack=1 ---|"
    closing_bars = {line.rindex("|") for line in lines}
    assert closing_bars == {len("      1.0  ESTABLISHED |<--- SYN,ACK seq=0 ack=1 ---")}
    assert max(map(len, render_text(ends.recorder.rungs(), width=100).splitlines())) == 100


def test_timers_are_shown_by_what_comes_of_them() -> None:
    ends = Ends()
    ends.open()
    ends.timer("client", timers.DELAYED_ACK, 50)
    ends.send("client", ACK, 1, 1, 50)
    ends.timer("client", timers.PACING, 60)  # no timeout
    ends.send("client", PSH | ACK, 1, 1, 60, b"data")
    ends.timer("client", timers.RETRANSMIT, 260)
    ends.send("client", PSH | ACK, 1, 1, 260.1, b"data")  # a loop sends a moment later
    ends.send("client", PSH | ACK, 5, 1, 260.1, b"more")
    ends.timer("client", timers.KEEPALIVE, 300)  # nothing comes of it
    ends.send("client", PSH | ACK, 9, 1, 400, b"else")
    ends.timer("server", timers.PROBE, 410)
    data = ends.send("client", ACK, 9, 1, 410)
    ends.receive("server", data, 411)
    ends.send("server", ACK, 1, 1, 411)  # it answers what has arrived
    ends.timer("client", timers.USER_TIMEOUT, 500)
    ends.state("client", ESTABLISHED, CLOSED, 500)
    ends.send("client", RST, 13, 1, 500)
    ends.timer("server", timers.FIN_WAIT_2, 900)
    ends.state("server", ESTABLISHED, CLOSED, 900)
    assert_ladder(
        ends,
        """
       ms  client      |                                                                             | server
      0.0  CLOSED      |                                                                             | LISTEN
      0.0  SYN_SENT    |--- SYN seq=0 -------------------------------------------------------------->| SYN_RCVD
      1.0  ESTABLISHED |<---------------------------------------------------- SYN,ACK seq=0 ack=1 ---|
      2.0              |--- ACK seq=1 ack=1 -------------------------------------------------------->| ESTABLISHED
     50.0              |--- ACK seq=1 ack=1 (timer delayed_ack) --x                                  |
     60.0              |--- PSH,ACK seq=1:5 ack=1 len=4 --x                                          |
    260.1              |--- PSH,ACK seq=1:5 ack=1 len=4 (retransmission, timer retransmit) --x       |
    260.1              |--- PSH,ACK seq=5:9 ack=1 len=4 --x                                          |
    400.0              |--- PSH,ACK seq=9:13 ack=1 len=4 --x                                         |
    410.0              |--- ACK seq=9 ack=1 -------------------------------------------------------->|
    411.0              |                                                      x-- ACK seq=1 ack=1 ---|
    500.0  CLOSED      |--- RST seq=13 (timer user_timeout) --x                                      |
    900.0              |                                                          (timer fin_wait_2) | CLOSED
""",
        width=114,
    )
    assert ends.recorder.rungs()[-1] == Rung(0.9, server=CLOSED, expired=("server", timers.FIN_WAIT_2))


def test_the_end_of_time_wait_stays_where_it_was_when_something_is_answered_later() -> None:
    ends = lossy_close()
    stray = ends.send("server", ACK, 2, 2, 5000)
    ends.receive("client", stray, 5001)
    ends.send("client", RST, 2, 0, 5001)
    rungs = ends.recorder.rungs()
    assert Rung(1.212, client=CLOSED) in rungs
    (stay,) = stays_in_time_wait(rungs)
    assert (stay.end, stay.began, stay.ended, stay.expired, stay.restarts) == ("client", 0.212, 1.212, True, [])


def test_a_fin_starts_2_msl_anew_and_a_syn_cuts_it_short() -> None:
    ends = lossy_close()
    rungs = ends.recorder.rungs()[:-1]
    fin = Arrow("server", FIN | ACK, 1, 2, 0, sent=0.5, received=0.501, retransmission=True)
    syn = Arrow("server", SYN, 0, None, 0, sent=0.7, received=0.701, retransmission=False)
    rungs += [Rung(0.5, arrow=fin), Rung(0.7, client=CLOSED, arrow=syn)]
    (stay,) = stays_in_time_wait(rungs)
    assert stay.restarts == [len(rungs) - 2]
    assert (stay.last, stay.ended, stay.expired) == (len(rungs) - 1, 0.701, False)


def test_of_equal_segments_that_arrives_whose_time_under_way_is_the_usual_one() -> None:
    """ACKs that repeat each other, without timestamps: two are under way, the older one arrives."""
    ends = Ends()
    ends.open()
    first = ends.send("server", ACK, 1, 1, 10)
    second = ends.send("server", ACK, 1, 1, 10.5)
    ends.receive("client", first, 11)
    ends.receive("client", second, 11.5)
    flights = [(rung.arrow.sent, rung.arrow.received) for rung in ends.recorder.rungs()[-2:] if rung.arrow]
    assert flights == [(0.01, 0.011), (0.0105, 0.0115)]


def test_what_is_known_of_the_ends_goes_along() -> None:
    ends = lossy_close()
    arrows = [rung.arrow for rung in ends.recorder.rungs() if rung.arrow]
    syn, last = arrows[0], arrows[-1]
    assert (syn.at_sender["cwnd"], syn.at_sender["rto"]) == (14480, 1.0)
    assert syn.at_sender["running"] == "retransmit:0.25"
    assert "ssthresh" not in syn.at_sender  # no limit is no news
    assert syn.at_receiver == {}  # in LISTEN there is no connection
    assert last.at_sender == {}  # nor in TIME_WAIT
    assert last.at_receiver["rcv_wnd"] == 131072
    assert syn.segment is not None
    assert syn.segment.seq == ISN["client"]


def test_chinese_text_is_as_wide_as_a_terminal_shows_it() -> None:
    ends = Ends()
    ends.open()
    lines = render_text(ends.recorder.rungs(), width=70, names=("客户端", "服务器")).splitlines()
    assert lines[0] == "       ms  客户端      |                                 | 服务器"
    assert {columns(line[: line.index("|")]) for line in lines} == {23}
