"""One session of a client on a control socket (`utcp.inspect.control` describes the protocol).

It uses callbacks of the loop, without a task or a transport, so that it can be closed at any moment.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

from utcp.aio.containment import soon
from utcp.aio.open_endpoint import OpenEndpoint
from utcp.inspect.recording import Recording
from utcp.inspect.table import rows

VERSION: Final = 1

MAX_REQUEST: Final = 4096
"""Maximum size of a request, octets."""

CHUNK: Final = 32768
"""Octets of an answer that are created in one turn of the loop, which has other users."""

MAX_BEHIND: Final = 4 << 20
"""Maximum unread data of a capture, octets."""


class Session:
    """The session of a connected client: reads its request, and sends the answer as fast as the client reads.

    Args:
        loop: the event loop.
        sock: the connected socket.
        endpoints: the endpoints that are shown; the collection may change.
        ended: called with the session at its end.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        endpoints: Collection[OpenEndpoint],
        ended: Callable[[Session], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._endpoints = endpoints
        self._ended = ended
        self._request: bytearray | None = bytearray()
        """Received part of the request; None after it is complete."""
        self._answer: Iterator[bytes] = iter(())
        """Remaining parts of the answer."""
        self._outbox = bytearray()
        self._recording: Recording | None = None
        self._finishing = False
        """Whether to close when the outbox is empty."""
        self._reading = True
        self._writing = False
        loop.add_reader(sock.fileno(), self._readable)

    # ------------------------------------------------------------------ what the control calls

    def observe(self, endpoint: OpenEndpoint) -> None:
        if self._recording is not None:
            self._recording.begin(endpoint)

    def leave(self, endpoint: OpenEndpoint) -> None:
        if self._recording is not None:
            self._recording.end(endpoint)

    def finish(self) -> None:
        """Send the rest of the answer, and close."""
        if self._finishing:
            return
        self._finishing = True
        recording, self._recording = self._recording, None
        if recording is not None:
            self._outbox += recording.finish()
        self._write()

    def refuse(self, reason: str) -> None:
        """Send `reason` as an error, and close."""
        self._request = None
        self._outbox += _line({"error": reason})
        self.finish()

    def close(self) -> None:
        """Close at once and drop unsent data. Idempotent."""
        if self._sock.fileno() < 0:
            return
        self._finishing = True
        if self._recording is not None:
            self._recording.finish()
            self._recording = None
        self._stop_reading()
        if self._writing:
            self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        self._ended(self)

    # ------------------------------------------------------------------ what the loop calls

    def _readable(self) -> None:
        try:
            data = self._sock.recv(MAX_REQUEST)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if not data:
            self._stop_reading()
            if self._request is not None:  # the client has closed without a request
                self.close()
            elif self._recording is not None:
                self.finish()
        elif self._request is not None:
            self._request += data
            line, newline, _ = self._request.partition(b"\n")
            if newline:
                self._request = None
                try:
                    self._begin(bytes(line))
                except Exception as error:  # otherwise the client would wait for ever
                    self._fail(error)
            elif len(self._request) > MAX_REQUEST:
                self.refuse(f"a request has {MAX_REQUEST} octets at most")

    def _write(self) -> None:
        """Send as much as there is room for, and continue when there is more room."""
        try:
            while self._fill():
                sent = self._sock.send(self._outbox)
                del self._outbox[:sent]
                if sent >= CHUNK:
                    self._await_room()
                    return
        except (BlockingIOError, InterruptedError):
            self._await_room()
        except OSError:
            self.close()
        except Exception as error:  # a bug, which must not recur in every turn
            self._fail(error)
        else:
            if self._writing:
                self._writing = False
                self._loop.remove_writer(self._sock.fileno())
            if self._finishing:
                self.close()

    def _fail(self, error: Exception) -> None:
        self.close()
        self._loop.call_exception_handler({"message": "utcp: a control socket's answer failed", "exception": error})

    def _fill(self) -> bool:
        """Create the next part of the answer. Return whether there is data to send."""
        while len(self._outbox) < CHUNK and (piece := next(self._answer, None)) is not None:
            self._outbox += piece
        return bool(self._outbox)

    def _await_room(self) -> None:
        if not self._writing:
            self._loop.add_writer(self._sock.fileno(), self._write)
            self._writing = True

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock.fileno())

    # ------------------------------------------------------------------ requests

    def _begin(self, line: bytes) -> None:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        wanted = request.get("request") if isinstance(request, dict) else None
        if wanted == "table":
            self._answer = self._table()
            self._finishing = True
            self._write()
        elif wanted == "capture":
            self._capture(request.get("count"), request.get("form", "tcp"))
        else:
            self.refuse('a request is one line of JSON, {"request": "table"} or {"request": "capture"}')

    def _table(self) -> Iterator[bytes]:
        yield _line(_greeting())
        for endpoint in list(self._endpoints):
            host, udp_port = endpoint.address[:2]
            memory = endpoint.stack.memory.figures()
            snmp = endpoint.snmp()
            yield _line({"type": "endpoint", "host": host, "udp_port": udp_port, "memory": memory, "snmp": snmp})
            for row in rows(endpoint):
                yield _line(row)
        yield _line({"type": "end"})

    def _capture(self, count: Any, form: Any) -> None:
        if form not in ("tcp", "udp"):
            self.refuse('the form of a capture is "tcp" or "udp"')
        elif count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
            self.refuse("the count of a capture is a number of packets, 1 or more")
        else:
            self._outbox += _line(_greeting())
            self._recording = Recording(
                self._take, form=form, count=count, ended=self.finish, failed=self._capture_failed
            )
            for endpoint in self._endpoints:
                self._recording.begin(endpoint)
            self._write()

    def _capture_failed(self, error: Exception) -> None:
        self._recording = None
        soon(self._loop, self._fail, error)  # in the next turn, because a stack is at work now

    def _take(self, octets: bytes) -> bool:
        """Append a part of the capture to the outbox. Return False if there is no room for it."""
        if len(self._outbox) > MAX_BEHIND:
            return False
        self._outbox += octets
        self._await_room()
        return True


def _greeting() -> dict[str, Any]:
    return {"utcp": VERSION, "pid": os.getpid(), "program": " ".join(sys.argv)[:200]}


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"
