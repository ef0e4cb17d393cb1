"""A loop that is late: what waits in the socket is heard before anything is taken to be lost."""

import asyncio
import time

import pytest

import utcp
from tests.aio.peers import Peers, Recorder, turns, until
from utcp import Transport
from utcp.aio import driver as driver_module

pytestmark = pytest.mark.usefixtures("replaceable")


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()
    await writer.wait_closed()


async def test_nothing_is_retransmitted_because_the_loop_was_busy() -> None:
    """The ACK lies in the socket while the loop is blocked for longer than the retransmission timeout."""
    config = utcp.Config(msl=0.05)
    async with (
        utcp.Endpoint(("127.0.0.1", 0), config=config) as far,
        utcp.Endpoint(("127.0.0.1", 0), config=config) as near,
    ):
        server = await far.start_server(answer)
        reader, writer = await near.open_connection("127.0.0.1", far.address[1])
        writer.write(b"question")
        await asyncio.sleep(0)
        near.driver.flush()  # it is in the other's socket now,
        far.driver._readable()
        far.driver.flush()  # and the ACK, which it owes at once for the FIN below, in ours
        writer.write_eof()
        near.driver.flush()
        far.driver._readable()
        far.driver.flush()
        time.sleep(0.3)  # noqa: ASYNC251  # longer than rto_min: the timer is due when the loop comes back
        near.driver._on_timer()
        await asyncio.sleep(0)
        assert near.stack.counters.timeouts == 0
        assert await reader.read() == b"question"
        assert near.stack.counters.retrans_segs == 0
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()


class Late:
    """Two endpoints on a loop that does not serve their readers in time: the tests do. Their clocks stand still unless
    a test sets them, because the time that the machine takes would come on top."""

    def __init__(self, peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
        self.near, self.far = peers.client.driver, peers.server.driver
        self.counters = self.near.stack.counters
        self._monkeypatch = monkeypatch
        self._clock = self.near.link.now
        self._now = self._clock()
        for driver in (self.near, self.far):
            driver.loop.remove_reader(driver.link.fileno())
            monkeypatch.setattr(driver.link, "now", lambda: self._now)

    async def write(self, *transports: Transport) -> None:
        """Each writes once, and it lies in the other's socket."""
        for transport in transports:
            transport.write(b"question")
        await turns(3)

    def pass_time(self, seconds: float) -> None:
        """For both, in which the loop did nothing."""
        self._now += seconds

    def read_one(self) -> None:
        """The far end takes in a batch of one datagram, and more are waiting."""
        with self._monkeypatch.context() as patch:
            receive = self.far.link.receive
            patch.setattr(self.far.link, "receive", lambda _: receive(1))
            self.far._readable()
        assert not self.far.link.drained

    async def fire(self) -> None:
        """The timer of the near end."""
        assert self.near._timer is not None
        self.near._timer.cancel()
        self.near._on_timer()
        await turns(3)

    @property
    def resent(self) -> int:
        return self.counters.retrans_segs + self.counters.timeouts

    def serve(self) -> None:
        """The loop reads again by itself, and time goes on."""
        ahead = self._now - self._clock()
        for driver in (self.near, self.far):
            self._monkeypatch.setattr(driver.link, "now", lambda: self._clock() + ahead)
            driver.loop.add_reader(driver.link.fileno(), driver._readable)


async def test_a_timer_waits_while_an_endpoint_of_the_same_loop_has_not_read_all(
    monkeypatch: pytest.MonkeyPatch, peers: Peers
) -> None:
    """It may be the peer: it takes bounded batches, and answers the last of them long after the first."""
    opened = [await peers.connect(Recorder, Recorder) for _ in range(3)]
    await turns(5)
    late = Late(peers, monkeypatch)
    for transport, _, _ in opened:
        await late.write(transport)  # in a datagram of its own
    late.pass_time(0.9)
    late.read_one()
    await late.fire()
    assert late.resent == 0
    late.serve()
    await until(lambda: all(server.received == b"question" for _, _, server in opened))
    assert late.resent == 0


async def test_a_timer_waits_for_what_an_endpoint_of_the_same_loop_answers_in_this_turn(
    monkeypatch: pytest.MonkeyPatch, peers: Peers
) -> None:
    """The answer leaves behind those whom the batch woke, and our timer was due before that."""
    transport, client, server = await peers.connect(Recorder, Recorder)
    await turns(5)
    late = Late(peers, monkeypatch)
    await late.write(transport)
    late.pass_time(0.9)
    late.far.read()
    assert late.far.link.drained
    server.transport.write(b"answer")  # an ACK alone might be delayed
    await late.fire()
    assert late.resent == 0
    assert client.received == b"answer"
    late.serve()


async def test_a_batch_that_ended_where_nothing_more_was_holds_up_timers_for_one_turn(
    monkeypatch: pytest.MonkeyPatch, peers: Peers
) -> None:
    transport, _, _ = await peers.connect(Recorder, Recorder)
    await turns(5)
    late = Late(peers, monkeypatch)
    await late.write(transport)
    while late.far.link.receive():  # what was written is lost
        pass
    late.far.link.drained = False
    late.pass_time(0.9)
    await late.fire()
    assert late.resent == 0
    assert late.far.link.drained
    await late.fire()
    assert late.resent > 0
    late.serve()


async def test_a_timer_does_not_wait_for_a_peer_that_has_read_everything_since_the_deadline(
    monkeypatch: pytest.MonkeyPatch, peers: Peers
) -> None:
    """A busy peer usually reads single datagrams, after which it is unknown whether there is another one."""
    transport, _, _ = await peers.connect(Recorder, Recorder)
    await turns(5)
    late = Late(peers, monkeypatch)
    await late.write(transport)
    while late.far.link.receive():  # what was written is lost
        pass
    late.pass_time(0.9)
    late.far.read()
    late.far.link.drained = False
    await late.fire()
    assert late.resent > 0
    late.serve()


async def test_timers_do_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch, peers: Peers) -> None:
    opened = [await peers.connect(Recorder, Recorder) for _ in range(3)]
    await turns(5)
    late = Late(peers, monkeypatch)
    for transport, _, _ in opened:
        await late.write(transport)
    late.pass_time(driver_module.MAX_LATENESS + 5)
    late.read_one()
    await late.fire()
    assert late.resent > 0
    late.serve()


@pytest.mark.defect(61)
@pytest.mark.parametrize("host", [None, "127.0.0.2"], ids=["another port", "the same port of another address"])
async def test_a_timer_does_not_wait_for_an_endpoint_that_is_not_the_peer(
    host: str | None, monkeypatch: pytest.MonkeyPatch, peers: Peers
) -> None:
    """A flood elsewhere on the loop delays no retransmission."""
    transport, _, _ = await peers.connect(Recorder, Recorder)
    await turns(5)
    async with utcp.Endpoint((peers.host, 0) if host is None else (host, peers.port)) as flooded:
        late = Late(peers, monkeypatch)
        await late.write(transport)
        while late.far.link.receive():  # what was written is lost
            pass
        flooded.link.drained = False
        late.pass_time(0.9)
        await late.fire()
        assert late.resent > 0
        late.serve()


@pytest.mark.defect(61)
async def test_a_timer_waits_for_a_peer_that_is_bound_to_the_wildcard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that the client connects to is one of this host's, and the wildcard endpoint receives at it."""
    peers = Peers()
    peers.server = utcp.Endpoint(("0.0.0.0", 0), config=peers.server.config)  # as a server of everybody
    async with peers:
        peers.host = "127.0.0.3"
        peers.client = utcp.Endpoint(("127.0.0.1", 0), config=peers.server.config)
        async with peers.client:
            transport, _, _ = await peers.connect(Recorder, Recorder)
            await turns(5)
            late = Late(peers, monkeypatch)
            await late.write(transport)
            while late.far.link.receive():  # what was written is lost
                pass
            late.far.link.drained = False
            late.pass_time(0.9)
            await late.fire()
            assert late.resent == 0
            await late.fire()
            assert late.resent > 0
            late.serve()
