"""The control socket: a Unix socket by which other processes look into this one (`utcp ss`, `utcp capture`).

An endpoint opens one for itself (`Endpoint(..., control=PATH)`), `open_control(PATH)` one for all endpoints of the
running loop, those of `utcp.open_connection()` and `start_server()` included, and the environment variable UTCP_CONTROL
does the latter for programs that cannot be changed: PATH, a directory for `PID.sock` in it, or 1 for the default
directory (`utcp.inspect.control_path`). If that fails the program is warned (logger "utcp") and goes on. Endpoints that
name the same path share the socket; it goes with the last of them, and with the loop. Only its owner may connect to it
(mode 0600), and may only look.

The protocol. The client sends one line, a JSON object:

* `{"request": "table"}`. The answer is JSON objects, one a line: first `{"utcp": 1, "pid": ..., "program": ...}`; then
  for each endpoint `{"type": "endpoint", "host": ..., "udp_port": ..., "memory": {...}, "snmp": {...}}` and its rows
  (`utcp.inspect.table`); last `{"type": "end"}`. `memory` has `used`, `limit` and `orphaned` (octets, what closed
  connections hold that still deliver), `orphans` (their number) and `level`: "", "pressure", "short" or "full"
  (`utcp.tcp.memory`).
* `{"request": "capture"}`, and `"count": N` to end after N packets, `"form": "udp"` to see UDP headers. The answer is
  the line `{"utcp": 1, ...}`, and then a pcapng file while it comes about: every segment of every endpoint, with
  comments (`utcp.trace.annotation`). It ends with the count, when the client shuts its side down, or with the last
  endpoint. What the client does not read in time is left out, and counted in the interface statistics at the end.

What else it sends is answered with `{"error": "..."}`. Nothing here waits, and nobody here is disturbed by a client
that is slow, silent, or gone.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from utcp.aio.containment import attempt, later
from utcp.inspect.endpoint import InspectedEndpoint
from utcp.inspect.session import Session
from utcp.trace import log_event

MAX_CLIENTS: Final = 64

LAST_WORDS: Final = 1.0
"""Seconds that the loop's end waits for clients to read what is left of their captures."""

ACCEPT_AGAIN: Final = 1.0
"""Seconds without accepting, when the process has no descriptor left."""

_NOT_LEFT: Final = "a session of a control socket did not come to its end"


class Control:
    """One control socket, and its sessions. `open_control()` opens it.

    `closed(control)` is called when it is closed, `left(control)` when it is closed and its last session is over.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        file: Path,
        *,
        closed: Callable[[Control], None],
        left: Callable[[Control], None],
    ) -> None:
        self.path: Final = str(file)
        """The socket's file."""
        self.for_all = False
        """Whether it is for all endpoints of the loop; otherwise it is closed with the last of its endpoints."""
        self.endpoints: dict[InspectedEndpoint, None] = {}
        self.sessions: dict[Session, None] = {}
        self._loop = loop
        self._sock = sock
        self._closed = closed
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

    def open_for_all(self, endpoints: Iterable[InspectedEndpoint]) -> None:
        """Stay open until `close()`, for all endpoints of the loop. `endpoints` are those that are open now."""
        self.for_all = True
        for endpoint in endpoints:
            self.begin(endpoint)

    def begin(self, endpoint: InspectedEndpoint) -> None:
        """Show this endpoint too from now on."""
        if endpoint not in self.endpoints:
            self.endpoints[endpoint] = None
            for session in list(self.sessions):
                attempt(self._loop, "an endpoint is missing in a capture", session.observe, endpoint)

    def end(self, endpoint: InspectedEndpoint) -> None:
        """The endpoint is closed."""
        if endpoint in self.endpoints:
            del self.endpoints[endpoint]
            for session in list(self.sessions):
                attempt(self._loop, _NOT_LEFT, session.leave, endpoint)
            if not self.endpoints and not self.for_all:
                self.close()

    def close(self) -> None:
        """Listen no longer, and remove the file. Clients get to the end of what they asked for, as far as it is there;
        captures end. Idempotent."""
        if self.closed:
            return
        if self._paused is None:
            self._loop.remove_reader(self._sock.fileno())
        else:
            self._paused.cancel()
        self._sock.close()
        if _identity(self.path) == self._identity:  # else it is not ours any more
            try:
                Path(self.path).unlink()
            except OSError as error:  # the endpoint that is being closed has to get to its end
                self._loop.call_exception_handler(
                    {"message": "utcp: a control socket's file stays", "exception": error}
                )
        self._closed(self)
        self.endpoints.clear()
        log_event("utcp.control_closed", path=self.path)
        for session in list(self.sessions):
            attempt(self._loop, _NOT_LEFT, session.finish)
        self._leave_if_alone()

    async def aclose(self) -> None:
        """`close()`, and wait for the clients to read what is left, but not for long."""
        self.close()
        if self.sessions:
            self._gone = self._loop.create_future()
            try:
                async with asyncio.timeout(LAST_WORDS):
                    await self._gone
            except TimeoutError:
                self.close_now()

    def close_now(self) -> None:
        """`close()`, and part with the clients, whatever they have not read."""
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
        except OSError:  # no descriptor is left: the caller waits until there is one
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
        self._paused = later(self._loop, ACCEPT_AGAIN, self._resume)  # in case that the next call fails
        self._loop.add_reader(self._sock.fileno(), self._accept)
        self._paused.cancel()
        self._paused = None


def _identity(path: str) -> tuple[int, int, int] | None:
    """Return what distinguishes a file from another one of that name, and a process from its children; None if there is
    no file."""
    try:
        found = Path(path).lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, os.getpid()
