"""Processes of `utcp` that begin quickly: another process has imported everything, and forks for each.

Importing takes half a second of the processor, and the tests of tunnels start some sixty processes. Each has an
interpreter of its own from then on, which ends as usual.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

_lock: Final = threading.Lock()


class Forked:
    """A process that runs `utcp` with these arguments; as far as the tests need it, a `subprocess.Popen`."""

    def __init__(self, arguments: tuple[str, ...]) -> None:
        reader, writer = os.pipe()
        self.stderr = os.fdopen(reader)
        try:
            self.pid = _ask(list(arguments), [writer])
        finally:
            os.close(writer)
        self._ended = os.pidfd_open(self.pid)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status; None while it runs."""
        return self._collect(0)

    def wait(self, timeout: float = 60.0) -> int:
        """The exit status, once it has ended."""
        status = self._collect(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("utcp", timeout)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _collect(self, timeout: float) -> int | None:
        if self.returncode is None and select.select([self._ended], [], [], timeout)[0]:
            self.returncode = _ask(self.pid, [])
            os.close(self._ended)
        return self.returncode


@functools.cache
def _forker() -> socket.socket:
    """The connection to the process that forks."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # -W error: a connection, task or descriptor left behind is reported on stderr.
    process = subprocess.Popen(  # noqa: S603  # our own module
        [sys.executable, "-W", "error", "-m", __name__],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=theirs.fileno(),
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _ask(request: list[str] | int, descriptors: list[int]) -> int:
    """The number of a process that begins with these arguments, or the exit status of one that has ended."""
    with _lock:
        socket.send_fds(_forker(), [json.dumps(request).encode()], descriptors)
        return int(_forker().recv(100))


def _serve(requests: socket.socket) -> None:
    """Answer until nobody asks any more. A process that was forked returns from here with its exit status."""
    from utcp.cli import main
    from utcp.tunnel import expose, key, listen, process, reverse, serve  # noqa: F401  # all that tunnels import

    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, 65536, 1)
        if not message:
            return
        request = json.loads(message)
        if isinstance(request, int):
            _, status = os.waitpid(request, 0)
            requests.send(b"%d" % os.waitstatus_to_exitcode(status))
            continue
        pid = os.fork()
        if not pid:
            requests.close()
            null = os.open(os.devnull, os.O_RDWR)
            for standard, descriptor in enumerate((null, null, *descriptors)):
                os.dup2(descriptor, standard)
            os.closerange(3, 100)
            sys.exit(main(request))
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(b"%d" % pid)


if __name__ == "__main__":
    _serve(socket.socket(fileno=os.dup(0)))
