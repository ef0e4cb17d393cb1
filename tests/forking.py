"""Processes of `utcp` that start quickly: a helper process imports everything once, and forks for each of them.

Importing takes a third of a second of processor time, and the tests of tunnels and commands start about 200 processes.
From the fork on, each has an interpreter of its own, which ends as usual.
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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, Self

ROOT: Final = Path(__file__).parents[1]

_lock: Final = threading.Lock()


class Forked:
    """A process that runs `utcp` with these arguments, or the program that follows "-c". It has the methods of
    `subprocess.Popen` that the tests need."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        stdin: Any = subprocess.DEVNULL,
        stdout: Any = subprocess.DEVNULL,
        stderr: Any = subprocess.DEVNULL,
        text: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Each of the three is PIPE, DEVNULL, a descriptor, or a file."""
        binary = "" if text else "b"
        self.stdin, child_stdin = _ends(stdin, "r", f"w{binary}")
        self.stdout, child_stdout = _ends(stdout, "w", f"r{binary}")
        self.stderr, child_stderr = _ends(stderr, "w", f"r{binary}")
        self._nothing: Any = "" if text else b""
        request = {"arguments": list(arguments), "environment": dict(os.environ if env is None else env)}
        descriptors = [child_stdin, child_stdout, child_stderr]
        try:
            self.pid = _ask(request, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
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

    def communicate(self, given: Any = None, timeout: float = 60.0) -> tuple[Any, Any]:
        """Write `given`, and read stdout and stderr to their ends."""
        heard = [self._nothing, self._nothing]

        def read(number: int, pipe: IO[Any]) -> None:
            with pipe:
                heard[number] = pipe.read()

        readers = [
            threading.Thread(target=read, args=(number, pipe))
            for number, pipe in enumerate((self.stdout, self.stderr))
            if pipe is not None and not pipe.closed
        ]
        for reader in readers:
            reader.start()
        if self.stdin is not None and not self.stdin.closed:
            with suppress(BrokenPipeError):
                self.stdin.write(given or self._nothing)
                self.stdin.flush()
            self._close(self.stdin)
        self.wait(timeout)
        for reader in readers:
            reader.join()
        return heard[0], heard[1]

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                self._close(pipe)
        self.wait()

    def _close(self, pipe: IO[Any]) -> None:
        with suppress(BrokenPipeError):
            pipe.close()

    def _collect(self, timeout: float) -> int | None:
        if self.returncode is None and select.select([self._ended], [], [], timeout)[0]:
            self.returncode = _ask(self.pid, [])
            os.close(self._ended)
        return self.returncode


def _ends(file: Any, child_mode: str, our_mode: str) -> tuple[IO[Any] | None, int]:
    """Our end of one of the three, if it is a pipe, and a descriptor for the child."""
    if file == subprocess.PIPE:
        reader, writer = os.pipe()
        ours, theirs = (writer, reader) if child_mode == "r" else (reader, writer)
        return os.fdopen(ours, our_mode), theirs
    if file == subprocess.DEVNULL:
        return None, os.open(os.devnull, os.O_RDWR)
    return None, os.dup(file if isinstance(file, int) else file.fileno())


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


def _ask(request: dict[str, Any] | int, descriptors: list[int]) -> int:
    """The number of a process that begins as requested, or the exit status of the one that has this number and has
    ended."""
    with _lock:
        socket.send_fds(_forker(), [json.dumps(request).encode()], descriptors)
        return int(_forker().recv(100))


def _serve(requests: socket.socket) -> None:
    """Answer until nobody asks any more. A process that was forked leaves from here with its exit status."""
    from utcp.cli import capture, main, nc, ss  # noqa: F401  # all that the commands import
    from utcp.tunnel import credentials, forward, reverse  # noqa: F401  # and tunnels

    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, 1 << 17, 3)
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
            for standard, descriptor in enumerate(descriptors):
                os.dup2(descriptor, standard)
            os.closerange(3, 100)
            os.environ.clear()
            os.environ.update(request["environment"])
            arguments = request["arguments"]
            if arguments[0] == "-c":
                sys.argv = ["-c", *arguments[2:]]
                exec(arguments[1], {"__name__": "__main__"})  # noqa: S102  # a test's program
                sys.exit()
            sys.exit(main(arguments))
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(b"%d" % pid)


if __name__ == "__main__":
    _serve(socket.socket(fileno=os.dup(0)))
