"""Ladders as Mermaid diagrams."""

from __future__ import annotations

from tests.trace.ladders import Ends, lossy_close
from utcp.trace.ladder import render_mermaid
from utcp.wire import ACK, PSH


def test_a_lost_fin() -> None:
    text = render_mermaid(lossy_close().recorder.rungs(), title="A FIN is lost")
    assert (
        text
        == """\
---
title: "A FIN is lost"
---
sequenceDiagram
    participant c as client
    participant s as server
    Note left of c: CLOSED
    Note right of s: LISTEN
    Note left of c: SYN_SENT
    c->>s: SYN seq=0
    Note right of s: SYN_RCVD
    s->>c: SYN,ACK seq=0 ack=1
    Note left of c: ESTABLISHED
    c->>s: ACK seq=1 ack=1
    Note right of s: ESTABLISHED
    Note over c,s: 7 ms later
    Note over c,s: The client closes, and its FIN is lost.
    Note left of c: FIN_WAIT_1
    c-xs: FIN,ACK seq=1 ack=1 · lost
    Note over c,s: 200 ms later
    Note left of c: timer: retransmit
    c->>s: FIN,ACK seq=1 ack=1 · retransmission
    Note right of s: CLOSE_WAIT
    Note right of s: LAST_ACK
    s->>c: FIN,ACK seq=1 ack=2
    Note left of c: TIME_WAIT
    c->>s: ACK seq=2 ack=2
    Note right of s: CLOSED
    Note over c,s: 999 ms later
    Note left of c: CLOSED
"""
    )


def test_a_duplicate_has_a_dotted_arrow() -> None:
    ends = Ends()
    ends.open()
    data = ends.send("client", PSH | ACK, 1, 1, 10, b"x")
    ends.receive("server", data, 11)
    ends.receive("server", data, 12)
    assert render_mermaid(ends.recorder.rungs()).endswith("    c-->>s: PSH,ACK seq=1:2 ack=1 len=1 · duplicate\n")


def test_what_would_be_mermaids_own_syntax_is_escaped() -> None:
    """Tried with Mermaid 11: it shows these as they were."""
    ends = Ends()
    ends.recorder.note("in the end; # <b> %% {a}\nEND of it, appended", 0.0)
    text = render_mermaid(ends.recorder.rungs(), names=('a "c" end', "客户端"), title='T: "x" \\')
    assert text.splitlines() == [
        "---",
        'title: "T: \\"x\\" \\\\"',
        "---",
        "sequenceDiagram",
        "    participant c as a #34;c#34; #101;nd",
        "    participant s as 客户端",
        "    Note over c,s: in the #101;nd#59; #35; #60;b#62; #37;#37; #123;a#125; #69;ND of it, appended",
    ]


def test_long_notes_are_wrapped() -> None:
    ends = Ends()
    ends.recorder.note("many words " * 12, 0.0)
    assert render_mermaid(ends.recorder.rungs()).count("<br/>") == 2


def test_nothing_at_all() -> None:
    assert render_mermaid([]).splitlines()[0] == "sequenceDiagram"
