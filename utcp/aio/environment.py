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
from typing import TYPE_CHECKING, Final

from utcp.aio.control import open_control
from utcp.aio.recording import FileRecording

if TYPE_CHECKING:
    from utcp.aio.endpoint import Endpoint
    from utcp.aio.shared import LoopEndpoints

_LOG: Final = logging.getLogger("utcp")

_said: Final[set[tuple[int, str]]] = set()


def obey(endpoints: LoopEndpoints, endpoint: Endpoint) -> None:
    """Do for `endpoint`, which has begun on the running loop, what the environment asks."""
    control = os.environ.get("UTCP_CONTROL")
    if control:
        try:
            open_control(control)
        except (OSError, ValueError) as error:
            _warn(f"UTCP_CONTROL: {_reason(error)}")
    path = os.environ.get("UTCP_PCAP")
    if path:
        _record(path, endpoints, endpoint)


def _record(path: str, endpoints: LoopEndpoints, endpoint: Endpoint) -> None:
    try:
        if endpoints.recording is None:
            if path.endswith("/") or Path(path).is_dir():
                Path(path).mkdir(mode=0o700, exist_ok=True)
                path = str(Path(path, f"{os.getpid()}.pcapng"))
            endpoints.recording = FileRecording(path, lambda error: _warn(f"UTCP_PCAP: {path}: {_reason(error)}"))
        endpoints.recording.begin(endpoint)
    except (OSError, ValueError) as error:
        _warn(f"UTCP_PCAP: {path}: {_reason(error)}")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _warn(text: str) -> None:
    if (os.getpid(), text) not in _said:
        _said.add((os.getpid(), text))
        _LOG.warning("%s", text)
