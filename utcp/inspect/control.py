"""The control socket: a Unix socket by which other processes inspect this one (`utcp ss`, `utcp capture`).

There are three ways to open one:

* `Endpoint(..., control=PATH)` opens it for this endpoint;
* `open_control(PATH)` opens it for all endpoints of the running loop, those of `utcp.open_connection()` and
  `start_server()` included;
* the environment variable UTCP_CONTROL does the same without a change of the program. It is a path, a directory for
  `PID.sock` in it, or 1 for the default directory (`utcp.inspect.control_path`). An error is logged as a warning of the
  logger "utcp", and the program continues.

Endpoints with the same path share the socket, which is closed with the last of them, or with the loop. Only its owner
may connect to it (mode 0600). Clients can read, but not change anything.

In the protocol, the client sends one line with a JSON object:

* `{"request": "table"}`. The answer consists of JSON objects, one per line: first
  `{"utcp": 1, "pid": ..., "program": ...}`; for each endpoint
  `{"type": "endpoint", "host": ..., "udp_port": ..., "memory": {...}, "snmp": {...}}` and its rows
  (`utcp.inspect.table`); last `{"type": "end"}`. `memory` contains `used` and `limit` (octets), `orphans` (the number
  of closed connections that still deliver data), `orphaned` (their octets) and `level`: "", "pressure", "short" or
  "full" (`utcp.tcp.memory`).
* `{"request": "capture"}`, optionally with `"count": N` to end after N packets, and `"form": "udp"` to include UDP
  headers. The answer is the line `{"utcp": 1, ...}`, followed by a pcapng file with every segment of every endpoint,
  and comments (`utcp.trace.comments`). The capture ends after N packets, when the client shuts down its side, or with
  the last endpoint. Packets that the client does not read in time are dropped, and counted in the interface statistics
  at the end.

Any other request is answered with `{"error": "..."}`. No call blocks, so a slow or silent client does not affect the
program.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from utcp.aio.containment import attempt, later
from utcp.aio.open_endpoint import OpenEndpoint
from utcp.inspect.session import Session
from utcp.trace import log_event

MAX_CLIENTS: Final = 64

LAST_WORDS: Final = 1.0
"""Seconds that the loop's end waits until clients have read the rest of their captures."""

ACCEPT_AGAIN: Final = 1.0
"""Seconds until the next accept() if the process has no descriptor left."""

_NOT_LEFT: Final = "a session of a control socket did not come to its end"


class Control:
    """One control socket and its sessions. `open_control()` opens it.

    `left(control)` is called when it is closed and its last session has ended.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        file: Path,
        left: Callable[[Control], None],
    ) -> None:
        self.path: Final = str(file)
        """Path of the socket."""
        self.for_all = False
        """Whether it shows all endpoints of the loop. Otherwise it is closed with the last of its endpoints."""
        self.endpoints: dict[OpenEndpoint, None] = {}
        self.sessions: dict[Session, None] = {}
        self._loop = loop
        self._sock = sock
        self._left = left
        self._identity = _identity(self.path)
        self._paused: asyncio.TimerHandle | None = None
        self._gone: asyncio.Future[None] | None = None
        loop.add_reader(sock.fileno(), self._accept)
        log_event("utcp.control_opened", path=self.path)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} endpoints={len(self.endpoints)} clients={len(self.sessions)}>"

    @property
    def closed(self) -> bool:
        return self._sock.fileno() < 0

    def open_for_all(self, endpoints: Iterable[OpenEndpoint]) -> None:
        """Show all endpoints of the loop, until `close()`. `endpoints` are the open ones."""
        self.for_all = True
        for endpoint in endpoints:
            self.begin(endpoint)

    def begin(self, endpoint: OpenEndpoint) -> None:
        """Show an endpoint from now on."""
        if endpoint not in self.endpoints and not self.closed:
            self.endpoints[endpoint] = None
            for session in list(self.sessions):
                attempt(self._loop, "an endpoint is missing in a capture", session.observe, endpoint)

    def end(self, endpoint: OpenEndpoint) -> None:
        """Stop showing an endpoint, which is closed."""
        if endpoint in self.endpoints:
            del self.endpoints[endpoint]
            for session in list(self.sessions):
                attempt(self._loop, _NOT_LEFT, session.leave, endpoint)
            if not self.endpoints and not self.for_all:
                self.close()

    def close(self) -> None:
        """Stop listening, and remove the file. Tables are still sent completely, captures end. Idempotent."""
        if self.closed:
            return
        if self._paused is None:
            self._loop.remove_reader(self._sock.fileno())
        else:
            self._paused.cancel()
        self._sock.close()
        if _identity(self.path) == self._identity:  # else the file belongs to another socket
            try:
                Path(self.path).unlink()
            except OSError as error:  # the closing of the endpoint must continue
                self._loop.call_exception_handler(
                    {"message": "utcp: a control socket's file stays", "exception": error}
                )
        self.endpoints.clear()
        log_event("utcp.control_closed", path=self.path)
        for session in list(self.sessions):
            attempt(self._loop, _NOT_LEFT, session.finish)
        self._leave_if_alone()

    async def aclose(self) -> None:
        """Close the socket, and wait up to LAST_WORDS until the clients have read the rest."""
        self.close()
        if self.sessions:
            self._gone = self._loop.create_future()
            try:
                async with asyncio.timeout(LAST_WORDS):
                    await self._gone
            except TimeoutError:
                self.close_now()

    def close_now(self) -> None:
        """Close the socket and all sessions at once."""
        self.close()
        for session in list(self.sessions):
            attempt(self._loop, _NOT_LEFT, session.close)

    def _discard(self, session: Session) -> None:
        self.sessions.pop(session, None)
        self._leave_if_alone()

    def _leave_if_alone(self) -> None:
        if self.closed and not self.sessions:
            self._left(self)
            if self._gone is not None and not self._gone.done():
                self._gone.set_result(None)

    def _accept(self) -> None:
        try:
            sock, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # no descriptor is left, so the client must wait
            self._loop.remove_reader(self._sock.fileno())
            self._paused = later(self._loop, ACCEPT_AGAIN, self._resume)
            return
        try:
            sock.setblocking(False)
            session = Session(self._loop, sock, self.endpoints.keys(), self._discard)
        except BaseException:
            sock.close()
            raise
        self.sessions[session] = None
        if len(self.sessions) > MAX_CLIENTS:
            session.refuse(f"{MAX_CLIENTS} others are connected")

    def _resume(self) -> None:
        self._paused = later(self._loop, ACCEPT_AGAIN, self._resume)  # in case the next call fails
        self._loop.add_reader(self._sock.fileno(), self._accept)
        self._paused.cancel()
        self._paused = None


def _identity(path: str) -> tuple[int, int, int] | None:
    """Return the identity of a file and of this process, which differs in a forked process; None if there is no
    file."""
    try:
        found = Path(path).lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, os.getpid()
