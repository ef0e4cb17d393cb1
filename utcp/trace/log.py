"""Log events for an operator, to the structlog that the application has configured.

The event names and their keys are stable:

| event                       | level   | when                                                 | keys                 |
|-----------------------------|---------|------------------------------------------------------|----------------------|
| `utcp.connection_opened`    | info    | the handshake is complete                            | connection, `active` |
| `utcp.connection_closed`    | info    | over without an error: closed and delivered, or      | connection, end      |
|                             |         | aborted by its own user; `path` tells which          |                      |
| `utcp.connection_refused`   | warning | RST answered our SYN                                 | connection, end      |
| `utcp.connection_reset`     | warning | RST from the peer ended it                           | connection, end      |
| `utcp.connection_aborted`   | warning | this side had to reset it before all was delivered   | connection, end      |
| `utcp.connection_timed_out` | warning | the peer stopped answering; `error` says during what | connection, end      |
| `utcp.connection_failed`    | warning | ended by another error, as no route to the peer      | connection, end      |
| `utcp.state_changed`        | debug   | it moved from `before` to `after`                    | connection           |
| `utcp.retransmitted`        | debug   | `length` octets of sequence space from `seq` on      | connection           |
|                             |         | went out again                                       |                      |
| `utcp.time_wait_ended`      | debug   | 2 MSL passed, or a newer connection took the ports   | connection           |
| `utcp.malformed`            | debug   | a datagram was no TCP segment: `reason`. Anyone can  | `remote`             |
|                             |         | send such; `Counters.in_errs` counts them            |                      |

* connection: `remote` (the peer's UDP address), `remote_port`, `local_port` (utcp ports).
* end: `path` (the states it took until then), `bytes_sent` (payload octets, each time that they were sent),
  `bytes_acked`, `bytes_received`, `duration` (seconds since its first SYN was sent or received) and, when it failed,
  `error` (text).
* `active` is true where this side opened the connection, false where it accepted it.

Whether debug events are wanted is asked of the logger once, when the observer is made; if they are not, they cost
nothing but the test of a bool. The logger is the one that `structlog.get_logger("utcp")` gives at that moment.

An exception in the application's processors must not break the protocol, in the middle of which it happens: the event
is lost, and the standard library's logger `utcp` gets the traceback, as an error; of failures in a row only the first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from utcp.errors import ConnectionAborted, ConnectionRefused, ConnectionReset, ConnectionTimedOut
from utcp.tcp.observer import Observer
from utcp.tcp.state import ESTABLISHED, NAMES
from utcp.tcp.transmit import Remote

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection

_EVENT_OF_ERROR = (
    (ConnectionRefused, "utcp.connection_refused"),
    (ConnectionReset, "utcp.connection_reset"),
    (ConnectionAborted, "utcp.connection_aborted"),
    (ConnectionTimedOut, "utcp.connection_timed_out"),
    (OSError, "utcp.connection_failed"),
)


class StructlogObserver(Observer):
    """Turns what a stack tells its observer into the log events listed in this module's docstring."""

    def __init__(self) -> None:
        self._logger: Any = structlog.get_logger("utcp").bind()
        self._debug = _debug_enabled(self._logger)
        self._failing = False

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

    def malformed(self, remote: Remote, reason: str, now: float) -> None:
        if self._debug:
            self._log(self._logger.debug, "utcp.malformed", remote=_address(remote), reason=reason)

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        if self._debug:
            self._log(
                self._logger.debug,
                "utcp.time_wait_ended",
                remote=_address(remote),
                remote_port=remote_port,
                local_port=local_port,
            )

    def _log(self, method: Callable[..., Any], event: str, **fields: object) -> None:
        try:
            method(event, **fields)
        except Exception:  # the application's processors may raise anything
            if not self._failing:
                self._failing = True
                logging.getLogger("utcp").exception("a structlog processor failed on %s", event)
        else:
            self._failing = False


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
