"""Tunnels as users start them: processes of their own, and what they say on stderr."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.forking import ROOT, Forked

LOCAL: Final = "127.0.0.1"
PATIENCE: Final = 100.0
"""Seconds in which whatever a test waits for has to happen."""


class Process:
    """A command of `utcp tunnel` whose lines on stderr are gathered. `fresh`: started as users do, not by a fork."""

    def __init__(self, *arguments: str, fresh: bool = False) -> None:
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self.process: Forked | subprocess.Popen[str] = (
            _fresh(arguments)
            if fresh or sys.platform != "linux"
            else Forked(("tunnel", *arguments), stderr=subprocess.PIPE, text=True)
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self._lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first line, also of those that came before, in which `pattern` is found."""

        def found() -> re.Match[str] | None:
            return next((match for line in self._lines if (match := re.search(pattern, line))), None)

        with self._news:
            self._news.wait_for(lambda: found() or self._ended, PATIENCE)
            match = found()
        assert match is not None, f"{pattern!r} is not in {self._lines}"
        return match

    @property
    def lines(self) -> list[str]:
        """What it has said so far, without the name that every line begins with."""
        with self._news:
            return [line.removeprefix("utcp tunnel: ") for line in self._lines]

    def port(self, kind: str = "listening on") -> int:
        """The port that it listens on, once it does."""
        return int(self.wait_for(rf"{kind} 127\.0\.0\.1:(\d+)")[1])

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end. The exit status."""
        self.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """The exit status, once it has ended."""
        status = self.process.wait(PATIENCE)
        self._reader.join()
        return status

    def kill(self) -> None:
        """Whatever state it is in: end it, and let go of it."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()


def _fresh(arguments: tuple[str, ...]) -> subprocess.Popen[str]:
    # -W error: a connection, task or descriptor left behind is reported on stderr.
    return subprocess.Popen(  # noqa: S603  # our own command line
        [sys.executable, "-W", "error", "-m", "utcp", "tunnel", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def started(*arguments: str, fresh: bool = False) -> Iterator[Process]:
    process = Process(*arguments, fresh=fresh)
    try:
        yield process
    finally:
        process.kill()


@contextmanager
def serve(target: int, *options: str, port: int = 0) -> Iterator[Process]:
    with started("serve", f"{LOCAL}:{port}", "--forward", f"{LOCAL}:{target}", *options) as process:
        yield process


@contextmanager
def listen(to: int, *options: str, port: int = 0) -> Iterator[Process]:
    with started("listen", str(port), "--to", f"{LOCAL}:{to}", *options) as process:
        yield process


@contextmanager
def tunnel(target: int, *options: str) -> Iterator[tuple[Process, Process, int]]:
    """Both ends, and the port that users go to."""
    with serve(target, *options) as far, listen(far.port("UDP"), *options) as near:
        yield near, far, near.port()


@contextmanager
def reverse(target: int, *options: str) -> Iterator[tuple[Process, Process, int]]:
    """Both ends of a reverse tunnel, connected, and the port that users go to."""
    with (
        started("serve", f"{LOCAL}:0", "--reverse", "0", *options) as near,
        started("expose", f"{LOCAL}:{target}", "--to", f"{LOCAL}:{near.port('UDP')}", *options) as far,
    ):
        far.wait_for("connected to")
        yield near, far, near.port()


@contextmanager
def lossy_path(to: int, loss: float, seed: int) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """The port of a relay that loses a share of the datagrams, and its process."""
    process = subprocess.Popen(  # noqa: S603  # our own command line
        [sys.executable, "-m", "tests.tunnel.relay", str(to), str(loss), str(seed)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
