"""Nothing remains of a connection that is over (DESIGN: nothing per connection exists after it; known defect 39)."""

import gc
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from tests.tcp.pair import Pair, lose
from tests.tcp.reach import established, last_ack, syn_rcvd, syn_sent
from tests.tcp.script import Script
from tests.variant import interpreted_only
from utcp.tcp.connection import Connection
from utcp.wire import SYN

Alive: TypeAlias = Callable[[], int]


@pytest.fixture
def alive() -> Iterator[Alive]:
    """How many connection objects were made since the test began and still exist, without help of the cycle collector:
    what is garbage must go by reference counts alone."""

    def count() -> int:
        return sum(type(thing) is Connection for thing in gc.get_objects())

    gc.collect()
    before = count()
    gc.disable()
    yield lambda: count() - before
    gc.enable()


def close_both_ends(p: Pair, count: int, end: Callable[[Connection, Connection], None]) -> None:
    for _ in range(count):
        near, far = p.established()
        near.send(b"hello")
        p.run_for(0.05)
        far.read()
        end(near, far)


def nothing_is_left(p: Pair, alive: Alive) -> None:
    p.run()
    for stack in (p.client, p.server):
        stack.take_ready()
        for listener in list(stack.listeners.values()):
            listener.close(p.now)
        assert not stack.connections
        assert len(stack.time_wait) == 0
        assert stack.next_timeout() is None
        assert not stack.datagrams_to_send(p.now)
    assert alive() == 0


def test_closed_connections(alive: Alive) -> None:
    p = Pair()

    def end(near: Connection, far: Connection) -> None:
        near.close(p.now)
        p.run_for(0.05)
        far.close(p.now)

    close_both_ends(p, 50, end)
    p.run_for(1)
    assert len(p.client.time_wait) == 50
    assert alive() == 0  # TIME_WAIT is no connection
    nothing_is_left(p, alive)


def test_simultaneously_closed_connections(alive: Alive) -> None:
    p = Pair()

    def end(near: Connection, far: Connection) -> None:
        near.close(p.now)
        far.close(p.now)

    close_both_ends(p, 20, end)
    nothing_is_left(p, alive)


def test_aborted_connections(alive: Alive) -> None:
    p = Pair()
    close_both_ends(p, 20, lambda near, far: near.abort(p.now))
    nothing_is_left(p, alive)


def test_half_closed_connections(alive: Alive) -> None:
    p = Pair()

    def end(near: Connection, far: Connection) -> None:
        near.shutdown(p.now)
        p.run_for(0.05)
        far.shutdown(p.now)
        p.run_for(0.05)
        near.close(p.now)
        far.close(p.now)

    close_both_ends(p, 20, end)
    nothing_is_left(p, alive)


def test_connections_that_lost_their_peer(alive: Alive) -> None:
    p = Pair(retries=3, fin_retries=3)

    def end(near: Connection, far: Connection) -> None:
        p.rule = lambda packet: ()
        near.close(p.now)
        far.send(b"into the void")
        p.run()
        p.rule = lambda packet: (0.0,)

    close_both_ends(p, 5, end)
    nothing_is_left(p, alive)


def test_connections_with_unread_and_unsent_data(alive: Alive) -> None:
    p = Pair(recv_buffer=4000)

    def end(near: Connection, far: Connection) -> None:
        near.send(bytes(100_000))
        p.run_for(0.2)
        far.close(p.now)

    close_both_ends(p, 10, end)
    nothing_is_left(p, alive)


def test_connections_with_data_out_of_order(alive: Alive) -> None:
    t = established()
    t.receives("F. 1001:2001 ack 1", ". 5001:6001 ack 1")
    t.drain()
    t.abort()
    t.drain()
    del t.connection
    assert alive() == 0


def test_refused_connections(alive: Alive) -> None:
    p = Pair()
    for _ in range(20):
        p.connect()
    p.run()
    nothing_is_left(p, alive)


def test_opens_without_answer(alive: Alive) -> None:
    p = Pair(lose("client", SYN, times=1000))
    for _ in range(20):
        p.connect()
    p.run()
    nothing_is_left(p, alive)


def test_connections_reset_in_each_phase(alive: Alive) -> None:
    for reach in (syn_sent, established, last_ack):
        t = reach()
        t.receives("R. 0:0 ack 1" if reach is syn_sent else "R 2:2" if reach is last_ack else "R 1:1")
        t.silent()
        del t.connection
        assert not t.stack.connections
        assert alive() == 0


def test_half_open_connections(alive: Alive) -> None:
    """Known defect 33."""
    t = Script()
    t.listen()
    for port in range(40_000, 40_050):
        t.flow_to(port, 80).receives("S 0:0")
        t.drain()
    t.advance(100)
    t.drain()
    assert not t.stack.connections
    assert alive() == 0


def test_connections_of_a_closed_listener(alive: Alive) -> None:
    t = syn_rcvd()
    t.receives(". 1:1 ack 1")
    t.silent()
    t.listener.close(t.now)
    t.drain()
    assert alive() == 0


def test_half_open_connection_that_was_reset(alive: Alive) -> None:
    t = syn_rcvd()
    t.receives("R 1:1")
    t.silent()
    assert alive() == 0


def test_user_who_keeps_the_connection_keeps_nothing_else(alive: Alive) -> None:
    t = established()
    t.write(100_000)
    t.drain()
    t.abort()
    t.drain()
    connection = t.connection
    assert not [thing for thing in gc.get_referents(connection) if isinstance(thing, bytes) and len(thing) > 1000]
    assert connection.send_side.space >= 0
    del connection, t.connection
    assert alive() == 0


def test_timer_queue_holds_nothing_dead(alive: Alive) -> None:
    """A thousand connections come and go; what is due next is never one of them."""
    p = Pair(msl=0.5)

    def end(near: Connection, far: Connection) -> None:
        near.close(p.now)
        far.close(p.now)

    close_both_ends(p, 300, end)
    p.run_for(2)
    assert p.client.next_timeout() is None
    nothing_is_left(p, alive)


@interpreted_only
def test_an_idle_connection_is_eight_objects_of_the_garbage_collector() -> None:
    """The TCB, its two sides, recovery with its scoreboard, the round-trip time, the controller, and keepalive. What a
    connection has not needed yet, and what is empty, has no object of its own."""
    number = 50
    p = Pair()
    p.established()
    p.run_for(1.0)
    before = objects_of_utcp()
    for _ in range(number):
        p.established()
    p.run_for(1.0)
    assert objects_of_utcp() - before == 2 * number * 8


def objects_of_utcp() -> int:
    gc.collect()
    return sum(type(thing).__module__.startswith("utcp.") for thing in gc.get_objects())
