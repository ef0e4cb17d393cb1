"""What the environment asks of endpoints: UTCP_CONTROL opens a control socket, UTCP_PCAP captures into a file.

UTCP_PCAP names a pcapng file, or a directory (which exists, or ends in a slash) for `PID.pcapng` in it. Every endpoint
of the process is captured from its start; the file is made anew by each process. An existing file must be empty or a
pcapng file, and no symbolic link (`utcp.trace.output`); new files and directories are for their owner alone. What
cannot be done is a warning of the logger "utcp", once; the program, which knows nothing of it, goes on.
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
    """Does for the endpoints of one loop what the environment asks for."""

    def __init__(self) -> None:
        self._recording: FileRecording | None = None

    def opened(self, endpoint: InspectedEndpoint, open_control: OpenControl) -> None:
        """Open the control socket and begin the capture that the environment asks for. Never raises OSError."""
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
