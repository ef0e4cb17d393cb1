"""Log events for an operator, to the structlog that the application has configured.

The event names and their keys are stable:

| event                         | level   | when                                           | keys                      |
|-------------------------------|---------|------------------------------------------------|---------------------------|
| `utcp.connection_opened`      | info    | the handshake is complete; `active`: this side | connection, `active`      |
|                               |         | opened it                                      |                           |
| `utcp.connection_closed`      | info    | over without an error: closed and delivered,   | connection, end           |
|                               |         | or aborted by its own user; `path` tells which |                           |
| `utcp.connection_refused`     | warning | RST answered our SYN                           | connection, end, `error`  |
| `utcp.connection_reset`       | warning | RST from the peer ended it, or ICMP messages   | connection, end, `error`  |
|                               |         | about its closed UDP port                      |                           |
| `utcp.connection_aborted`     | warning | this side had to reset it before all was       | connection, end, `error`  |
|                               |         | delivered                                      |                           |
| `utcp.connection_timed_out`   | warning | the peer stopped answering; `error` says       | connection, end, `error`  |
|                               |         | during what                                    |                           |
| `utcp.connection_failed`      | warning | ended by another error, as no route to the     | connection, end, `error`  |
|                               |         | peer                                           |                           |
| `utcp.path_unreachable`       | warning | the network says that the peer is out of       | connection, `error`,      |
|                               |         | reach; the connection goes on trying           | `suppressed`              |
| `utcp.ports_exhausted`        | warning | an open failed: every ephemeral port is in use | `remote`, `remote_port`,  |
|                               |         | towards there                                  | `suppressed`              |
| `utcp.listen_overflowed`      | warning | a handshake was not let in: `backlog`          | `remote`, `local_port`,   |
|                               |         | connections wait to be accepted                | `suppressed`              |
| `utcp.syn_flooded`            | warning | `Config.syn_backlog` handshakes are under way, | `remote`, `local_port`,   |
|                               |         | or memory is short: a SYN was answered by a    | `cookie`, `suppressed`    |
|                               |         | `cookie` or, where that is false, dropped      |                           |
| `utcp.memory_pressure`        | warning | `used` octets are in use, more than half of    | `used`, `limit`,          |
|                               |         | `limit` (`Config.max_memory`)                  | `suppressed`              |
| `utcp.limit_reached`          | warning | a connection was refused: `limit` is the field | `remote`, `limit`,        |
|                               |         | of Config                                      | `suppressed`              |
| `utcp.endpoint_opened`        | info    | an endpoint has its socket, on UDP `address`   | `address`                 |
| `utcp.endpoint_closed`        | info    | it is closed                                   | `address`                 |
| `utcp.control_opened`         | info    | the control socket `path` listens (`utcp ss`)  | `path`                    |
| `utcp.control_closed`         | info    | it does so no longer                           | `path`                    |
| `utcp.capture_started`        | info    | what endpoints send and receive is captured:   |                           |
|                               |         | `utcp capture`, UTCP_PCAP                      |                           |
| `utcp.capture_ended`          | info    | no longer; so many packets were written, and   | `packets`, `dropped`      |
|                               |         | dropped for want of room                       |                           |
| `utcp.state_changed`          | debug   | it moved from `before` to `after`; TIME_WAIT   | connection, `before`,     |
|                               |         | begins like this                               | `after`                   |
| `utcp.timer_expired`          | debug   | a `timer` (`utcp.tcp.timers`) of the peer's    | connection, `timer`,      |
|                               |         | silence expired; `retransmits`: timeouts in a  | `retransmits`, `rto`      |
|                               |         | row before this one                            |                           |
| `utcp.retransmitted`          | debug   | `length` octets of sequence space from `seq`   | connection, `seq`,        |
|                               |         | on went out again                              | `length`                  |
| `utcp.mss_changed`            | debug   | the path takes segments of `mss` octets, not   | connection, `before`,     |
|                               |         | of `before`: ICMP, probes or timeouts have     | `mss`                     |
|                               |         | told                                           |                           |
| `utcp.time_wait_ended`        | debug   | 2 MSL passed, or a newer connection took the   | connection                |
|                               |         | ports                                          |                           |
| `utcp.malformed`              | debug   | a datagram was no TCP segment: `reason`        | `remote`, `reason`,       |
|                               |         |                                                | `suppressed`              |

* connection: `remote` (the peer's UDP address), `remote_port`, `local_port` (utcp ports).
* end: `path` (the states it took until then), `bytes_sent` (payload octets, each time that they were sent),
  `bytes_acked`, `bytes_received`, `duration` (seconds since its first SYN was sent or received).
* `suppressed`: anyone can bring these events about, or they come in floods. So each is logged once in REPEAT seconds
  per endpoint, and this is how many there were since the last one and were not logged. Metrics count them all.
* `error` is text, `rto` and `duration` are seconds.

A half-open connection, which a forged SYN can make, is no connection here: it has debug events only. TIME_WAIT begins
with `utcp.state_changed`, and ends with `utcp.time_wait_ended`.

Whether debug events are wanted is asked of the logger once, when the observer is made; if they are not, they cost
nothing but the test of a bool. The logger is the one that `structlog.get_logger("utcp")` gives at that moment. No event
is about a segment as such: what is received costs as much as without logging.

An exception in the application's processors must not break the protocol, in the middle of which it happens: the event
is lost, and the standard library's logger `utcp` gets the traceback, as an error; of failures in a row only the first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, Final

from utcp.errors import ConnectionAborted, ConnectionRefused, ConnectionReset, ConnectionTimedOut
from utcp.tcp.observer import Observer
from utcp.tcp.state import ESTABLISHED, NAMES
from utcp.tcp.timers import DELAYED_ACK, PACING, REORDER
from utcp.tcp.timers import NAMES as TIMER_NAMES
from utcp.tcp.transmit import Remote

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection

REPEAT: Final = 10.0
"""Seconds between two events of a kind that strangers can bring about."""

_ORDINARY: Final = (DELAYED_ACK, PACING, REORDER)
"""Timers whose expiry is part of sending and receiving, and no news."""

_EVENT_OF_ERROR: Final = (
    (ConnectionRefused, "utcp.connection_refused"),
    (ConnectionReset, "utcp.connection_reset"),
    (ConnectionAborted, "utcp.connection_aborted"),
    (ConnectionTimedOut, "utcp.connection_timed_out"),
    (OSError, "utcp.connection_failed"),
)


class _Log:
    """The application's logger, whose failures harm nobody."""

    def __init__(self) -> None:
        # Here, because `import utcp` does without it. An application that has configured it has imported it.
        import structlog

        self._logger: Any = structlog.get_logger("utcp").bind()
        self._failing = False

    def _log(self, method: Callable[..., Any], event: str, **fields: object) -> None:
        try:
            method(event, **fields)
        except Exception:  # the application's processors may raise anything
            if not self._failing:
                self._failing = True
                logging.getLogger("utcp").exception("a structlog processor failed on %s", event)
        else:
            self._failing = False

    def info(self, event: str, **fields: object) -> None:
        self._log(self._logger.info, event, **fields)


def log_event(event: str, **fields: object) -> None:
    """Log one of the events of endpoints, control sockets and captures."""
    if "address" in fields:
        fields["address"] = _address(fields["address"])
    _Log().info(event, **fields)


class StructlogObserver(_Log, Observer):
    """Turns what a stack tells its observer into the log events listed in this module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self._debug = _debug_enabled(self._logger)
        self._repeats: dict[str, tuple[float, int]] = {}
        """By event: when the next may be logged, and how many were not since the last."""

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        if after == ESTABLISHED:
            self._log(
                self._logger.info,
                "utcp.connection_opened",
                **_identity(connection),
                active=not connection.passive,
            )
        if self._debug:
            self._log(
                self._logger.debug,
                "utcp.state_changed",
                **_identity(connection),
                before=NAMES[before],
                after=NAMES[after],
            )

    def connection_ended(self, connection: Connection, now: float) -> None:
        info = connection.info()
        fields = _identity(connection)
        fields["path"] = info.path
        fields["bytes_sent"] = info.bytes_sent
        fields["bytes_acked"] = info.bytes_acked
        fields["bytes_received"] = info.bytes_received
        fields["duration"] = round(now - connection.opened_at, 6)
        error = connection.error
        if error is None:
            self._log(self._logger.info, "utcp.connection_closed", **fields)
        else:
            event = next(event for cause, event in _EVENT_OF_ERROR if isinstance(error, cause))
            self._log(self._logger.warning, event, **fields, error=str(error))

    def retransmitted(self, connection: Connection, seq: int, length: int, now: float) -> None:
        if self._debug:
            self._log(self._logger.debug, "utcp.retransmitted", **_identity(connection), seq=seq, length=length)

    def timer_expired(self, connection: Connection, timer: int, now: float) -> None:
        if self._debug and timer not in _ORDINARY:
            self._log(
                self._logger.debug,
                "utcp.timer_expired",
                **_identity(connection),
                timer=TIMER_NAMES[timer],
                retransmits=connection.retransmits,
                rto=round(connection.rtt.rto, 6),
            )

    def mss_changed(self, connection: Connection, before: int, now: float) -> None:
        if self._debug:
            fields = {**_identity(connection), "before": before, "mss": connection.mss}
            self._log(self._logger.debug, "utcp.mss_changed", **fields)

    def path_unreachable(self, connection: Connection, error: OSError, now: float) -> None:
        self._seldom(self._logger.warning, "utcp.path_unreachable", now, **_identity(connection), error=str(error))

    def ports_exhausted(self, remote: Remote, remote_port: int, now: float) -> None:
        fields = {"remote": _address(remote), "remote_port": remote_port}
        self._seldom(self._logger.warning, "utcp.ports_exhausted", now, **fields)

    def listen_overflowed(self, local_port: int, remote: Remote, now: float) -> None:
        fields = {"remote": _address(remote), "local_port": local_port}
        self._seldom(self._logger.warning, "utcp.listen_overflowed", now, **fields)

    def syn_flooded(self, local_port: int, remote: Remote, cookie: bool, now: float) -> None:
        fields = {"remote": _address(remote), "local_port": local_port, "cookie": cookie}
        self._seldom(self._logger.warning, "utcp.syn_flooded", now, **fields)

    def memory_pressed(self, used: int, limit: int, now: float) -> None:
        self._seldom(self._logger.warning, "utcp.memory_pressure", now, used=used, limit=limit)

    def limit_reached(self, limit: str, remote: Remote, now: float) -> None:
        fields = {"remote": _address(remote), "limit": limit}
        self._seldom(self._logger.warning, "utcp.limit_reached", now, **fields)

    def malformed(self, remote: Remote, reason: str, now: float) -> None:
        if self._debug:
            self._seldom(self._logger.debug, "utcp.malformed", now, remote=_address(remote), reason=reason)

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        if self._debug:
            self._log(
                self._logger.debug,
                "utcp.time_wait_ended",
                remote=_address(remote),
                remote_port=remote_port,
                local_port=local_port,
            )

    def _seldom(self, method: Callable[..., Any], event: str, now: float, **fields: object) -> None:
        """Log it unless an event of this name was logged less than REPEAT seconds ago."""
        due, suppressed = self._repeats.get(event, (-inf, 0))
        if now < due:
            self._repeats[event] = (due, suppressed + 1)
            return
        self._repeats[event] = (now + REPEAT, 0)
        self._log(method, event, **fields, suppressed=suppressed)


def _identity(connection: Connection) -> dict[str, Any]:
    return {
        "remote": _address(connection.remote),
        "remote_port": connection.remote_port,
        "local_port": connection.local_port,
    }


def _address(remote: Remote) -> str:
    """`host:port` where the remote is a UDP address; how it prints where it is something else, as in a simulation."""
    address = getattr(remote, "peer", remote)  # a link on a wildcard address puts our own address beside the peer's
    if not isinstance(address, tuple):
        return str(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _debug_enabled(logger: object) -> bool:
    """Whether `logger` lets debug events through, as far as it can tell; a logger that cannot tell is asked to try.

    The method is looked up on the class: `structlog.BoundLogger` takes any unknown attribute for a log level.
    """
    for name in ("is_enabled_for", "isEnabledFor"):  # structlog's filtering loggers since 25.1, and logging's name
        ask = getattr(type(logger), name, None)
        if ask is not None:
            return bool(ask(logger, logging.DEBUG))
    return True
