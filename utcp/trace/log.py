"""Log events for an operator, to the structlog that the application has configured.

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
| `utcp.memory_pressure`        | warning | `used` octets are in use, more than half of    | `used`, `limit`,          |
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
| `utcp.retransmitted`          | debug   | `length` octets of sequence space from `seq`   | connection, `seq`,        |
|                               |         | on were retransmitted                          | `length`                  |
| `utcp.mss_changed`            | debug   | the effective send MSS changed from `before`   | connection, `before`,     |
|                               |         | to `mss` octets because of ICMP, PMTU probes   | `mss`                     |
|                               |         | or timeouts                                    |                           |
| `utcp.time_wait_ended`        | debug   | TIME_WAIT ended after 2 MSL, or because a new  | connection                |
|                               |         | connection reused the ports                    |                           |
| `utcp.malformed`              | debug   | a datagram was not a TCP segment: `reason`     | `remote`, `reason`,       |
|                               |         |                                                | `suppressed`              |

* connection: `remote` (the peer's UDP address), `remote_port`, `local_port` (utcp ports).
* end: `path` (the states so far), `bytes_sent` (payload octets, including retransmissions), `bytes_acked`,
  `bytes_received`, `duration` (seconds since the first SYN was sent or received).
* `suppressed`: remote hosts can cause these events at will, or the events come in floods. Each is therefore logged at
  most once in REPEAT seconds per endpoint, with the number of events suppressed since the last one. Metrics count all
  of them.
* `error` is text, `rto` and `duration` are seconds.

A half-open connection, which a forged SYN can create, has debug events only. TIME_WAIT begins with `utcp.state_changed`
and ends with `utcp.time_wait_ended`.

The observer checks once, at its creation, whether the logger is enabled for debug events. If not, they cost only the
test of a bool. The logger is the result of `structlog.get_logger("utcp")` at that time. There is no event per segment,
so that logging does not slow down reception.

An exception in the application's processors occurs in the middle of protocol processing and must not disrupt it. The
event is lost, and the standard library's logger `utcp` gets the traceback as an error, only once for consecutive
failures.
"""

from __future__ import annotations

import logging
import sys
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


def default_observer() -> StructlogObserver | None:
    """Return an observer that logs to the application's configured structlog, or None if none is configured.

    Neither imports nor configures structlog, so that `import utcp` does not depend on it.
    """
    structlog = sys.modules.get("structlog")
    if structlog is None or not structlog.is_configured():
        return None
    try:
        return StructlogObserver()
    except Exception:  # structlog classes of the application may raise anything
        logging.getLogger("utcp").exception("structlog cannot make a logger: events of this endpoint are not logged")
        return None


def log_event(event: str, **fields: object) -> None:
    """Log an event of an endpoint, a control socket or a capture, if the application has configured structlog."""
    observer = default_observer()
    if observer is not None:
        if "address" in fields:
            fields["address"] = _address(fields["address"])
        observer.log("info", event, **fields)


class StructlogObserver(Observer):
    """Logs a stack's observer callbacks as the events listed in this module's docstring."""

    def __init__(self) -> None:
        # Imported here, because `import utcp` does not require it. An application that has configured structlog has
        # imported it.
        import structlog

        self._logger: Any = structlog.get_logger("utcp").bind()
        self._failing = False
        self._debug = _debug_enabled(self._logger)
        self._repeats: dict[str, tuple[float, int]] = {}
        """For each event name, the next time at which it may be logged, and the number suppressed since the last."""

    def log(self, level: str, event: str, **fields: object) -> None:
        """Log an event. An exception of the application's logger does not reach the protocol."""
        try:
            getattr(self._logger, level)(event, **fields)
        except Exception:  # structlog processors of the application may raise anything
            if not self._failing:
                self._failing = True
                logging.getLogger("utcp").exception("a structlog processor failed on %s", event)
        else:
            self._failing = False

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        if after == ESTABLISHED:
            self.log("info", "utcp.connection_opened", **_identity(connection), active=not connection.passive)
        if self._debug:
            self.log("debug", "utcp.state_changed", **_identity(connection), before=NAMES[before], after=NAMES[after])

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
        fields = {"remote": _address(remote), "remote_port": remote_port}
        self._seldom("warning", "utcp.ports_exhausted", now, **fields)

    def listen_overflowed(self, local_port: int, remote: Remote, now: float) -> None:
        fields = {"remote": _address(remote), "local_port": local_port}
        self._seldom("warning", "utcp.listen_overflowed", now, **fields)

    def syn_flooded(self, local_port: int, remote: Remote, cookie: bool, now: float) -> None:
        fields = {"remote": _address(remote), "local_port": local_port, "cookie": cookie}
        self._seldom("warning", "utcp.syn_flooded", now, **fields)

    def memory_pressed(self, used: int, limit: int, now: float) -> None:
        self._seldom("warning", "utcp.memory_pressure", now, used=used, limit=limit)

    def limit_reached(self, limit: str, remote: Remote, now: float) -> None:
        fields = {"remote": _address(remote), "limit": limit}
        self._seldom("warning", "utcp.limit_reached", now, **fields)

    def malformed(self, remote: Remote, reason: str, now: float) -> None:
        if self._debug:
            self._seldom("debug", "utcp.malformed", now, remote=_address(remote), reason=reason)

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        if self._debug:
            self.log(
                "debug", "utcp.time_wait_ended", remote=_address(remote), remote_port=remote_port, local_port=local_port
            )

    def _seldom(self, level: str, event: str, now: float, **fields: object) -> None:
        """Log an event unless one of this name was logged less than REPEAT seconds ago."""
        due, suppressed = self._repeats.get(event, (-inf, 0))
        if now < due:
            self._repeats[event] = (due, suppressed + 1)
            return
        self._repeats[event] = (now + REPEAT, 0)
        self.log(level, event, **fields, suppressed=suppressed)


def _identity(connection: Connection) -> dict[str, Any]:
    return {
        "remote": _address(connection.remote),
        "remote_port": connection.remote_port,
        "local_port": connection.local_port,
    }


def _address(remote: Remote) -> str:
    """Return `host:port` for a UDP address, otherwise the remote's string form, as in a simulation."""
    # A link on a wildcard address pairs the peer's address with the local one.
    address = getattr(remote, "peer", remote)
    if not isinstance(address, tuple):
        return str(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _debug_enabled(logger: object) -> bool:
    """Return whether `logger` is enabled for debug events, or True if it has no method to check that.

    The method is looked up on the class, because `structlog.BoundLogger` treats any unknown attribute as a log level.
    """
    for name in ("is_enabled_for", "isEnabledFor"):  # structlog's filtering loggers since 25.1, and logging's name
        ask = getattr(type(logger), name, None)
        if ask is not None:
            return bool(ask(logger, logging.DEBUG))
    return True
