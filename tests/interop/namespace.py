"""A network namespace for one test: interfaces, ports and sysctls of its own, gone when the test is over.

Namespaces belong to threads. The main thread, where pytest, its loops and the programs they start live, moves into a
new one and back again. Nothing of the host's network is seen or changed.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from utcp.link.tun import DEVICE

_CLONE_NEWNET = 0x40000000  # linux/sched.h; os.unshare() and os.setns() came with Python 3.12
OURS = Path("/proc/thread-self/ns/net")


@cache
def missing() -> str | None:
    """Why the tests here cannot run; None when they can."""
    if not OURS.exists():
        return "needs Linux with network namespaces"
    if os.geteuid() != 0:
        return "needs root, to make a network namespace"
    if shutil.which("ip") is None:
        return "needs the program ip (Debian's iproute2)"
    try:
        os.close(os.open(DEVICE, os.O_RDWR))
    except OSError as error:
        return f"needs {DEVICE}: {error.strerror}"
    try:
        with own_network():
            pass
    except PermissionError as error:
        return f"needs a network namespace: {error.strerror}"
    return None


@contextmanager
def own_network() -> Iterator[None]:
    """The calling thread is in a new network namespace, with `lo` up; at the end it is back where it was.

    Raises OSError (PermissionError without CAP_SYS_ADMIN).
    """
    network = new_network()
    try:
        with inside(network):
            yield
    finally:
        os.close(network)


def new_network() -> int:
    """Return the descriptor of a new network namespace, with `lo` up. The namespace exists until the descriptor is
    closed and the processes in it are gone. Raises OSError as `own_network`."""
    with _back_at_the_end():
        _call("unshare", _CLONE_NEWNET)
        ip("link set lo up")
        return os.open(OURS, os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def inside(network: int) -> Iterator[None]:
    """The calling thread, and the programs that it starts, are in this namespace; at the end it is back."""
    with _back_at_the_end():
        _call("setns", network, _CLONE_NEWNET)
        yield


@contextmanager
def _back_at_the_end() -> Iterator[None]:
    outside = os.open(OURS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            yield
        finally:
            _call("setns", outside, _CLONE_NEWNET)
    finally:
        os.close(outside)


def ip(*commands: str) -> None:
    """Run commands of iproute2's `ip`."""
    subprocess.run(["ip", "-batch", "-"], input="\n".join(commands).encode(), check=True)  # noqa: S607


def sysctl(name: str, value: object) -> None:
    """Set one of the namespace's knobs, such as `ipv4/tcp_timestamps`."""
    Path("/proc/sys/net", name).write_text(str(value))


def _call(name: str, *arguments: int) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)
