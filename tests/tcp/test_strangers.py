"""What goes to senders that have not proven to be at their address is marked, and leaves last."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.tcp.reach import closed, established, fin_wait_1, syn_rcvd, syn_sent, time_wait
from tests.tcp.script import Script
from utcp.tcp.connection.reset import refuse
from utcp.wire import ACK, RST, SYN, decode, encode

Reach = Callable[[], Script]


# A SYN from elsewhere, from port 50001 to port 81.
STRAY = bytes.fromhex("c3510051") + bytes(8) + bytes.fromhex("5002") + bytes(6)


def listening(**knobs: Any) -> Script:
    t = Script(**knobs)
    t.listen()
    return t


def leaves(t: Script) -> list[tuple[int, bool]]:
    """The flags of each segment that leaves now, and whether it goes to a stranger; in order."""
    return [
        (decode(datagram).flags, transmit.unverified)
        for transmit in t.stack.datagrams_to_send(t.now)
        for datagram in transmit.datagrams()
    ]


def arrives(t: Script, *lines: str) -> None:
    """Without a flush, which `Script.receives` makes."""
    for line in lines:
        t.stack.receive_datagram(encode(t.flow.segment(line)), t.flow.remote, t.now)


@pytest.mark.defect(90)
@pytest.mark.parametrize(
    ("reach", "line", "flags"),
    [
        (listening, "S 0:0", SYN | ACK),
        (lambda: listening(syn_cookies="always"), "S 0:0", SYN | ACK),
        (lambda: listening(syn_cookies="always"), "S 0:0 <mss 1000,sackOK,ts 1:0,wscale 7>", SYN | ACK),
        (closed, "S 0:0", RST | ACK),
        (listening, ". 1:1 ack 1", RST),
        (syn_rcvd, ". 1:1 ack 77", RST),
        (syn_rcvd, ". 99999:99999 ack 1", ACK),
    ],
)
def test_answers_to_strangers_are_marked(reach: Reach, line: str, flags: int) -> None:
    t = reach()
    arrives(t, line)
    assert leaves(t) == [(flags, True)]


@pytest.mark.defect(90)
def test_a_repeated_syn_ack_and_the_reset_of_a_half_open_connection_are_marked() -> None:
    t = syn_rcvd()
    t.now += 1.0
    t.stack.handle_timeout(t.now)
    assert leaves(t) == [(SYN | ACK, True)]
    (connection,) = t.stack.connections.values()
    refuse(connection, t.now)
    assert leaves(t) == [(RST, True)]


@pytest.mark.defect(90)
def test_what_connections_send_is_not_marked() -> None:
    """A SYN of ours included, which no stranger can bring about; and answers in TIME_WAIT, to an address that was
    proven."""
    t = Script()
    t.connect()
    assert leaves(t) == [(SYN, False)]
    t = established()
    t.write(3000)
    arrives(t, ". 99999:99999 ack 1")
    assert {mark for _, mark in leaves(t)} == {False}
    t = time_wait()
    arrives(t, "F. 1:1 ack 2")
    assert leaves(t) == [(ACK, False)]
    t = fin_wait_1()
    t.connection.abort(t.now)
    assert {mark for _, mark in leaves(t)} == {False}


@pytest.mark.defect(90, 55)
def test_the_reset_of_an_old_connection_leaves_before_the_syn_that_follows() -> None:
    t = syn_sent()
    arrives(t, ". 77:77 ack 77")
    assert leaves(t) == [(RST, False), (SYN, False)]


@pytest.mark.defect(90)
def test_segments_of_connections_leave_before_answers_to_strangers() -> None:
    t = established()
    t.stack.receive_datagram(STRAY, "stranger", t.now)
    t.connection.send(b"text")
    assert [mark for _, mark in leaves(t)] == [False, True]


@pytest.mark.defect(90)
def test_answers_to_strangers_can_be_taken_alone() -> None:
    """While segments wait for room, `datagrams_to_send` is not asked."""
    t = established()
    t.connection.send(b"text")
    t.stack.receive_datagram(STRAY, "stranger", t.now)
    (answer,) = t.stack.answers_to_send()
    assert (answer.remote, answer.unverified) == ("stranger", True)
    assert t.stack.answers_to_send() == []
    assert [mark for _, mark in leaves(t)] == [False]
