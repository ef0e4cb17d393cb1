"""The ladder as a list, where there is no room for the ladder."""

import pytest

from tests.trace.ladders import Ends, lossy_close
from utcp.trace.ladder import render_text
from utcp.trace.ladder.narrow import render_narrow
from utcp.trace.ladder.text import needed_width
from utcp.trace.ladder.width import columns
from utcp.wire import ACK, PSH


def test_a_life() -> None:
    assert (
        render_narrow(lossy_close().recorder.rungs(), 40)
        == """\
       ms  client --> server
      0.0  client CLOSED, server LISTEN
      0.0  --> SYN seq=0
           client SYN_SENT
           server SYN_RCVD
      1.0  <-- SYN,ACK seq=0 ack=1
           client ESTABLISHED
      2.0  --> ACK seq=1 ack=1
           server ESTABLISHED
           The client closes, and its FIN is lost.
     10.0  --x FIN,ACK seq=1 ack=1
           client FIN_WAIT_1
    210.0  --> FIN,ACK seq=1 ack=1
               (retransmission, timer
               retransmit)
           server CLOSE_WAIT
    211.0  <-- FIN,ACK seq=1 ack=2
           client TIME_WAIT
           server LAST_ACK
    212.0  --> ACK seq=2 ack=2
           server CLOSED
   1212.0  client CLOSED
"""
    )


def test_a_duplicate_and_what_does_not_fit() -> None:
    ends = Ends()
    ends.open()
    number = ends.send("server", PSH | ACK, 1, 1, 10, b"late")
    ends.receive("client", number, 11)
    ends.receive("client", number, 12)
    lines = render_narrow(ends.recorder.rungs(), 32, ("客户端", "服务器")).splitlines()
    assert lines[0] == "       ms  客户端 --> 服务器"
    assert any("<... PSH,ACK" in line for line in lines)
    assert max(map(columns, lines)) <= 32


def test_the_width_that_the_ladder_needs() -> None:
    rungs = lossy_close().recorder.rungs()
    width = needed_width(rungs)
    for names in (("client", "server"), ("a rather long name", "another")):
        width = needed_width(rungs, names)
        assert max(map(len, render_text(rungs, width, names).splitlines())) <= width
        assert max(map(len, render_text(rungs, 0, names).splitlines())) <= width
        assert render_text(rungs, 0, names) == render_text(rungs, width, names)


@pytest.mark.parametrize("width", [40, 60, 100])
def test_no_rungs(width: int) -> None:
    assert render_narrow([], width) == "       ms  client --> server\n"
