"""A send that fails, or ICMP about an open, costs no look at all connections."""

from errno import ECONNREFUSED, EHOSTUNREACH, EMSGSIZE, ENETUNREACH
from typing import Any, NoReturn

import pytest

from tests.tcp.reach import established, syn_sent
from tests.tcp.script import Script
from utcp.errors import PathUnreachable
from utcp.tcp.event import TROUBLE
from utcp.tcp.state import CLOSED, ESTABLISHED, SYN_SENT
from utcp.tcp.transmit import Transmit
from utcp.wire import encode


def listening(**knobs: Any) -> Script:
    t = Script(**knobs)
    t.listen()
    return t


def arrives(t: Script, *lines: str) -> None:
    """Without a flush, which `Script.receives` makes."""
    for line in lines:
        t.stack.receive_datagram(encode(t.flow.segment(line)), t.flow.remote, t.now)


class Unseen(dict[Any, Any]):
    """May be looked up in, and not walked through."""

    def _walked(self, *_: object) -> NoReturn:
        raise AssertionError("all connections are looked at")

    __iter__ = items = keys = values = copy = _walked


def flow_of(connection: Any) -> tuple[int, int]:
    return connection.local_port, connection.remote_port


@pytest.mark.defect(92)
@pytest.mark.parametrize("code", [ENETUNREACH, EMSGSIZE])
def test_a_failed_send_concerns_the_connections_whose_segments_it_had(code: int) -> None:
    t = Script()
    first, second, third = (t.stack.connect("peer", 80, t.now) for _ in range(3))
    for transmit in t.stack.datagrams_to_send(t.now):
        assert len(transmit.flows()) == 3  # SYNs of one size, in one train
    t.stack.connections = Unseen(t.stack.connections)
    t.stack.path_failed("peer", [flow_of(first), flow_of(second), (1, 2)], code, t.now)
    t.stack.path_failed("other", [flow_of(third)], code, t.now)
    ends = CLOSED if code == ENETUNREACH else SYN_SENT
    assert [each.state for each in (first, second, third)] == [ends, ends, SYN_SENT]
    assert isinstance(first.error, PathUnreachable) == (code == ENETUNREACH)


@pytest.mark.defect(92)
def test_a_failed_send_is_a_soft_error_for_the_connection_alone() -> None:
    t = established()
    other = t.stack.connect("peer", 80, t.now)
    t.stack.datagrams_to_send(t.now)
    t.stack.path_failed("peer", [(t.flow.local_port, t.flow.remote_port)], ENETUNREACH, t.now)
    assert (t.state, other.state) == (ESTABLISHED, SYN_SENT)
    assert t.connection.take_events() & TROUBLE


@pytest.mark.defect(92)
def test_an_answer_that_cannot_be_sent_ends_the_half_open_connection() -> None:
    """Its SYN was forged: its place is for others."""
    t = listening()
    arrives(t, "S 0:0")
    (transmit,) = t.stack.datagrams_to_send(t.now)
    t.stack.connections = Unseen(t.stack.connections)
    t.stack.path_failed("peer", transmit.flows(), EHOSTUNREACH, t.now)
    assert len(t.stack.connections) == 0


@pytest.mark.defect(92)
def test_icmp_about_a_syn_looks_at_the_opens_to_its_destination_alone() -> None:
    t = Script()
    refused = [t.stack.connect("peer", 80, t.now) for _ in range(2)]
    others = [t.stack.connect("peer", 81, t.now), t.stack.connect("other", 80, t.now)]
    transmits = t.stack.datagrams_to_send(t.now)
    t.stack.connections = Unseen(t.stack.connections)
    quoted = next(each for transmit in transmits for each in transmit.datagrams() if transmit.remote == "peer")
    t.stack.path_error("peer", ECONNREFUSED, None, quoted, t.now)
    assert [each.state for each in (*refused, *others)] == [CLOSED, CLOSED, SYN_SENT, SYN_SENT]


@pytest.mark.defect(92)
def test_of_opens_that_are_over_nothing_is_kept() -> None:
    t = syn_sent()
    t.receives("S. 0:0 ack 1")
    t.drain()
    assert t.state == ESTABLISHED
    t.stack.connect("peer", 80, t.now).abort(t.now)
    assert not t.stack._opening


def test_the_flows_of_a_train() -> None:
    header = bytes.fromhex("00500051"), bytes.fromhex("00500052")
    train = Transmit("peer", [header[0] + b"text", header[1], b"text", header[0] + b"t"], 21, 8)
    assert train.flows() == ((0x50, 0x51), (0x50, 0x52))
    assert Transmit("peer", [b"x"], 1).flows() == ()
