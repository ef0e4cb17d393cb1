"""Whatever happens in whatever state, observers are told the time at which it happens."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.tcp import reach
from tests.tcp.script import Script
from utcp.tcp.connection import Connection
from utcp.tcp.observer import Observer, Tee
from utcp.tcp.transmit import Buffer, Remote
from utcp.wire import Segment


class Clock(Observer):
    """Compares every time that it is told with the script's."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.told = 0

    def _check(self, now: float) -> None:
        self.told += 1
        assert now == self._script.now

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        self._check(now)

    def connection_ended(self, connection: Connection, now: float) -> None:
        self._check(now)

    def segment_received(self, remote: Remote, segment: Segment, now: float) -> None:
        self._check(now)

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        self._check(now)

    def retransmitted(self, connection: Connection, seq: int, length: int, now: float) -> None:
        self._check(now)

    def malformed(self, remote: Remote, reason: str, now: float) -> None:
        self._check(now)

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        self._check(now)


class ClockedScript(Script):
    """Watched by a Clock from its beginning."""

    def __init__(self, **knobs: Any) -> None:
        super().__init__(**knobs)
        self.clock = Clock(self)
        self.stack.observe(Tee(self.watch, self.clock))


def _linger(t: Script, seconds: float) -> None:
    t.connection.linger = seconds
    t.close()


def _write_and_close(t: Script) -> None:
    if not t.connection.send_side.fin_queued:
        t.write(100)
    t.close()


def _leave_unread(t: Script) -> None:
    t.receives("P. 1:101 ack 1")
    t.drain()
    t.close()


def _after_both_fins(t: Script, leave: Callable[[Script], None]) -> None:
    """The user half-closes, the peer closes, and only then the user says that it is done."""
    if not t.connection.ended:
        t.shutdown()
    t.drain()
    t.receives("F. 1:1 ack 2")
    t.drain()
    t.advance(1)
    leave(t)


def _finish_before_the_handshake(t: Script) -> None:
    if not t.connection.ended:
        t.shutdown()
    t.drain()
    t.receives("S. 0:0 ack 1")


def _half_closed(**knobs: Any) -> Script:
    return reach.fin_wait_2(half=True, **knobs)


def _close_at_a_closed_window(t: Script) -> None:
    t.receives(". 1:1 ack 1 win 0")
    t.drain()
    _write_and_close(t)


STATES = (
    reach.syn_sent,
    reach.simultaneous_open,
    reach.established,
    reach.fin_wait_1,
    reach.fin_wait_2,
    _half_closed,
    reach.close_wait,
    reach.closing,
    reach.last_ack,
    reach.time_wait,
)
ENDINGS: dict[str, Callable[[Script], None]] = {
    "the peer falls silent": lambda t: None,
    "close": lambda t: t.close(),
    "close with data": _write_and_close,
    "close without lingering": lambda t: _linger(t, 0),
    "close and linger": lambda t: _linger(t, 1),
    "shutdown": lambda t: t.shutdown() if not t.connection.ended else None,
    "shutdown before the SYN-ACK": _finish_before_the_handshake,
    "abort": lambda t: t.abort(),
    "RST": lambda t: t.receives("R 1:1"),
    "RST with ACK": lambda t: t.receives("R. 1:1 ack 1"),
    "RST behind the FIN": lambda t: t.receives("R 2:2"),
    "SYN": lambda t: t.receives("S 1000:1000"),
    "FIN": lambda t: t.receives("F. 1:1 ack 1"),
    "FIN with the ACK of ours": lambda t: t.receives("F. 1:1 ack 2"),
    "ACK of the FIN": lambda t: t.receives(". 2:2 ack 2"),
    "data": lambda t: t.receives("P. 1:101 ack 1"),
    "data, unread": _leave_unread,
    "close after both FINs": lambda t: _after_both_fins(t, Script.close),
    "abort after both FINs": lambda t: _after_both_fins(t, Script.abort),
    "close at a closed window": _close_at_a_closed_window,
    "noise": lambda t: t.receives_bytes(b"noise"),
    "no route": lambda t: t.stack.path_failed(t.flow.remote, [(t.flow.local_port, t.flow.remote_port)], 113, t.now),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("knobs", [{}, {"user_timeout": 3.0}, {"keepalive": True, "keepalive_idle": 5.0}, {"msl": 0.0}])
@pytest.mark.parametrize("state", STATES)
def test_active(
    monkeypatch: pytest.MonkeyPatch, state: Callable[..., Script], knobs: dict[str, Any], ending: str
) -> None:
    monkeypatch.setattr(reach, "Script", ClockedScript)
    t = state(**knobs)
    assert isinstance(t, ClockedScript)
    ENDINGS[ending](t)
    t.drain()
    t.advance(2000)
    t.drain()
    assert t.clock.told


@pytest.mark.parametrize("line", ["R 1:1", "R. 1:1 ack 1", "S 1:1", "S 0:0", ". 1:1 ack 1", "F. 1:1 ack 1", "- 1:1"])
def test_passive(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr(reach, "Script", ClockedScript)
    t = reach.syn_rcvd()
    assert isinstance(t, ClockedScript)
    t.receives(line)
    t.drain()
    t.advance(2000)
    t.drain()
    assert t.clock.told
