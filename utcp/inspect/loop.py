"""Inspection of the endpoints of one event loop, by control sockets and by environment variables: UTCP_CONTROL opens a
control socket, and UTCP_PCAP captures into a file.

UTCP_PCAP is the name of a pcapng file, or of a directory (an existing one, or with a slash at the end) for a file
`PID.pcapng`. Every endpoint of the process is captured from its start, and each process truncates the file first. An
existing file must be empty or a pcapng file, and not a symbolic link (`utcp.trace.output`). Only their owner has access
to new files and directories. An error is logged once as a warning of the logger "utcp", and the program continues.
"""

from __future__ import annotations

import asyncio
import logging
import os
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Final

from utcp.aio.containment import attempt, report
from utcp.aio.open_endpoint import OpenEndpoint
from utcp.aio.registry import ControlPath, LoopEndpoints
from utcp.inspect.control import Control
from utcp.inspect.control_path import asked_path, listen
from utcp.inspect.recording import FileRecording

_LOG: Final = logging.getLogger("utcp")

_said: Final[set[tuple[int, str]]] = set()
"""Logged errors, by process."""

_NO_FILES: Final = "a simulated host has no control socket: capture its network with NetworkCapture"

_NOT_CLOSED: Final = "a control socket or a capture could not be closed in good order"


def open_control(path: str | PathLike[str] | bool = True, *, for_all: bool = True) -> Control:
    """Open a control socket of the running loop, or return the one that is already open at `path`.

    Args:
        path: the path of the socket; True: one in the default directory.
        for_all: whether it shows all present and future endpoints of the loop, until `close()` or the loop's end.
            Otherwise it shows the endpoints that have named it, until the last of them is closed.

    Raises AddressInUse if another process listens at `path`, other OSErrors if the socket cannot be opened, and
    RuntimeError in a simulated network, which has no files.
    """
    endpoints = LoopEndpoints.of_running_loop()
    return LoopInspection.of(endpoints).open_control(path, for_all=for_all)


class LoopInspection:
    """Watches the endpoints of one loop (`utcp.aio.registry.Watcher`)."""

    def __init__(self, endpoints: LoopEndpoints) -> None:
        self._endpoints = endpoints
        self._loop = asyncio.get_running_loop()
        self._recording: FileRecording | None = None
        """The capture of UTCP_PCAP."""
        self.controls: dict[Control, str] = {}
        """The requested paths of the control sockets that are open, or whose clients have not read everything yet."""

    @classmethod
    def of(cls, endpoints: LoopEndpoints) -> LoopInspection:
        """Return the instance that watches `endpoints`."""
        return next(watcher for watcher in endpoints.watchers if isinstance(watcher, cls))

    def open_control(self, path: str | PathLike[str] | bool, *, for_all: bool) -> Control:
        """Open a control socket, as `open_control()` of this module."""
        if self._endpoints.simulated:
            raise RuntimeError(_NO_FILES)
        asked = asked_path(path)
        control = next((each for each, path in self.controls.items() if path == asked and not each.closed), None)
        if control is None:
            sock, file = listen(asked)
            try:
                control = Control(self._loop, sock, file, self._left)
            except BaseException:
                sock.close()
                file.unlink()
                raise
            self.controls[control] = asked
        if for_all and not control.for_all:
            control.open_for_all(self._endpoints)
        return control

    def opened(self, endpoint: OpenEndpoint, control: ControlPath) -> None:
        """Show the endpoint at the control socket `control`, and at those for all endpoints."""
        own = self.open_control(control, for_all=False) if control else None
        if not self._endpoints.simulated:
            self._apply_environment(endpoint)
        for each in self.controls:
            if each.for_all:
                each.begin(endpoint)
        if own is not None:
            own.begin(endpoint)

    def closed(self, endpoint: OpenEndpoint) -> None:
        """Stop showing the endpoint."""
        for control in list(self.controls):
            attempt(self._loop, _NOT_CLOSED, control.end, endpoint)
        if self._recording is not None:
            attempt(self._loop, _NOT_CLOSED, self._recording.end, endpoint)

    async def aclose(self) -> None:
        """Close the control sockets, and let their clients read the rest."""
        ends = [control.aclose() for control in self.controls]
        for result in await asyncio.gather(*ends, return_exceptions=True):
            if result is not None:
                report(self._loop, _NOT_CLOSED, result)

    def close_now(self) -> None:
        """Close the control sockets at once."""
        for control in list(self.controls):
            attempt(self._loop, _NOT_CLOSED, control.close_now)

    def _apply_environment(self, endpoint: OpenEndpoint) -> None:
        """Open the control socket and start the capture of the environment variables. Never raises OSError."""
        control = os.environ.get("UTCP_CONTROL")
        if control:
            try:
                self.open_control(control, for_all=True)
            except (OSError, ValueError) as error:
                _warn("UTCP_CONTROL", error)
        path = os.environ.get("UTCP_PCAP")
        if path:
            try:
                if self._recording is None:
                    if path.endswith("/") or Path(path).is_dir():
                        Path(path).mkdir(mode=0o700, exist_ok=True)
                        path = str(Path(path, f"{os.getpid()}.pcapng"))
                    self._recording = FileRecording(path, partial(_warn, f"UTCP_PCAP: {path}"))
                self._recording.begin(endpoint)
            except (OSError, ValueError) as error:
                _warn(f"UTCP_PCAP: {path}", error)

    def _left(self, control: Control) -> None:
        self.controls.pop(control, None)


def _warn(subject: str, error: Exception) -> None:
    """Log an error, once in each process."""
    text = f"{subject}: {(error.strerror if isinstance(error, OSError) else None) or error}"
    if (os.getpid(), text) not in _said:
        _said.add((os.getpid(), text))
        _LOG.warning("%s", text)
