"""Log events for an operator, to structlog or to the logger `utcp` of the standard library.

The event names and their keys are stable:

| event                         | level   | when                                           | keys                      |
|-------------------------------|---------|------------------------------------------------|---------------------------|
| `utcp.connection_opened`      | info    | the handshake completed; `active`: this side   | connection, `active`      |
|                               |         | sent the first SYN                             |                           |
| `utcp.connection_closed`      | info    | the connection ended without an error:         | connection, end           |
|                               |         | delivered and closed, or aborted by its own    |                           |
|                               |         | application; `path` distinguishes the two      |                           |
| `utcp.connection_refused`     | warning | an RST answered the SYN                        | connection, end, `error`  |
| `utcp.connection_reset`       | warning | an RST from the peer, or ICMP errors about its | connection, end, `error`  |
|                               |         | closed UDP port, ended the connection          |                           |
| `utcp.connection_aborted`     | warning | this side reset the connection before all data | connection, end, `error`  |
|                               |         | was delivered                                  |                           |
| `utcp.connection_timed_out`   | warning | the peer stopped answering; `error` names the  | connection, end, `error`  |
|                               |         | phase                                          |                           |
| `utcp.connection_failed`      | warning | another error ended the connection, such as no | connection, end, `error`  |
|                               |         | route to the peer                              |                           |
| `utcp.path_unreachable`       | warning | the network reports the peer as unreachable;   | connection, `error`,      |
|                               |         | the connection continues to retry              | `suppressed`              |
| `utcp.ports_exhausted`        | warning | an open failed because every ephemeral port is | `remote`, `remote_port`,  |
|                               |         | in use towards the destination                 | `suppressed`              |
| `utcp.listen_overflowed`      | warning | a handshake was not completed because          | `remote`, `local_port`,   |
|                               |         | `backlog` connections wait to be accepted      | `suppressed`              |
| `utcp.syn_flooded`            | warning | `Config.syn_backlog` handshakes are in         | `remote`, `local_port`,   |
|                               |         | progress, or memory is short, so that a SYN    | `cookie`, `suppressed`    |
|                               |         | was answered with a SYN cookie (`cookie`) or   |                           |
|                               |         | dropped (`cookie` false)                       |                           |
| `utcp.memory_pressure`        | warning | `used` bytes are in use, more than half of     | `used`, `limit`,          |
|                               |         | `limit` (`Config.max_memory`)                  | `suppressed`              |
| `utcp.limit_reached`          | warning | a connection was refused; `limit` is the name  | `remote`, `limit`,        |
|                               |         | of the field of Config                         | `suppressed`              |
| `utcp.endpoint_opened`        | info    | an endpoint opened its socket on UDP `address` | `address`                 |
| `utcp.endpoint_closed`        | info    | an endpoint closed                             | `address`                 |
| `utcp.control_opened`         | info    | the control socket `path` started to listen    | `path`                    |
|                               |         | (`utcp ss`)                                    |                           |
| `utcp.control_closed`         | info    | the control socket `path` closed               | `path`                    |
| `utcp.capture_started`        | info    | a capture of endpoints started (`utcp          |                           |
|                               |         | capture`, UTCP_PCAP)                           |                           |
| `utcp.capture_ended`          | info    | the capture ended; counts of packets written,  | `packets`, `dropped`      |
|                               |         | and of packets dropped for lack of buffer      |                           |
|                               |         | space                                          |                           |
| `utcp.state_changed`          | debug   | the state changed from `before` to `after`,    | connection, `before`,     |
|                               |         | which may be TIME_WAIT                         | `after`                   |
| `utcp.timer_expired`          | debug   | a `timer` (`utcp.tcp.timers`) expired because  | connection, `timer`,      |
|                               |         | the peer was silent; `retransmits`:            | `retransmits`, `rto`      |
|                               |         | consecutive timeouts before this one           |                           |
| `utcp.retransmitted`          | debug   | `length` bytes of sequence space from `seq`    | connection, `seq`,        |
|                               |         | on were retransmitted                          | `length`                  |
| `utcp.mss_changed`            | debug   | the effective send MSS changed from `before`   | connection, `before`,     |
|                               |         | to `mss` bytes because of ICMP, PMTU probes    | `mss`                     |
|                               |         | or timeouts                                    |                           |
| `utcp.time_wait_ended`        | debug   | TIME_WAIT ended after 2 MSL, or because a new  | connection                |
|                               |         | connection reused the ports                    |                           |
| `utcp.malformed`              | debug   | a datagram was not a TCP segment: `reason`     | `remote`, `reason`,       |
|                               |         |                                                | `suppressed`              |

* connection: `remote` (the peer's UDP address), `remote_port`, `local_port` (utcp ports).
* end: `path` (the states so far), `bytes_sent` (payload bytes, including retransmissions), `bytes_acked`,
  `bytes_received`, `duration` (seconds since the first SYN was sent or received).
* `suppressed`: remote hosts can cause these events at will, or the events come in floods. Each is therefore logged at
  most once in REPEAT seconds per endpoint, with the number of events suppressed since the last one. Metrics count all
  of them.
* `error` is text, `rto` and `duration` are seconds.

A half-open connection, which a forged SYN can create, has debug events only. TIME_WAIT begins with `utcp.state_changed`
and ends with `utcp.time_wait_ended`.

The events go to structlog if the application has configured it before it opens the endpoint
(`structlog.get_logger("utcp")`). Otherwise they go to `logging.getLogger("utcp")`. The text of such a record is the
event and `key=value` for each key. The keys are also attributes of the record, and so is `event`, for filters and for
formatters that write JSON. Without any handler, no event is logged, although logging would print warnings to stderr:
the program gets the errors of connections as exceptions.

The observer checks once, at its creation, for which levels the logger is enabled. Without debug events, they cost only
the test of a bool. Without info events, a connection that has no trouble costs nothing (`Observer.sees_routine`). A
disabled logger of the standard library gets no observer. There is no event per segment, so that logging does not slow
down reception.

An exception in the application's processors, filters or handlers occurs in the middle of protocol processing and must
not disrupt it. The event is lost, and another logger gets the traceback as an error, only once for consecutive
failures: `utcp` for structlog, `asyncio` for `utcp`.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final

from utcp.errors import ConnectionAborted, ConnectionRefused, ConnectionReset, ConnectionTimedOut
from utcp.tcp.observer import Observer
from utcp.tcp.state import ESTABLISHED, NAMES
from utcp.tcp.timers import DELAYED_ACK, PACING, REORDER
from utcp.tcp.timers import NAMES as TIMER_NAMES
from utcp.tcp.transmit import Remote, address_text

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection

_LOGGER: Final = logging.getLogger("utcp")

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}

REPEAT: Final = 10.0
"""Minimum interval between two events of a kind that remote hosts can cause, seconds."""

_ORDINARY: Final = (DELAYED_ACK, PACING, REORDER)
"""Timers whose expiry is a normal part of sending and receiving, and is not logged."""

_EVENT_OF_ERROR: Final = (
    (ConnectionRefused, "utcp.connection_refused"),
    (ConnectionReset, "utcp.connection_reset"),
    (ConnectionAborted, "utcp.connection_aborted"),
    (ConnectionTimedOut, "utcp.connection_timed_out"),
    (OSError, "utcp.connection_failed"),
)


def default_observer() -> LogObserver | None:
    """Return an observer that logs to the application's configured structlog, otherwise to the standard library's
    logger, or None if that is disabled.

    Neither imports nor configures structlog, so that `import utcp` does not depend on it.
    """
    structlog = sys.modules.get("structlog")
    if structlog is None or not structlog.is_configured():
        return StandardObserver() if _LOGGER.isEnabledFor(logging.WARNING) else None
    try:
        return StructlogObserver()
    except Exception:  # structlog classes of the application may raise anything
        _LOGGER.exception("structlog cannot make a logger: events of this endpoint are not logged")
        return None


def log_event(event: str, **fields: object) -> None:
    """Log an event of an endpoint, a control socket or a capture."""
    observer = default_observer()
    if observer is not None and observer.sees_routine:
        if "address" in fields:
            fields["address"] = address_text(fields["address"])
        observer.log("info", event, **fields)


class LogObserver(Observer):
    """Logs a stack's observer callbacks as the events listed in this module's docstring.

    Args:
        is_enabled: returns whether the logger is enabled for a level of `logging`.
        report: logs an exception of the logger, as `logging.Logger.exception` does.
    """

    def __init__(self, is_enabled: Callable[[int], bool], report: Callable[..., None]) -> None:
        self.sees_routine = is_enabled(logging.INFO)
        self._debug = is_enabled(logging.DEBUG)
        self._report = report
        self._failing = False
        self._repeats: dict[str, tuple[float, int]] = {}
        """For each event name, the next time at which it may be logged, and the number suppressed since the last."""

    def write(self, level: str, event: str, fields: dict[str, object]) -> None:
        """Pass an event to the logger. Raises whatever the application's logger raises."""
        raise NotImplementedError

    def log(self, level: str, event: str, **fields: object) -> None:
        """Log an event. An exception of the application's logger does not reach the protocol."""
        try:
            self.write(level, event, fields)
        except Exception:
            if not self._failing:
                self._failing = True
                self._report("logging of %s failed", event)
        else:
            self._failing = False

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        if self.sees_routine and after == ESTABLISHED:
            self.log("info", "utcp.connection_opened", **_identity(connection), active=not connection.passive)
        if self._debug:
            self.log("debug", "utcp.state_changed", **_identity(connection), before=NAMES[before], after=NAMES[after])

    def connection_ended(self, connection: Connection, now: float) -> None:
        error = connection.error
        if error is None and not self.sees_routine:
            return
        info = connection.info()
        fields = _identity(connection)
        fields["path"] = info.path
        fields["bytes_sent"] = info.bytes_sent
        fields["bytes_acked"] = info.bytes_acked
        fields["bytes_received"] = info.bytes_received
        fields["duration"] = round(now - connection.opened_at, 6)
        if error is None:
            self.log("info", "utcp.connection_closed", **fields)
        else:
            event = next(event for cause, event in _EVENT_OF_ERROR if isinstance(error, cause))
            self.log("warning", event, **fields, error=str(error))

    def retransmitted(self, connection: Connection, seq: int, length: int, now: float) -> None:
        if self._debug:
            self.log("debug", "utcp.retransmitted", **_identity(connection), seq=seq, length=length)

    def timer_expired(self, connection: Connection, timer: int, now: float) -> None:
        if self._debug and timer not in _ORDINARY:
            self.log(
                "debug",
                "utcp.timer_expired",
                **_identity(connection),
                timer=TIMER_NAMES[timer],
                retransmits=connection.retransmits,
                rto=round(connection.rtt.rto, 6),
            )

    def mss_changed(self, connection: Connection, before: int, now: float) -> None:
        if self._debug:
            fields = {**_identity(connection), "before": before, "mss": connection.mss}
            self.log("debug", "utcp.mss_changed", **fields)

    def path_unreachable(self, connection: Connection, error: OSError, now: float) -> None:
        self._seldom("warning", "utcp.path_unreachable", now, **_identity(connection), error=str(error))

    def ports_exhausted(self, remote: Remote, remote_port: int, now: float) -> None:
        self._seldom("warning", "utcp.ports_exhausted", now, remote=remote, remote_port=remote_port)

    def listen_overflowed(self, local_port: int, remote: Remote, now: float) -> None:
        self._seldom("warning", "utcp.listen_overflowed", now, remote=remote, local_port=local_port)

    def syn_flooded(self, local_port: int, remote: Remote, cookie: bool, now: float) -> None:
        self._seldom("warning", "utcp.syn_flooded", now, remote=remote, local_port=local_port, cookie=cookie)

    def memory_pressed(self, used: int, limit: int, now: float) -> None:
        self._seldom("warning", "utcp.memory_pressure", now, used=used, limit=limit)

    def limit_reached(self, limit: str, remote: Remote, now: float) -> None:
        self._seldom("warning", "utcp.limit_reached", now, remote=remote, limit=limit)

    def malformed(self, remote: Remote, reason: str, now: float) -> None:
        if self._debug:
            self._seldom("debug", "utcp.malformed", now, remote=remote, reason=reason)

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        if self._debug:
            self.log(
                "debug",
                "utcp.time_wait_ended",
                remote=address_text(remote),
                remote_port=remote_port,
                local_port=local_port,
            )

    def _seldom(self, level: str, event: str, now: float, **fields: object) -> None:
        """Log an event unless one of this name was logged less than REPEAT seconds ago."""
        due, suppressed = self._repeats.get(event, (-inf, 0))
        if now < due:
            self._repeats[event] = (due, suppressed + 1)
            return
        self._repeats[event] = (now + REPEAT, 0)
        if "remote" in fields:
            fields["remote"] = address_text(fields["remote"])
        self.log(level, event, **fields, suppressed=suppressed)


class StructlogObserver(LogObserver):
    """Logs to the application's structlog."""

    def __init__(self) -> None:
        # Imported here, because `import utcp` does not require it. An application that has configured structlog has
        # imported it.
        import structlog

        self._logger: Any = structlog.get_logger("utcp").bind()
        super().__init__(partial(_is_enabled, self._logger), _LOGGER.exception)

    def write(self, level: str, event: str, fields: dict[str, object]) -> None:
        getattr(self._logger, level)(event, **fields)


class StandardObserver(LogObserver):
    """Logs to the standard library's logger `utcp`."""

    def __init__(self) -> None:
        super().__init__(_LOGGER.isEnabledFor, logging.getLogger("asyncio").exception)

    def write(self, level: str, event: str, fields: dict[str, object]) -> None:
        number = _LEVELS[level]
        if _LOGGER.isEnabledFor(number) and _LOGGER.hasHandlers():
            text = " ".join([event, *(f"{key}={_text(value)}" for key, value in fields.items())])
            _LOGGER.log(number, "%s", text, extra={"event": event, **fields})


def _text(value: object) -> str:
    """Return a value of a key for a line of text, in quotes if it would not be one word."""
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    if text and text.isprintable() and not set(text) & set(' "='):
        return text
    return json.dumps(text)


def _identity(connection: Connection) -> dict[str, Any]:
    return {
        "remote": address_text(connection.remote),
        "remote_port": connection.remote_port,
        "local_port": connection.local_port,
    }


def _is_enabled(logger: object, level: int) -> bool:
    """Return whether a logger of structlog is enabled for `level`, or True if it has no method to check that.

    The method is looked up on the class, because `structlog.BoundLogger` treats any unknown attribute as a log level.
    """
    for name in ("is_enabled_for", "isEnabledFor"):  # structlog's filtering loggers since 25.1, and logging's name
        ask = getattr(type(logger), name, None)
        if ask is not None:
            return bool(ask(logger, level))
    return True
