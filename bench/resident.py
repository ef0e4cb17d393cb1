"""The memory of this process, as Linux counts it."""

from pathlib import Path


def resident() -> int | None:
    """Octets of physical memory in use now; None where there is no /proc."""
    return _status("VmRSS")


def peak() -> int | None:
    """The most that `resident` ever was in this process, in octets; None where there is no /proc.

    Not getrusage's ru_maxrss: a child inherits that from the process that started it.
    """
    return _status("VmHWM")


def _status(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except FileNotFoundError:
        return None
    kibibytes = next(line.split()[1] for line in lines if line.startswith(f"{key}:"))
    return int(kibibytes) * 1024
