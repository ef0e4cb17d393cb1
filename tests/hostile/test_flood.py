"""A SYN flood (RFC 4987): what it can make a stack hold, and what an honest client notices."""

import pytest

from tests.hostile.flood import BATCH, RATE, Outcome, flood
from utcp.tcp import COMPILED
from utcp.tcp.stack import Stack
from utcp.wire import ACK, SYN, Segment, encode

COUNT, LARGE = (100_000, 300_000) if COMPILED else (20_000, 20_000)
"""More would take longer and show nothing else: `python -m tests.hostile.flood 1000000`."""
BACKLOG = 512


def settle(outcome: Outcome, seconds: float) -> None:
    """Time passes after the flood; nobody answers."""
    stack = outcome.stack
    end = outcome.now + seconds
    while (due := stack.next_timeout()) is not None and due <= end:
        outcome.now = max(outcome.now, due)
        stack.handle_timeout(outcome.now)
        stack.datagrams_to_send(outcome.now)


@pytest.mark.parametrize(("mode", "count"), [("overflow", LARGE), ("always", COUNT)])
@pytest.mark.rfc("4987", "3.6-1")
def test_memory_is_bounded_and_a_client_connects_at_the_first_try(mode: str, count: int) -> None:
    """100,000 forged SYNs a second."""
    outcome = flood(count, syn_cookies=mode, syn_backlog=BACKLOG)
    stack = outcome.stack
    half_open = BACKLOG if mode == "overflow" else 0
    assert outcome.most_connections == half_open + 1
    assert outcome.most_queued <= BATCH + half_open + 1
    # One block left by each SYN would be 10,000 at least; half-open connections note each time that they send again.
    assert outcome.blocks < 1000 + 16 * half_open
    # To ask for a route costs more than the rest of a SYN: 1,000 times a second, and once for the client that is none.
    assert outcome.routes_asked <= count / 2 / RATE * 1000 + 1002
    assert not stack.output
    assert stack.answers_to_send() == []
    assert stack.counters.syncookies_sent >= count - half_open
    client = outcome.client
    assert client is not None
    assert client.state == "ESTABLISHED"
    assert (client.retransmits, client.window_scaling, client.sack, client.timestamps) == (0, True, True, True)
    assert outcome.echoed == b"a question"
    assert stack.counters.syncookies_recv == 1
    settle(outcome, 70)
    assert [connection.remote for connection in stack.connections.values()] == ["client"]


@pytest.mark.rfc("4987", "3.2-1")
def test_without_cookies_it_is_bounded_as_well() -> None:
    outcome = flood(COUNT // 10, client=False, syn_cookies="never", syn_backlog=BACKLOG)
    assert outcome.most_connections == BACKLOG
    assert outcome.stack.counters.listen_drops == COUNT // 10 - BACKLOG
    settle(outcome, 70)
    assert not outcome.stack.connections
    assert outcome.stack.next_timeout() is None


def test_a_crowd_from_one_host_gets_what_its_path_carries() -> None:
    """As over loopback: however many ports connect at the same moment, their host is one question to the link."""
    stack = Stack(secret=bytes(16), mtu=lambda remote: 65507)
    stack.listen(80, 0.0, backlog=10_000)
    syn = Segment(0, 80, 7, 0, SYN, 65535, mss=65487)
    for port in range(10_000, 13_000):
        syn.src_port = port
        stack.receive_datagram(encode(syn), "host", 0.0)
    assert {connection.receive_mss for connection in stack.connections.values()} == {65487}


@pytest.mark.defect(60)
def test_the_mss_offered_follows_the_route() -> None:
    """The link alone remembers routes, and for how long."""
    carries = 9000
    stack = Stack(secret=bytes(16), mtu=lambda remote: carries)
    stack.listen(80, 0.0)
    syn = Segment(50000, 80, 7, 0, SYN, 65535, mss=8980)
    stack.receive_datagram(encode(syn), "host", 0.0)
    carries = 1300
    syn.src_port = 50001
    stack.receive_datagram(encode(syn), "host", 31.0)
    assert [connection.receive_mss for connection in stack.connections.values()] == [8980, 1280]


def test_many_hosts_get_what_their_paths_carry() -> None:
    """1,000 in the same moment; those beyond are taken for a flood, whose SYN-ACKs offer what an Ethernet carries."""
    stack = Stack(secret=bytes(16), mtu=lambda remote: 9000)
    stack.listen(80, 0.0)
    syn = encode(Segment(50000, 80, 7, 0, SYN, 65535, mss=8980))
    for number in range(1010):
        stack.receive_datagram(syn, number, 0.0)
    offers = [connection.receive_mss for connection in stack.connections.values()]
    assert offers == [8980] * 1000 + [1432] * 10


def test_who_proves_his_address_is_asked_for_after_all() -> None:
    """The completing ACK of a cookie: from then on the connection uses what the path carries."""
    for mtu, mss in ((9000, 8932), (1300, 1280)):
        stack = Stack(secret=bytes(16), mtu=lambda remote, mtu=mtu: mtu)  # type: ignore[misc]  # a loop variable, bound
        stack.listen(80, 0.0)
        syn = Segment(50000, 80, 7, 0, SYN, 65535, mss=8980)
        overflowing = stack.config.syn_backlog
        for number in range(overflowing + 1):
            stack.receive_datagram(encode(syn), number, 0.0)
        (answer,) = [transmit for transmit in stack.datagrams_to_send(0.0) if transmit.remote == overflowing]
        cookie = int.from_bytes(answer.datagrams()[0][4:8], "big")
        stack.receive_datagram(encode(Segment(50000, 80, 8, cookie + 1 & 0xFFFFFFFF, ACK, 65535)), overflowing, 0.0)
        connection = stack.connections[overflowing, 50000, 80]
        assert connection.mss == mss
