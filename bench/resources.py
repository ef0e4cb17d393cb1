"""The memory of this process, as Linux counts it, and its limit of file descriptors."""

import resource
from pathlib import Path

SPARE = 64
"""Descriptors for the interpreter, the loop and the listener."""


def resident() -> int | None:
    """Return the resident memory now, octets; None without /proc."""
    return _status("VmRSS")


def peak() -> int | None:
    """Return the peak of `resident` in this process, octets; None without /proc.

    getrusage's ru_maxrss does not work, because a child inherits it from its parent process.
    """
    return _status("VmHWM")


def require_descriptors(count: int) -> None:
    """Raise the soft limit to the hard limit, because kernel TCP needs a descriptor for each end of each connection.

    Raises OSError if that is too low for `count` sockets in this process.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and count + SPARE > hard:
        raise OSError(f"{count} sockets and {SPARE} descriptors besides exceed the hard limit of {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _status(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except FileNotFoundError:
        return None
    kibibytes = next(line.split()[1] for line in lines if line.startswith(f"{key}:"))
    return int(kibibytes) * 1024
