"""What tshark, which shares no line of code with utcp, says about a capture."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

_PROGRAM: Final = shutil.which("tshark")

needs_tshark = pytest.mark.skipif(_PROGRAM is None, reason="tshark is not installed: nobody independent reads captures")

# Left alone, it verifies no checksum: network cards fill them in behind a capture's back.
_PREFERENCES: Final = ("tcp.check_checksum:TRUE", "ip.check_checksum:TRUE", "udp.check_checksum:TRUE")

GOOD: Final = "1"
BAD: Final = "0"
"""Values of `tcp.checksum.status` and its like."""

COMPLETE_WITH_DATA: Final = "31"
"""`tcp.completeness`: SYN 1, SYN-ACK 2, ACK 4, data 8, FIN 16; an RST would add 32."""


def fields(capture: Path, *names: str, matching: str = "", decode_as: str = "") -> list[tuple[str, ...]]:
    """These fields of every packet that the display filter matches, as tshark prints them: "" for one that is absent.

    `decode_as` is its -d option.
    """
    options = ["-T", "fields", "-E", "separator=/t"]
    for name in names:
        options += ["-e", name]
    if matching:
        options += ["-Y", matching]
    output = _run(capture, *options, decode_as=decode_as)
    return [tuple(line.split("\t")) for line in output.splitlines()]


def stream(capture: Path, number: int = 0, *, decode_as: str = "") -> tuple[bytes, bytes]:
    """What TCP stream `number` carried, as tshark puts it together: from the end that spoke first, and to it."""
    output = _run(capture, "-q", "-z", f"follow,tcp,raw,{number}", decode_as=decode_as)
    there, back = bytearray(), bytearray()
    for line in output.splitlines():
        if re.fullmatch(r"\t?[0-9a-f]+", line):
            (back if line.startswith("\t") else there).extend(bytes.fromhex(line.strip()))
    return bytes(there), bytes(back)


def _run(capture: Path, *options: str, decode_as: str) -> str:
    assert _PROGRAM is not None
    command = [_PROGRAM, "-n", "-2", "-r", str(capture), *options]
    for preference in _PREFERENCES:
        command += ["-o", preference]
    if decode_as:
        command += ["-d", decode_as]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=200).stdout  # noqa: S603
