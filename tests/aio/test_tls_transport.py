"""What a protocol above TLS is told, and when: a server's transport, whose octets the test carries."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from tests.certificates import client_context, server_context
from utcp.aio.tls.machine import TlsMachine
from utcp.aio.tls.transport import TlsTransport


class Below(asyncio.Transport):
    """The connection below: keeps what it is given. `lose()` is what the loop would do after its end."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 5)})
        self.written = bytearray()
        self.calls: list[str] = []
        self.limits: Any = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_closing()
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def get_write_buffer_size(self) -> int:
        return len(self.written)

    def is_closing(self) -> bool:
        return "close" in self.calls or "abort" in self.calls

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def write_eof(self) -> None:
        self.calls.append("write_eof")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


class Above(asyncio.Protocol):
    keep_open = False

    def __init__(self, made: Callable[[Any], object] | None = None) -> None:
        self.calls: list[Any] = []
        self.made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.calls.append("made")
        if self.made is not None:
            self.made(transport)

    def data_received(self, data: bytes) -> None:
        self.calls.append(data)

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.calls.append(("lost", exc))


class Ends:
    """A server's TlsTransport, and a client that is driven by hand."""

    def __init__(
        self, above: asyncio.BaseProtocol, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, **options: Any
    ) -> None:
        context = server_context()
        context.maximum_version = version
        self.outcome: list[BaseException | None] = []
        self.below = Below()
        machine = TlsMachine(context, server_side=True)
        self.server: Any = TlsTransport(above, machine, self.outcome.append, **options)
        self.client = TlsMachine(client_context(), server_side=False, server_hostname="localhost")
        self.server.connection_made(self.below)

    def carry(self) -> None:
        """All that either has said, to the other."""
        if data := self.client.take():
            self.server.data_received(data)
        self.client.feed(bytes(self.below.written))
        self.below.written.clear()

    def shake_hands(self, *, behind: bytes = b"") -> None:
        """Complete the handshake. `behind`: the client's data right behind its Finished."""
        while not self.client.handshake():
            self.carry()
        if behind:
            self.client.write(behind)
        self.carry()
        self.client.read()

    def lose(self, exc: BaseException | None = None) -> None:
        self.server.connection_lost(exc)


def opened(above: asyncio.BaseProtocol, **options: Any) -> Ends:
    ends = Ends(above, **options)
    ends.shake_hands()
    assert ends.outcome == [None]
    assert ends.server._timer is None
    return ends


@pytest.fixture
async def reported() -> list[dict[str, Any]]:
    """What the loop's exception handler is told."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    return told


# --- reading


async def test_data_right_behind_the_handshake() -> None:
    above = Above()
    Ends(above).shake_hands(behind=b"early")
    assert above.calls == ["made", b"early"]


async def test_a_protocol_that_pauses_at_once_gets_all_later() -> None:
    above = Above(lambda transport: transport.pause_reading())
    ends = Ends(above)
    ends.shake_hands(behind=b"early")
    assert above.calls == ["made"]
    ends.client.write(b" and late")  # was on its way already
    ends.client.close()
    ends.carry()
    assert above.calls == ["made"]
    ends.server.resume_reading()
    ends.server.resume_reading()
    assert ends.below.calls == ["pause", "resume"]
    await asyncio.sleep(0)
    assert above.calls == ["made", b"early and late", "eof"]
    assert ends.below.calls == ["pause", "resume", "close"]


class Buffered(asyncio.BufferedProtocol):
    """Takes 4 octets at a time, and pauses after the second time."""

    def __init__(self) -> None:
        self.buffer = bytearray(4)
        self.received = bytearray()
        self.times = 0
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        assert sizehint > 0
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += self.buffer[:nbytes]
        self.buffer.extend(b"")  # no view is left
        self.times += 1
        if self.times == 2:
            self.transport.pause_reading()


async def test_a_protocol_that_provides_its_buffer() -> None:
    above = Buffered()
    ends = opened(above)
    ends.client.write(b"0123456789")
    ends.carry()
    assert above.received == b"01234567"
    ends.client.write(b"abc")
    ends.carry()
    ends.server.resume_reading()
    await asyncio.sleep(0)
    assert above.received == b"0123456789abc"
    simple = Above()
    ends.server.set_protocol(simple)
    ends.client.write(b"def")
    ends.carry()
    assert simple.calls == [b"def"]


async def test_an_empty_buffer_is_an_error(reported: list[dict[str, Any]]) -> None:
    above = Buffered()
    ends = opened(above)
    above.buffer = bytearray()
    ends.client.write(b"x")
    ends.carry()
    assert "empty buffer" in str(reported[0]["exception"])
    assert ends.below.calls == ["abort"]


# --- exceptions of the protocol


@pytest.mark.parametrize("call", ["data_received", "eof_received"])
async def test_an_exception_resets_the_connection(call: str, reported: list[dict[str, Any]]) -> None:
    above = Above()
    ends = opened(above)
    error = ValueError("broken")

    def fail(*_: object) -> None:
        raise error

    setattr(above, call, fail)
    if call == "data_received":
        ends.client.write(b"data")
    else:
        ends.client.close()
    ends.carry()
    assert ends.below.calls == ["abort"]
    assert [each["exception"] for each in reported] == [error]
    assert (reported[0]["transport"], reported[0]["protocol"]) == (ends.server, above)
    ends.lose()
    assert above.calls == ["made", ("lost", error)]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
async def test_the_end_of_the_loop_is_no_error_of_the_protocol(error: type[BaseException]) -> None:
    above = Above()
    ends = opened(above)

    def end(_: bytes) -> None:
        raise error

    setattr(above, "data_received", end)  # noqa: B010
    ends.client.write(b"data")
    with pytest.raises(error):
        ends.carry()
    assert ends.below.calls == []


# --- writing


async def test_the_transport_below_has_the_buffer_and_the_limits() -> None:
    above = Above()
    ends = opened(above)
    assert ends.below.limits == (512 * 1024, None)
    ends.server.write(bytes(1000))
    assert ends.server.get_write_buffer_size() == ends.below.get_write_buffer_size() > 1000
    ends.server.set_write_buffer_limits(100, 10)
    assert ends.below.limits == (100, 10)
    ends.server.pause_writing()
    assert ends.server._protocol_paused
    ends.server.resume_writing()
    assert not ends.server._protocol_paused
    assert above.calls == ["made", "pause", "resume"]


async def test_a_handshake_that_begins_anew_pauses_the_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    above = Above()
    ends = opened(above)
    machine: Any = ends.server._machine
    monkeypatch.setattr(machine, "backlog_size", 5)  # as if OpenSSL had not accepted it
    ends.server.write(b"x")
    assert above.calls == ["made", "pause"]
    assert ends.server.get_write_buffer_size() == ends.below.get_write_buffer_size() + 5
    ends.server.pause_writing()
    monkeypatch.setattr(machine, "backlog_size", 0)
    ends.client.write(b"y")
    ends.carry()
    assert above.calls == ["made", "pause", b"y"]  # the transport below is still full
    ends.server.resume_writing()
    assert above.calls == ["made", "pause", b"y", "resume"]
    ends.server.pause_writing()
    monkeypatch.setattr(machine, "backlog_size", 5)
    ends.server.resume_writing()
    monkeypatch.setattr(machine, "backlog_size", 0)
    ends.client.write(b"z")
    ends.carry()
    assert above.calls == ["made", "pause", b"y", "resume", "pause", "resume", b"z"]


async def test_an_exception_of_pause_writing_is_reported_only(reported: list[dict[str, Any]]) -> None:
    class Fails(Above):
        def pause_writing(self) -> None:
            raise ValueError("broken")

    ends = opened(Fails())
    ends.server.pause_writing()
    assert [each["message"] for each in reported] == ["protocol.pause_writing() failed"]
    assert ends.below.calls == []


async def test_what_is_written_after_the_close_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    ends = opened(Above())
    ends.server.close()
    ends.carry()
    for _ in range(6):
        ends.server.write(b"late")
    assert ends.below.written == b""
    assert [record.getMessage() for record in caplog.records] == ["SSL connection is closed"]


# --- the end


async def test_a_close_waits_for_the_answer() -> None:
    above = Above()
    ends = opened(above)
    ends.server.write(b"last")
    ends.server.close()
    ends.server.close()
    assert ends.server.is_closing()
    assert ends.below.calls == []
    ends.carry()
    assert (ends.client.read(), ends.client.peer_closed) == (b"last", True)
    assert ends.client.close()
    ends.carry()
    assert ends.below.calls == ["close"]
    ends.lose()
    assert above.calls == ["made", "eof", ("lost", None)]


async def test_a_close_does_not_wait_longer_than_a_fin() -> None:
    ends = opened(Above())
    ends.server.close()
    assert ends.server.eof_received()
    assert ends.below.calls == ["close"]


async def test_data_after_the_close_is_a_reset() -> None:
    above = Above()
    ends = opened(above)
    ends.server.close()
    ends.client.write(b"unexpected")
    ends.carry()
    assert ends.below.calls == ["abort"]
    ends.lose()
    assert isinstance(above.calls[-1][1], ssl.SSLError)


async def test_data_that_a_paused_protocol_has_not_taken_is_a_reset() -> None:
    ends = Ends(Above(lambda transport: transport.pause_reading()))
    ends.shake_hands(behind=b"untaken")
    ends.server.close()
    assert ends.below.calls == ["pause", "abort"]


async def test_a_paused_protocol_that_closes_reads_the_answer() -> None:
    ends = opened(Above())
    ends.server.pause_reading()
    ends.server.close()
    assert ends.below.calls == ["pause", "resume"]


async def test_a_fin_without_close_notify_is_an_end_by_default() -> None:
    above = Above()
    ends = opened(above)
    assert ends.server.eof_received()
    assert above.calls == ["made", "eof"]
    assert ends.below.calls == ["close"]
    assert ends.below.written == b""  # a peer that has closed its socket would answer close_notify with RST


async def test_eof_received_cannot_keep_it_open_by_default(caplog: pytest.LogCaptureFixture) -> None:
    above = Above()
    above.keep_open = True
    ends = opened(above)
    ends.client.close()
    ends.carry()
    assert ends.below.calls == ["close"]
    assert "has no effect when using ssl" in caplog.text


async def test_half_close() -> None:
    above = Above()
    above.keep_open = True
    ends = opened(above, half_close=True)
    ends.client.close()
    ends.carry()
    assert above.calls == ["made", "eof"]
    assert ends.server.can_write_eof()
    ends.server.write(b"answer")
    ends.server.write_eof()
    assert ends.below.calls == ["write_eof"]
    with pytest.raises(RuntimeError):
        ends.server.write(b"more")
    ends.client.feed(bytes(ends.below.written))
    assert (ends.client.read(), ends.client.peer_closed) == (b"answer", True)
    ends.server.close()
    assert ends.below.calls == ["write_eof", "close"]


async def test_a_fin_without_close_notify_is_no_half_close() -> None:
    above = Above()
    ends = opened(above, half_close=True)
    assert ends.server.eof_received()
    ends.lose()
    assert ends.below.calls == ["abort"]
    assert isinstance(above.calls[-1][1], ConnectionResetError)


async def test_half_close_needs_tls_1_3() -> None:
    """With TLS 1.2 the peer must drop what it has not sent at a close_notify (RFC 5246 7.2.1)."""
    above = Above()
    above.keep_open = True
    ends = opened(above, half_close=True, version=ssl.TLSVersion.TLSv1_2)
    assert not ends.server.can_write_eof()
    with pytest.raises(NotImplementedError):
        ends.server.write_eof()
    ends.client.close()
    ends.carry()
    assert ends.below.calls == ["close"]


async def test_extra_info_before_and_after() -> None:
    ends = Ends(Above())
    names = ["ssl_object", "peercert", "cipher", "compression"]
    assert [ends.server.get_extra_info(name, "none") for name in names] == ["none"] * 4
    assert isinstance(ends.server.get_extra_info("sslcontext"), ssl.SSLContext)
    ends.shake_hands()
    during = [ends.server.get_extra_info(name) for name in [*names, "peername"]]
    assert isinstance(during[0], ssl.SSLObject)
    assert during[4] == ("192.0.2.1", 5)
    ends.server.abort()
    ends.lose()
    assert [ends.server.get_extra_info(name) for name in [*names, "peername"]] == during
    assert ends.server.get_protocol() is None


async def test_a_handshake_that_this_side_ends() -> None:
    above = Above()
    ends = Ends(above)
    ends.server.close()
    assert ends.below.calls == ["abort"]
    ends.lose()
    assert [type(error) for error in ends.outcome] == [ConnectionAbortedError]
    assert above.calls == []


async def test_an_upgrade_that_fails_is_the_end_for_the_protocol() -> None:
    above = Above()
    ends = Ends(above, upgrade=True)
    assert ends.server.eof_received()
    ends.lose()
    assert isinstance(ends.outcome[0], ConnectionResetError)
    assert above.calls == [("lost", ends.outcome[0])]
