"""What a stranger can cost a tunnel before it has authenticated: places, memory, time, and lines in the log."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import stat
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import pytest

import utcp
from tests.tunnel.ends import KEY, LOCAL, PLAIN, Tunnel, receive, send, tunnel, until, with_key
from tests.tunnel.test_tls import Above, Below
from utcp.tunnel import accept, credentials, limits, tls
from utcp.tunnel.credentials import CredentialError, key_context
from utcp.tunnel.forward import Serve
from utcp.tunnel.limits import ALL, EACH, MOST_HANDSHAKES, MOST_HOSTS, MOST_LINES, Admission, Complaints
from utcp.tunnel.options import FORWARD_PORT
from utcp.tunnel.tls import GuardedTls

pytestmark = pytest.mark.defect(98)


# ------------------------------------------------------------------ places


def enter(admission: Admission, host: str, now: float, times: int) -> int:
    """How many of so many connections may begin."""
    return sum(admission.enter(host, now) for _ in range(times))


def test_one_host_has_a_bound_and_takes_nothing_from_others() -> None:
    admission = Admission()
    rate, burst = EACH
    assert enter(admission, "192.0.2.1", 1000.0, 10_000) == burst
    assert enter(admission, "192.0.2.2", 1000.0, 10_000) == burst
    assert enter(admission, "192.0.2.1", 1010.0, 10_000) == 10 * rate
    assert enter(admission, "192.0.2.1", 1e6, 10_000) == burst  # what it leaves is not saved up
    assert admission.handshakes == 3 * burst + 10 * rate


def test_a_network_of_ipv6_is_one_host() -> None:
    admission = Admission()
    assert sum(admission.enter(f"2001:db8::{number:x}", 0.0) for number in range(1, 100)) == EACH[1]
    assert admission.enter("2001:db8:0:1::1", 0.0)
    assert admission.enter("fe80::1%eth0", 0.0)


def test_all_hosts_together_have_a_bound() -> None:
    admission = Admission()
    rate, burst = ALL
    hosts = [f"10.0.{number >> 8}.{number & 255}" for number in range(2000)]
    assert sum(admission.enter(host, 0.0) for host in hosts) == burst
    assert sum(admission.enter(host, 2.0) for host in hosts) == 2 * rate


def test_a_known_host_has_the_bound_of_all_alone() -> None:
    """It brings all its users from one address."""
    admission = Admission()
    assert admission.enter("192.0.2.1", 0.0)
    admission.leave("192.0.2.1", succeeded=True)
    assert admission.handshakes == 0
    assert enter(admission, "192.0.2.1", 0.0, 10_000) == MOST_HANDSHAKES
    assert not admission.enter("192.0.2.2", 0.0)
    admission.leave("192.0.2.1", succeeded=False)
    assert admission.enter("192.0.2.2", 0.0)


def test_strangers_leave_room_for_known_hosts() -> None:
    longest = tls.FIRST_RECORD_TIMEOUT + tls.HANDSHAKE_TIMEOUT
    assert ALL[1] + ALL[0] * longest < 650 < MOST_HANDSHAKES


@pytest.mark.parametrize("succeeded", [False, True])
def test_hosts_are_not_remembered_without_end(succeeded: bool) -> None:
    admission = Admission()
    for number in range(MOST_HOSTS + 10):
        host = f"10.0.{number >> 8}.{number & 255}"
        assert admission.enter(host, float(number))
        admission.leave(host, succeeded=succeeded)
    remembered = admission._known if succeeded else admission._allowances
    assert len(remembered) == MOST_HOSTS
    assert host in remembered
    assert socket.inet_aton("10.0.0.9") not in remembered


# ------------------------------------------------------------------ TLS


class Server:
    """The server's end of TLS, and what a client would say to it first."""

    def __init__(self) -> None:
        self.below = Below()
        self.failure: BaseException | None = None
        self.end = GuardedTls(Above(), key_context(KEY, server_side=True), self.shaken, server_side=True)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = key_context(KEY, server_side=False).wrap_bio(self.incoming, self.outgoing)
        self.end.connection_made(self.below)

    def shaken(self, error: BaseException | None) -> None:
        self.failure = error

    def said(self) -> bytes:
        """What the client says next."""
        with pytest.raises(ssl.SSLWantReadError):
            self.client.do_handshake()
        return self.outgoing.read()

    def abandon(self) -> str:
        """Have the connection end. Returns why."""
        assert self.below.closed
        self.end.connection_lost(None)
        return str(self.failure)

    @property
    def has_state(self) -> bool:
        return self.end._machine is not None


@pytest.mark.parametrize("size", [1, 5, 100_000])
async def test_there_is_no_tls_state_before_a_whole_first_record(size: int) -> None:
    server = Server()
    hello = server.said()
    for start in range(0, len(hello) - 1, size):
        server.end.data_received(hello[start : min(start + size, len(hello) - 1)])
        assert not server.has_state
    server.end.data_received(hello[-1:])
    assert server.has_state
    assert server.below.written
    server.end.connection_lost(None)


@pytest.mark.parametrize(
    "start",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x15\x03\x03\x00\x02\x02\x28",  # an alert
        b"\x16\x02\x00",  # SSL 2
        b"\x16\x03\x00",  # SSL 3
        b"\x16\x03\x04",  # no version of a record layer
        b"\x16\x03\x01\x20\x00",  # a record of 8192 octets
        b"\x16\x03\x01\x00\x20\x02",  # a ServerHello
    ],
)
async def test_what_cannot_become_a_client_hello_is_refused_at_once(start: bytes) -> None:
    server = Server()
    for octet in start[:-1]:
        server.end.data_received(bytes((octet,)))
    if not server.below.closed:
        server.end.data_received(start[-1:])
    assert not server.has_state
    assert "does not use TLS" in server.abandon()


@pytest.mark.parametrize("half", [False, True])
async def test_the_first_record_is_not_waited_for_long(half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "FIRST_RECORD_TIMEOUT", 0.01)
    server = Server()
    if half:
        server.end.data_received(server.said()[:-1])
    await until(lambda: server.below.closed)
    assert not server.has_state
    assert "takes too long" in server.abandon()


async def test_the_rest_of_the_handshake_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_TIMEOUT", 0.01)
    server = Server()
    server.end.data_received(server.said())
    await until(lambda: server.below.closed)
    assert "takes too long" in server.abandon()


async def test_a_handshake_has_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    hello = server.said()
    monkeypatch.setattr(tls, "HANDSHAKE_OCTETS", len(hello))
    server.end.data_received(hello)
    server.incoming.write(bytes(server.below.written))
    server.client.do_handshake()
    assert not server.below.closed
    server.end.data_received(server.outgoing.read()[:-1])
    assert "too long" in server.abandon()


class Slow(Below):
    """A connection whose peer takes no data, so that `close()` waits."""

    aborted = False

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


@pytest.mark.parametrize("delivered", [False, True])
async def test_a_failed_handshake_is_under_way_until_its_connection_is_lost(
    delivered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "ALERT_TIMEOUT", 0.01)
    server = Server()
    server.end._below = server.below = slow = Slow()
    server.end.data_received(server.said())
    assert server.end._machine is not None
    state = weakref.ref(server.end._machine.object)
    slow.written.clear()
    server.end.data_received(b"\x17\x03\x03\x00\x20" + bytes(32))  # a record that nobody has encrypted
    assert slow.written
    assert slow.closed
    assert state() is None
    server.end.data_received(b"more")
    server.end.eof_received()
    assert server.failure is None
    if delivered:
        server.end.connection_lost(None)
    await asyncio.sleep(0.03)
    assert slow.aborted == (not delivered)
    server.end.connection_lost(None)
    assert isinstance(server.failure, ssl.SSLError)


class Accepted(Below):
    """A connection that was just accepted."""

    protocol: Any = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 5) if name in ("peername", "sockname", "udp_peername") else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


@pytest.mark.parametrize("where", ["factory", "connection_made"])
async def test_a_connection_that_cannot_begin_leaves_its_place(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ValueError("broken")

    if where == "connection_made":
        monkeypatch.setattr(GuardedTls, "connection_made", broken)
    admission, failures = Admission(), list[BaseException]()
    gate = accept._Gate(
        admission,
        broken if where == "factory" else Above,
        key_context(KEY, server_side=True),
        lambda _, error: failures.append(error),
    )
    connection = Accepted()
    with pytest.raises(ValueError, match="broken"):
        gate.connection_made(connection)
    assert connection.closed
    assert admission.handshakes == 0
    if connection.protocol is not None:
        connection.protocol.connection_lost(None)
        assert len(failures) == 1
    assert admission.handshakes == 0


async def test_a_protocol_that_fails_after_the_handshake_leaves_its_place() -> None:
    class Broken(Above):
        def connection_made(self, _: asyncio.BaseTransport) -> None:
            raise ValueError("broken")

    server = Server()
    server.end._protocol = Broken()
    server.end.data_received(server.said())
    server.incoming.write(bytes(server.below.written))
    server.client.do_handshake()
    with pytest.raises(ValueError, match="broken"):
        server.end.data_received(server.outgoing.read())
    assert server.failure is None
    server.end.connection_lost(None)
    assert isinstance(server.failure, ConnectionAbortedError)


# ------------------------------------------------------------------ both, in a tunnel


async def works(carried: Tunnel) -> bool:
    user, service = await carried.through()
    with user, service:
        await send(user, b"let me in")
        return await receive(service, 9) == b"let me in"


@contextmanager
def few(monkeypatch: pytest.MonkeyPatch, each: int) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(limits, "EACH", (0.0, each))
        yield


async def test_silent_strangers_are_few_and_users_come_through(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    near, far = (with_key(PLAIN, KEY, server_side=server_side) for server_side in (False, True))
    with few(monkeypatch, 2):
        async with (
            tunnel(near=near, far=far) as carried,
            utcp.Endpoint(("127.0.0.2", 0), config=PLAIN.config) as stranger,
        ):
            assert isinstance(carried.far, Serve)
            (endpoint,) = carried.far.carrier._endpoints
            udp_port = endpoint.address[1]
            opened = [await stranger.open_connection(LOCAL, FORWARD_PORT, udp_port=udp_port) for _ in range(4)]
            for reader, _ in opened[2:]:
                with pytest.raises(ConnectionResetError):
                    await reader.read()
            said = [record.getMessage() for record in caplog.records]
            assert sum("too many handshakes" in line for line in said) == 1
            assert await works(carried)
            for reader, writer in opened[:2]:
                assert not reader.at_eof()
                writer.transport.abort()
    said = [record.getMessage() for record in caplog.records]
    assert sum("127.0.0.2: TLS handshake failed: too many handshakes (1 more times)" in line for line in said) == 1


async def test_the_places_of_handshakes_that_are_over_are_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = (with_key(PLAIN, KEY, server_side=server_side) for server_side in (False, True))
    wrong = with_key(PLAIN, bytes(32), server_side=False)
    entered: list[Admission] = []
    original = Admission.enter

    def remember(admission: Admission, host: str, now: float) -> bool:
        entered.append(admission)
        return original(admission, host, now)

    monkeypatch.setattr(Admission, "enter", remember)
    for options in (near, replace(wrong, connect_timeout=0.5)):
        entered.clear()
        async with tunnel(near=options, far=far) as carried:
            with await carried.connect() as user:
                if options is near:
                    with await carried.service.accept():
                        assert entered[0].handshakes == 0
                        assert entered[0]._known
                else:
                    with pytest.raises(ConnectionResetError):
                        await receive(user, 1)
                    await until(lambda: entered[0].handshakes == 0)
                    assert not entered[0]._known


# ------------------------------------------------------------------ the log


@pytest.fixture
def log() -> logging.Logger:
    return logging.getLogger("utcp.tunnel")


async def test_a_host_has_one_line_for_each_trouble_and_the_rest_is_counted(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    complaints = Complaints(log)
    for port in range(1000):
        complaints.add(f"192.0.2.1:{port}", "no")
    complaints.add("192.0.2.1:5", "never")
    complaints.add("[::1]:5", "never")
    expected = ["192.0.2.1:0: no", "192.0.2.1:5: never", "[::1]:5: never"]
    assert caplog.messages == expected
    complaints.close()
    assert caplog.messages == [*expected, "192.0.2.1: no (999 more times)"]
    complaints.close()
    assert len(caplog.messages) == 4


async def test_many_hosts_have_few_lines(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints(log)
    for number in range(1000):
        complaints.add(f"10.0.{number >> 8}.{number & 255}:9", "no")
    assert len(caplog.messages) == MOST_LINES
    complaints.close()
    assert caplog.messages[MOST_LINES:] == [f"{1000 - MOST_LINES} more connections of other hosts failed"]


async def test_another_minute_has_another_line(
    log: logging.Logger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PERIOD", 0.01)
    complaints = Complaints(log)
    for _ in range(2):
        complaints.add("192.0.2.1:1", "no")
    await until(lambda: len(caplog.messages) == 2)
    complaints.add("192.0.2.1:2", "no")
    complaints.close()
    assert caplog.messages == ["192.0.2.1:1: no", "192.0.2.1: no (1 more times)", "192.0.2.1:2: no"]


# ------------------------------------------------------------------ the key


def test_the_private_key_is_in_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    original = ssl.SSLContext.load_cert_chain

    def load(context: ssl.SSLContext, certfile: Any, keyfile: Any = None, password: Any = None) -> None:
        names.extend((certfile, keyfile))
        assert all(stat.S_ISFIFO(Path(name).stat().st_mode) for name in names)
        original(context, certfile, keyfile, password)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load)
    key_context(KEY, server_side=True)
    assert len(names) == 2
    assert not any(Path(name).exists() for name in names)


def test_where_there_is_no_way_around_a_file_a_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    original = credentials._readable

    @contextmanager
    def elsewhere(octets: bytes) -> Iterator[str | PathLike[str]]:
        with original(octets) as name:
            yield name.replace("/dev/", "/nowhere/")

    monkeypatch.setattr(credentials, "_readable", elsewhere)
    with pytest.raises(CredentialError, match="use certificates"):
        key_context(KEY, server_side=True)


async def test_many_users_of_a_new_host_all_get_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """More at once than a stranger may be: those who are refused come again, and find their host known."""
    near, far = (with_key(PLAIN, KEY, server_side=server_side) for server_side in (False, True))
    with few(monkeypatch, 3):
        async with tunnel(near=near, far=far) as carried:
            users = await asyncio.gather(*(carried.connect() for _ in range(8)))
            services = [await carried.service.accept() for _ in users]
            for sock in (*users, *services):
                sock.close()
