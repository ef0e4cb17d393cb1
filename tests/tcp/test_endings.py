"""How connections end, by cause: each is counted once, and octets of those that are over are not forgotten."""

from collections.abc import Callable
from dataclasses import asdict
from errno import EHOSTUNREACH

import pytest

from tests.tcp.reach import close_wait, established, fin_wait_1, fin_wait_2, last_ack, syn_rcvd, syn_sent, time_wait
from tests.tcp.script import MSS, SECRET, Script
from utcp.config import Config
from utcp.tcp.endings import Endings
from utcp.tcp.stack import Stack
from utcp.tcp.state import CLOSED, TIME_WAIT

Reach = Callable[[], Script]
Step = Callable[[Script], object]


def unreachable(t: Script) -> None:
    t.connect()
    t.drain()
    t.stack.path_failed("peer", [(t.flow.local_port, t.flow.remote_port)], EHOSTUNREACH, t.now)


def half_closed_and_aborted(t: Script) -> None:
    t.shutdown()
    t.drain()
    t.receives(". 1:1 ack 2")
    t.abort()


def closed_unread(t: Script) -> None:
    t.receives("P. 1:101 ack 1")
    t.close()


def unanswered(seconds: float) -> Step:
    """One full segment that nobody acknowledges."""

    def step(t: Script) -> None:
        t.write(MSS)
        t.drain()
        t.advance(seconds)

    return step


def linger(t: Script) -> None:
    t.connection.linger = 1.0
    t.close()
    t.drain()
    t.advance(1.1)


def half_closed_time_wait() -> Script:
    """As README's client does: it writes, half-closes, reads to the end, and closes."""
    t = fin_wait_2(half=True)
    t.receives("F. 1:101 ack 2")
    t.read()
    t.sends(". 2:2 ack 102")
    assert t.state == TIME_WAIT
    return t


def half_closed_last_ack() -> Script:
    t = close_wait()
    t.shutdown()
    t.sends("F. 1:1 ack 2")
    t.receives(". 2:2 ack 2")
    assert t.state == CLOSED
    return t


CASES: dict[str, tuple[Reach, Step, str]] = {
    "active close": (fin_wait_1, lambda t: t.receives(". 1:1 ack 2"), "delivered"),
    "passive close": (last_ack, lambda t: t.receives(". 2:2 ack 2"), "delivered"),
    "close after a half-close, in TIME_WAIT": (half_closed_time_wait, lambda t: t.close(), "delivered"),
    "close after a half-close, in CLOSED": (half_closed_last_ack, lambda t: t.close(), "delivered"),
    "abort after a half-close, in TIME_WAIT": (half_closed_time_wait, lambda t: t.abort(), "delivered"),
    "abort": (established, lambda t: t.abort(), "aborted"),
    "abort with the FIN acknowledged": (established, half_closed_and_aborted, "aborted"),
    "close before the handshake is over": (syn_sent, lambda t: t.close(), "aborted"),
    "closed unread": (established, closed_unread, "aborted"),
    "refused": (syn_sent, lambda t: t.receives("R. 0:0 ack 1"), "refused"),
    "reset": (close_wait, lambda t: t.receives("R 2:2"), "reset"),
    "no route": (Script, unreachable, "unreachable"),
    "SYN unanswered": (lambda: syn_sent(syn_retries=0), lambda t: t.advance(1.1), "syn_timed_out"),
    "text unanswered": (lambda: established(retries=0), unanswered(0.3), "retransmission_timed_out"),
    "FIN unanswered": (lambda: fin_wait_1(fin_retries=0), lambda t: t.advance(0.3), "fin_timed_out"),
    "user timeout": (lambda: established(user_timeout=0.5), unanswered(0.6), "user_timed_out"),
    "keepalive": (
        lambda: established(keepalive=True, keepalive_idle=1.0, keepalive_interval=1.0, keepalive_count=2),
        lambda t: t.advance(3.5),
        "keepalive_timed_out",
    ),
    "linger": (established, linger, "linger_timed_out"),
}


@pytest.mark.defect(58)
@pytest.mark.parametrize(("reach", "step", "cause"), CASES.values(), ids=list(CASES))
def test_an_ending_counts_once_under_its_cause(reach: Reach, step: Step, cause: str) -> None:
    t = reach()
    t.drain()
    before = asdict(t.stack.endings)
    step(t)
    t.drain()
    assert {name: count - before[name] for name, count in asdict(t.stack.endings).items() if count != before[name]} == {
        cause: 1
    }
    t.advance(300.0)  # nothing more comes of it
    t.drain()
    assert sum(asdict(t.stack.endings).values()) == sum(before.values()) + 1


def test_every_cause_is_shown() -> None:
    assert {cause for _, _, cause in CASES.values()} == set(asdict(Endings()))


def test_what_no_user_had_heard_of_does_not_end() -> None:
    """A half-open connection that is reset, or never completed."""
    steps: tuple[Step, Step] = (lambda t: t.receives("R 1:1"), lambda t: t.advance(300.0))
    for step in steps:
        t = syn_rcvd()
        t.drain()
        step(t)
        t.drain()
        assert not t.stack.connections
        assert t.stack.endings == Endings()


def test_an_error_that_nobody_knows_is_not_miscounted() -> None:
    with pytest.raises(TypeError, match="OSError"):
        Endings().note(OSError())


@pytest.mark.parametrize("over", ["delivered", "aborted", "TIME_WAIT"])
def test_octets_of_a_connection_are_counted_when_the_stack_has_it_no_more(over: str) -> None:
    t = established()
    t.write(3 * MSS)
    t.drain()
    t.advance(0.21)  # one of them again
    t.drain()
    t.receives("P. 1:101 ack 3001")
    counters = t.stack.counters
    assert (counters.past_bytes_sent, counters.past_bytes_received) == (0, 0)
    if over == "aborted":
        t.abort()
    else:
        t.read()
        t.close()
        t.drain()
        t.receives(". 101:101 ack 3002")
        t.receives("F. 101:101 ack 3002")
        if over == "delivered":
            t.advance(300.0)
    t.drain()
    assert not t.stack.connections
    assert (counters.past_bytes_sent, counters.past_bytes_received) == (4 * MSS, 100)


def test_ports_in_use_towards_the_busiest_destination() -> None:
    stack = Stack(Config(ephemeral_ports=(50000, 50004)), secret=SECRET)
    assert stack.ports_in_use() == 0
    for remote, remote_port, count in (("peer", 80, 2), ("peer", 81, 3), ("other", 80, 1)):
        for _ in range(count):
            stack.connect(remote, remote_port, 0.0)
    stack.connect("peer", 81, 0.0, local_port=1234)  # no ephemeral port
    assert stack.ports_in_use() == 3


def test_time_wait_uses_ports_too() -> None:
    t = time_wait(ephemeral_ports=(50000, 50001))
    t.stack.connect("peer", 80, t.now, local_port=50001)
    t.drain()
    assert t.stack.ports_in_use() == 2
    with pytest.raises(OSError, match="every ephemeral port"):
        t.connect(local_port=None)
    assert t.stack.counters.ports_exhausted == 1
    assert fin_wait_2(ephemeral_ports=(40000, 40001)).stack.ports_in_use() == 0
