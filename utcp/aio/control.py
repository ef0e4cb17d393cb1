"""The control socket: a Unix socket by which other processes look into this one (`utcp ss`, `utcp capture`).

An endpoint opens one for itself (`Endpoint(..., control=PATH)`), `open_control(PATH)` one for all endpoints of the
running loop, those of `utcp.open_connection()` and `start_server()` included, and the environment variable UTCP_CONTROL
does the latter for programs that cannot be changed: PATH, a directory for `PID.sock` in it, or 1 for the default
directory (`utcp.aio.control_path`). If that fails the program is warned (logger "utcp") and goes on. Endpoints that
name the same path share the socket; it goes with the last of them, and with the loop. Only its owner may connect to it
(mode 0600), and may only look.

The protocol. The client sends one line, a JSON object:

* `{"request": "table"}`. The answer is JSON objects, one a line: first `{"utcp": 1, "pid": ..., "program": ...}`; then
  for each endpoint `{"type": "endpoint", "host": ..., "udp_port": ..., "memory": {...}, "snmp": {...}}` and its rows
  (`utcp.aio.table`); last `{"type": "end"}`. `memory` has `used`, `limit` and `orphaned` (octets, what closed
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
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final

from utcp.aio.control_client import Client
from utcp.aio.control_path import asked_path, listen
from utcp.aio.shared import LoopEndpoints
from utcp.link.platform import Platform
from utcp.trace import log_event

if TYPE_CHECKING:
    from utcp.aio.endpoint import Endpoint

MAX_CLIENTS: Final = 64

LAST_WORDS: Final = 1.0
"""Seconds that the loop's end waits for clients to read what is left of their captures."""

ACCEPT_AGAIN: Final = 1.0
"""Seconds without accepting, when the process has no descriptor left."""


def open_control(path: str | PathLike[str] | bool = True, *, for_all: bool = True) -> Control:
    """Open the control socket of the running loop at `path`, True for the default directory; if it is open, that one.

    It is for all endpoints of the loop, present and to come, until `close()` or the loop's end; with `for_all=False`
    for those that join, until the last of them is closed. Raises AddressInUse when another process listens at `path`,
    other OSErrors when it cannot be opened, and RuntimeError in a simulated network, which has no files.
    """
    loop = asyncio.get_running_loop()
    platform = Platform.of(loop)
    if platform.simulated:
        raise RuntimeError("a simulated host has no control socket: capture its network with NetworkCapture")
    siblings = LoopEndpoints.of(platform)
    asked = asked_path(path)
    control = siblings.controls.get(asked)
    if control is None:
        sock, file = listen(asked)
        control = siblings.controls[asked] = Control(loop, siblings, asked, sock, file)
    if for_all and not control.for_all:
        control.for_all = True
        for endpoint in siblings:
            control.begin(endpoint)
    return control


class Control:
    """One control socket, and who has connected to it. Made by `open_control()`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, siblings: LoopEndpoints, asked: str, sock: socket.socket, file: Path
    ) -> None:
        self.path: Final = str(file)
        """The socket's file."""
        self.for_all = False
        self.endpoints: dict[Endpoint, None] = {}
        self.clients: dict[Client, None] = {}
        self._loop = loop
        self._siblings = siblings
        self._asked = asked
        self._sock = sock
        self._identity = _identity(self.path)
        self._paused: asyncio.TimerHandle | None = None
        self._gone: asyncio.Future[None] | None = None
        loop.add_reader(sock.fileno(), self._accept)
        log_event("utcp.control_opened", path=self.path)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} endpoints={len(self.endpoints)} clients={len(self.clients)}>"

    @property
    def closed(self) -> bool:
        return self._sock.fileno() < 0

    def begin(self, endpoint: Endpoint) -> None:
        """From now on it tells of this endpoint too."""
        if endpoint not in self.endpoints:
            self.endpoints[endpoint] = None
            for client in list(self.clients):
                client.observe(endpoint)

    def end(self, endpoint: Endpoint) -> None:
        """The endpoint is closed."""
        if endpoint in self.endpoints:
            del self.endpoints[endpoint]
            for client in list(self.clients):
                client.leave(endpoint)
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
        del self._siblings.controls[self._asked]
        self._siblings.leaving[self] = None
        self.endpoints.clear()
        log_event("utcp.control_closed", path=self.path)
        for client in list(self.clients):
            client.finish()
        self._leave_if_alone()

    async def aclose(self) -> None:
        """`close()`, and wait for the clients to read what is left, but not for long."""
        self.close()
        if self.clients:
            self._gone = self._loop.create_future()
            try:
                async with asyncio.timeout(LAST_WORDS):
                    await self._gone
            except TimeoutError:
                self.close_now()

    def close_now(self) -> None:
        """`close()`, and part with the clients, whatever they have not read."""
        self.close()
        for client in list(self.clients):
            client.close()

    def discard(self, client: Client) -> None:
        """The client has gone."""
        self.clients.pop(client, None)
        self._leave_if_alone()

    def _leave_if_alone(self) -> None:
        if self.closed and not self.clients:
            self._siblings.leaving.pop(self, None)
            if self._gone is not None and not self._gone.done():
                self._gone.set_result(None)

    def _accept(self) -> None:
        try:
            sock, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # no descriptor is left: the caller waits until there is one
            self._loop.remove_reader(self._sock.fileno())
            self._paused = self._loop.call_later(ACCEPT_AGAIN, self._resume)
            return
        sock.setblocking(False)
        client = Client(self._loop, self, sock)
        if len(self.clients) > MAX_CLIENTS:
            client.refuse(f"{MAX_CLIENTS} others are connected")

    def _resume(self) -> None:
        self._paused = None
        self._loop.add_reader(self._sock.fileno(), self._accept)


def _identity(path: str) -> tuple[int, int, int] | None:
    """What tells a file from another one of that name, and a process from its children: None when there is none."""
    try:
        found = Path(path).lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, os.getpid()
