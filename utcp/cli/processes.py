"""The client of a control socket (`utcp.inspect.control`), for `utcp ss` and `utcp capture`."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import click

TIMEOUT: Final = 10.0
"""Seconds without an answer after which the process counts as hanging."""

_MAX_LINE: Final = 1 << 20

Readline: TypeAlias = Callable[[int], bytes]
"""A function that returns a line of at most this number of bytes; empty at the end."""


class ControlFailed(click.ClickException):
    """The control socket cannot be used. The text gives the reason in one line."""


class NobodyThere(ControlFailed):
    """The path has no listener."""


@dataclass(slots=True)
class Process:
    """A process as described by its answer to a table request (see `utcp.inspect.table` for the rows)."""

    socket: str
    pid: int
    program: str
    endpoints: list[dict[str, Any]] = field(default_factory=list)
    sockets: list[dict[str, Any]] = field(default_factory=list)

    def keep(self, states: Collection[str]) -> None:
        """Keep only the sockets in one of these states."""
        self.sockets = [row for row in self.sockets if row.get("state") in states]


def find(named: Sequence[str]) -> list[str]:
    """Return the control sockets that the command line names, with those in a directory for a directory.

    Without names, UTCP_CONTROL or the default directory counts. Raises ControlFailed when a directory has none.
    """
    from utcp.inspect.control_path import asked_path, default_directory, secure

    found = []
    for name in named or (asked_path(os.environ.get("UTCP_CONTROL") or "1"),):
        path = Path(name)
        if not path.is_dir() and path != default_directory():
            found.append(name)
            continue
        try:
            if path == default_directory():
                secure(path)
            inside = sorted(str(file) for file in path.glob("*.sock") if file.is_socket())
        except FileNotFoundError:
            inside = []
        except OSError as error:
            raise ControlFailed(error.strerror or str(error)) from None
        if not inside:
            raise ControlFailed(f"no control socket in {path}: start the program with UTCP_CONTROL=1, or name a socket")
        found += inside
    return found


def tables(named: Sequence[str]) -> list[Process]:
    """Return the tables of the processes behind the sockets from `find`.

    Ended processes in a directory are ignored, unless none is left. Raises ControlFailed.
    """
    found, gone = [], []
    for path in find(named):
        try:
            found.append(table(path))
        except NobodyThere as error:
            if path in named:
                raise
            gone.append(error)
    if not found:
        if len(gone) > 1:
            raise NobodyThere(f"none of these {len(gone)} control sockets has a listener: their programs have ended")
        raise gone[0]
    return found


def table(path: str) -> Process:
    """Return the table of the process behind the control socket `path`. Raises ControlFailed."""
    with connect(path) as sock, sock.makefile("rb") as file:
        request(sock, {"request": "table"})
        process = greeting(path, file.readline)
        for message in _messages(path, file.readline):
            kind = message.get("type")
            if kind == "end":
                return process
            (process.endpoints if kind == "endpoint" else process.sockets).append(message)
    raise ControlFailed(f"{path}: the process ended before its answer was complete")


def connect(path: str) -> socket.socket:
    """Connect to a control socket. Raises NobodyThere or ControlFailed."""
    if not hasattr(socket, "AF_UNIX"):
        raise ControlFailed("control sockets are Unix sockets, which this system does not have")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(TIMEOUT)
    try:
        sock.connect(path)
    except FileNotFoundError:
        sock.close()
        raise NobodyThere(f"{path}: no such socket: start the program with a control socket") from None
    except ConnectionRefusedError:
        sock.close()
        raise NobodyThere(f"{path}: no listener: the program has ended, or this is not a socket") from None
    except OSError as error:
        sock.close()
        raise ControlFailed(f"{path}: {error.strerror or error}") from None
    return sock


def request(sock: socket.socket, message: dict[str, Any]) -> None:
    """Send a request. A failure to send is ignored, because the answer explains it better."""
    try:
        sock.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        return


def greeting(path: str, readline: Readline) -> Process:
    """Return the process from the first line of its answer."""
    from utcp.inspect.session import VERSION

    hello = next(_messages(path, readline), {})
    if "error" in hello:
        raise ControlFailed(f"{path}: {hello['error']}")
    if not isinstance(hello.get("utcp"), int):
        raise ControlFailed(f"{path}: the listener is not utcp")
    if hello["utcp"] != VERSION:
        raise ControlFailed(f"{path}: the program has another version of the protocol ({hello['utcp']}, not {VERSION})")
    return Process(path, hello.get("pid", 0), str(hello.get("program", "")))


def _messages(path: str, readline: Readline) -> Iterator[dict[str, Any]]:
    while True:
        try:
            line = readline(_MAX_LINE)
        except TimeoutError:
            raise ControlFailed(
                f"{path}: no answer within {TIMEOUT:g} s: the event loop of the program may be blocked"
            ) from None
        except OSError as error:
            raise ControlFailed(f"{path}: {error.strerror or error}") from None
        if not line:
            return
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise ControlFailed(f"{path}: the listener is not utcp")
        yield message
