"""Ports: reserved while a connection or TIME_WAIT holds them, chosen so that outsiders cannot guess (RFC 6056)."""

import errno
from itertools import pairwise
from math import inf
from random import Random

import pytest

from tests.tcp.reach import established, fin_wait_2, last_ack, syn_sent, time_wait
from tests.tcp.script import SECRET, Script
from utcp.config import Config
from utcp.errors import AddressInUse, AddressNotAvailable
from utcp.tcp.ports import EphemeralPorts
from utcp.tcp.state import CLOSED, SYN_SENT


def ports(count: int, *, remote: str = "peer", remote_port: int = 80, secret: bytes = SECRET) -> list[int]:
    """The local ports of so many opens to one destination."""
    t = Script(secret=secret)
    return [t.connect(local_port=None, remote=remote, remote_port=remote_port).local_port for _ in range(count)]


# --- reservation


@pytest.mark.parametrize("reach", [syn_sent, established, fin_wait_2, last_ack])
def test_port_of_a_live_connection_is_in_use(reach: type[Script]) -> None:
    t = reach()
    with pytest.raises(AddressInUse) as caught:
        t.stack.connect("peer", 80, t.now, local_port=50000)
    assert caught.value.errno == errno.EADDRINUSE
    assert caught.value.seconds is None


def test_port_in_time_wait_is_in_use_and_the_error_says_for_how_long() -> None:
    t = time_wait()
    t.advance(20)
    with pytest.raises(AddressInUse, match="40") as caught:
        t.stack.connect("peer", 80, t.now, local_port=50000)
    assert caught.value.errno == errno.EADDRINUSE
    assert caught.value.seconds == pytest.approx(40)
    assert list(t.stack.time_wait) == [t.flow.key]  # known defect 21: the attempt does not disturb the record


def test_port_is_free_after_2_msl() -> None:
    t = time_wait()
    t.advance(60.1)
    t.flow.begin(t.flow.peer_iss)
    t.connect()
    t.sends("S 0:0")
    assert t.state == SYN_SENT


def test_port_is_free_at_once_after_a_passive_close() -> None:
    t = last_ack()
    t.receives(". 2:2 ack 2")
    t.silent()
    assert t.state == CLOSED
    t.flow.begin(t.flow.peer_iss)
    t.connect()
    t.sends("S 0:0")


def test_port_is_free_at_once_after_a_refusal() -> None:
    t = syn_sent()
    t.receives("R. 0:0 ack 1")
    t.silent()
    t.flow.begin(t.flow.peer_iss)
    t.connect()
    t.sends("S 0:0")


@pytest.mark.parametrize(("remote", "remote_port"), [("peer", 81), ("another", 80)])
def test_port_is_reserved_towards_one_destination_only(remote: str, remote_port: int) -> None:
    t = time_wait()
    t.connect(local_port=50000, remote=remote, remote_port=remote_port)
    t.sends("S 0:0")


def test_connection_on_the_port_does_not_keep_a_listener_from_it() -> None:
    """A server restarts on its port whatever TIME_WAIT is there."""
    t = time_wait(passive=True)
    t.listener.close(t.now)
    t.stack.listen(80, t.now)


def test_listening_port_is_free_after_close() -> None:
    t = Script()
    t.listen().close(t.now)
    t.listen()


def test_listening_on_port_0_picks_one() -> None:
    t = Script()
    first = t.stack.listen(0, t.now)
    second = t.stack.listen(0, t.now)
    assert first.local_port != second.local_port
    assert min(first.local_port, second.local_port) > 0
    assert t.stack.listeners == {first.local_port: first, second.local_port: second}


# --- ephemeral ports


@pytest.mark.defect(89)
def test_the_default_range_is_that_of_linux() -> None:
    """28,232 connections to one server, TIME_WAIT included."""
    assert Config().ephemeral_ports == (32768, 60999)


def test_chosen_from_the_range_and_never_twice() -> None:
    chosen = ports(1000)
    assert len(set(chosen)) == 1000
    assert all(32768 <= port <= 60999 for port in chosen)


@pytest.mark.rfc("6056", "3.1-1")
def test_explicit_port_is_passed_over() -> None:
    t = Script(ephemeral_ports=(50000, 50001))
    t.connect(local_port=50000)
    assert t.connect(local_port=None).local_port == 50001


@pytest.mark.rfc("6056", "3.2-2")
def test_port_of_a_local_service_is_passed_over() -> None:
    t = Script(ephemeral_ports=(50000, 50001))
    t.stack.listen(50000, t.now)
    assert t.connect(local_port=None).local_port == 50001


def test_exhaustion_by_live_connections() -> None:
    t = Script(ephemeral_ports=(50000, 50003))
    assert {t.connect(local_port=None).local_port for _ in range(4)} == {50000, 50001, 50002, 50003}
    with pytest.raises(AddressNotAvailable) as caught:
        t.connect(local_port=None)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert caught.value.seconds is None
    t.connect(local_port=None, remote_port=81)


@pytest.mark.rfc("6056", "3.1-1")
def test_exhaustion_by_time_wait_says_when_the_next_is_free() -> None:
    t = time_wait(ephemeral_ports=(50000, 50000))
    t.advance(15)
    with pytest.raises(AddressNotAvailable) as caught:
        t.stack.connect("peer", 80, t.now)
    assert caught.value.seconds == pytest.approx(45)
    t.advance(45.1)
    assert t.stack.connect("peer", 80, t.now).local_port == 50000


def test_failed_connect_leaves_nothing_behind() -> None:
    t = established(ephemeral_ports=(50000, 50000))
    with pytest.raises(AddressNotAvailable):
        t.stack.connect("peer", 80, t.now)
    with pytest.raises(AddressInUse):
        t.stack.connect("peer", 80, t.now, local_port=50000)
    t.silent()
    assert len(t.stack.connections) == 1


def test_port_comes_back_when_its_connection_is_gone() -> None:
    t = Script(ephemeral_ports=(50000, 50000))
    for _ in range(3):
        t.connect(local_port=None)
        t.sends("S 0:0")
        t.abort()
        t.silent()
        t.flow.begin(t.flow.peer_iss)


# --- what it costs


class Holders:
    """Who holds the ports of one destination, and how often anyone asked."""

    def __init__(self) -> None:
        self.until: dict[int, float] = {}
        self.asked = 0

    def free_at(self, port: int) -> float:
        self.asked += 1
        return self.until.get(port, 0.0)


@pytest.mark.defect(62)
@pytest.mark.parametrize("held", [inf, 60.0], ids=["connections", "TIME_WAIT"])
def test_a_range_in_use_is_searched_once(held: float) -> None:
    """No matter how many opens fail, and how many take the port that has just become free."""
    holders, ports = Holders(), EphemeralPorts(10000, 19999, SECRET)
    for port in range(10000, 20000):
        holders.until[port] = held
    for _ in range(100):
        assert ports.choose("peer", 80, holders.free_at, 1.0) == (None, None if held == inf else held)
    assert holders.asked < 10000 + 100 * 40
    holders.asked = 0
    for port in range(12000, 12100):
        holders.until[port] = 0.0
        ports.released("peer", 80, port, 1.0)
        assert ports.choose("peer", 80, holders.free_at, 1.0) == (port, None)
        holders.until[port] = inf
    assert holders.asked < 100 * 40


@pytest.mark.defect(62)
def test_a_block_of_long_lived_connections_is_searched_once() -> None:
    holders, ports = Holders(), EphemeralPorts(10000, 19999, SECRET)
    for port in range(11000, 20000):
        holders.until[port] = inf
    chosen = set()
    for _ in range(1000):
        found, _ = ports.choose("peer", 80, holders.free_at, 0.0)
        assert found is not None
        holders.until[found] = inf
        chosen.add(found)
    assert chosen == set(range(10000, 11000))
    assert holders.asked < 10000 + 1000 * 40
    assert ports.choose("peer", 80, holders.free_at, 0.0) == (None, None)


@pytest.mark.defect(62)
def test_listening_on_port_0_does_not_look_at_connections() -> None:
    t = Script(ephemeral_ports=(50000, 50001))
    t.connect(local_port=None)
    t.connect(local_port=None)
    assert {t.stack.listen(0, t.now).local_port for _ in range(2)} == {50000, 50001}
    with pytest.raises(AddressNotAvailable, match="listen"):
        t.stack.listen(0, t.now)


@pytest.mark.defect(62)
@pytest.mark.parametrize("seed", range(10))
def test_the_choice_is_free_if_anything_is(seed: int) -> None:
    """Against a model, through scarcity and back."""
    random = Random(seed)
    holders, ports, now = Holders(), EphemeralPorts(1000, 1099, SECRET), 0.0
    for _ in range(1500):
        now += random.random()
        if random.random() < random.choice((0.3, 0.7)):
            port, when = ports.choose("peer", 80, holders.free_at, now)
            free = [other for other in range(1000, 1100) if holders.until.get(other, 0.0) <= now]
            if port is None:
                assert not free
                assert (inf if when is None else when) == min(holders.until.values())
            else:
                assert port in free
                holders.until[port] = inf
        elif holders.until:
            port = random.choice(list(holders.until))
            if holders.until[port] > now or random.random() < 0.1:  # ended, restarted in TIME_WAIT, or ended early
                holders.until[port] = now + random.choice((0.0, 20.0, 200.0))
                ports.released("peer", 80, port, holders.until[port])


# --- what an outsider sees


@pytest.mark.rfc("6056", "3.3-1", "3.3.4-1")
def test_sequence_depends_on_the_secret() -> None:
    assert ports(20) == ports(20)
    assert ports(20) != ports(20, secret=b"another sixteen octets")


@pytest.mark.rfc("6056", "3.3-1", "3.3.4-1")
def test_sequence_depends_on_the_destination() -> None:
    """Who watches the ports used towards itself learns nothing of those used towards others (RFC 6056 3.3.3)."""
    starts = {ports(1, remote=f"peer {number}")[0] for number in range(200)}
    assert len(starts) > 180
    assert len({ports(1, remote_port=number)[0] for number in range(1, 201)}) > 180


@pytest.mark.rfc("6056", "3.3-1", "3.3.4-1")
def test_one_hosts_ports_do_not_follow_one_counter() -> None:
    """Alternating destinations: the next port is not the last one plus one (RFC 6056 2.2)."""
    t = Script()
    chosen = [t.connect(local_port=None, remote=f"peer {i}").local_port for i in range(200)]
    steps = [after - before for before, after in pairwise(chosen)]
    assert sum(step == 1 for step in steps) < 20
    assert len(set(steps)) > 100
