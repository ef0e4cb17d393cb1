"""The environment variables UTCP_CONTROL, which opens a control socket, and UTCP_PCAP, which captures into a file.

UTCP_PCAP is the name of a pcapng file, or of a directory (an existing one, or with a slash at the end) for a file
`PID.pcapng`. Every endpoint of the process is captured from its start, and each process truncates the file first. An
existing file must be empty or a pcapng file, and not a symbolic link (`utcp.trace.output`). Only their owner has access
to new files and directories. An error is logged once as a warning of the logger "utcp", and the program continues.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final, Protocol

from utcp.inspect.endpoint import InspectedEndpoint
from utcp.inspect.recording import FileRecording

_LOG: Final = logging.getLogger("utcp")

_said: Final[set[tuple[int, str]]] = set()


class OpenControl(Protocol):
    """Opens the control socket at `path`. Raises OSError, ValueError."""

    def __call__(self, path: str, *, for_all: bool) -> object: ...


class Environment:
    """Applies the environment variables to the endpoints of one loop."""

    def __init__(self) -> None:
        self._recording: FileRecording | None = None

    def opened(self, endpoint: InspectedEndpoint, open_control: OpenControl) -> None:
        """Open the control socket and start the capture of the environment variables. Never raises OSError."""
        control = os.environ.get("UTCP_CONTROL")
        if control:
            try:
                open_control(control, for_all=True)
            except (OSError, ValueError) as error:
                _warn(f"UTCP_CONTROL: {_reason(error)}")
        path = os.environ.get("UTCP_PCAP")
        if path:
            self._record(path, endpoint)

    def closed(self, endpoint: InspectedEndpoint) -> None:
        """End the capture of the endpoint."""
        if self._recording is not None:
            self._recording.end(endpoint)

    def _record(self, path: str, endpoint: InspectedEndpoint) -> None:
        try:
            if self._recording is None:
                if path.endswith("/") or Path(path).is_dir():
                    Path(path).mkdir(mode=0o700, exist_ok=True)
                    path = str(Path(path, f"{os.getpid()}.pcapng"))
                self._recording = FileRecording(path, lambda error: _warn(f"UTCP_PCAP: {path}: {_reason(error)}"))
            self._recording.begin(endpoint)
        except (OSError, ValueError) as error:
            _warn(f"UTCP_PCAP: {path}: {_reason(error)}")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _warn(text: str) -> None:
    if (os.getpid(), text) not in _said:
        _said.add((os.getpid(), text))
        _LOG.warning("%s", text)
