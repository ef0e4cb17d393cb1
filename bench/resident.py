"""The memory of this process, as Linux counts it."""

from pathlib import Path


def resident() -> int | None:
    """Return the resident memory now, octets; None without /proc."""
    return _status("VmRSS")


def peak() -> int | None:
    """Return the peak of `resident` in this process, octets; None without /proc.

    getrusage's ru_maxrss does not work, because a child inherits it from its parent process.
    """
    return _status("VmHWM")


def _status(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except FileNotFoundError:
        return None
    kibibytes = next(line.split()[1] for line in lines if line.startswith(f"{key}:"))
    return int(kibibytes) * 1024
