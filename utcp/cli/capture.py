"""`utcp capture`: writes the packets of a running process into a file for Wireshark."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf
from struct import Struct
from types import FrameType
from typing import Final

import click

from utcp.cli.options import SECONDS
from utcp.cli.processes import ControlFailed, Process, connect, find, greeting, request

_BLOCK: Final = Struct("!II")
_STATISTICS: Final = 5
_PACKET: Final = 6
_COUNTS: Final = Struct("!HHQHHQ")
"""The options of a statistics block as utcp writes them: packets received, packets dropped."""
_COUNTS_AT: Final = 20

LAST_WORDS: Final = 2.0
"""Maximum seconds without data before the end of a capture is enforced."""

_LOOK: Final = 0.25
"""Seconds between checks for signals."""


@click.command
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.argument("control", metavar="[SOCKET]", required=False)
@click.option("-c", "--count", metavar="N", type=click.IntRange(min=1), help="End after N packets.")
@click.option("--seconds", type=SECONDS, help="End after this time, in seconds.")
@click.option(
    "--form",
    type=click.Choice(["tcp", "udp"]),
    default="tcp",
    show_default=True,
    help="Write segments as bare TCP, or in UDP, as they cross the network.",
)
def command(file: str, control: str | None, count: int | None, seconds: float | None, form: str) -> None:
    """Capture the packets of a running process into FILE, in pcapng format.

    With FILE "-", the capture goes to stdout, for `wireshark -k -i -`. An existing FILE is replaced if it is empty or a
    pcapng file. A new FILE has mode 0600.

    SOCKET is the control socket of the process. The default is the value of UTCP_CONTROL, or else the only control
    socket in the default directory (see `utcp ss`).

    The capture ends at Ctrl-C, after --count packets or --seconds, or with the last endpoint of the process. Each
    packet has a comment with the state, the timer and the windows of its connection.
    """
    from utcp.inspect.recording import check_name

    if file != "-":
        try:
            check_name(file)
        except ValueError as error:
            raise click.BadParameter(f"{file}: {error}", param_hint="FILE") from None
    paths = find((control,) if control else ())
    if len(paths) > 1:
        raise ControlFailed(f"{len(paths)} processes have control sockets: name one of {', '.join(paths)}")
    path = paths[0]
    sock = connect(path)
    with sock:
        output = _Output(file)
        try:
            request(sock, {"request": "capture", "form": form} | ({"count": count} if count else {}))
            with sock.makefile("rb", buffering=0) as answer:  # the data after its first line is the capture
                process = greeting(path, answer.readline)
            name = process.program or "process"
            ending = _Ending(sock, seconds)
            with _interrupting(ending):
                click.echo(f"Capturing {name} (pid {process.pid}) into {file}. Ctrl-C ends it.", err=True)
                ended = _copy(sock, output, ending)
        finally:
            output.close()
    _report(process, output, ended)


class _Ending:
    """The end of the capture: shutting down the socket makes the process send the rest and finish."""

    def __init__(self, sock: socket.socket, seconds: float | None) -> None:
        self._sock = sock
        self._due = inf if seconds is None else time.monotonic() + seconds
        self._told = inf

    def tell(self) -> None:
        """Ask the process to finish. On the second call, end at once without the rest."""
        if self._told < inf:
            raise KeyboardInterrupt
        self._told = time.monotonic()
        with suppress(OSError):  # the process has ended the capture itself
            self._sock.shutdown(socket.SHUT_WR)

    def is_over(self) -> bool:
        """Return whether the capture counts as over, because the process was asked to finish and has sent nothing
        since. Also asks it to finish once the time is up. Called while no data arrives."""
        now = time.monotonic()
        if self._told == inf and now >= self._due:
            self.tell()
        return now > self._told + LAST_WORDS

    def patience(self) -> float:
        """Return the seconds to wait for data before the next call of `is_over()`."""
        return min(_LOOK, max(0.001, self._due - time.monotonic())) if self._told == inf else _LOOK


def _copy(sock: socket.socket, output: _Output, ending: _Ending) -> bool:
    """Copy data until the capture ends. Return False if the process vanished before its end."""
    while True:
        sock.settimeout(ending.patience())
        try:
            data = sock.recv(65536)
        except TimeoutError:
            if ending.is_over():
                return True  # the process does not answer, so the capture ends here
            continue
        except ConnectionResetError:
            return output.complete
        if not data:
            return output.complete
        output.take(data)


def _report(process: Process, output: _Output, ended: bool) -> None:
    packets = f"{output.packets} packet{'' if output.packets == 1 else 's'}"
    if output.dropped:
        why = "because they arrived faster than they could be written"
        click.echo(f"{packets} captured; {output.dropped} more were dropped, {why}", err=True)
    else:
        click.echo(f"{packets} captured", err=True)
    if not ended:
        raise ControlFailed(f"{process.socket}: the process has ended, and its last packets may be missing")


@contextmanager
def _interrupting(ending: _Ending) -> Iterator[None]:
    """Make Ctrl-C and SIGTERM end the capture properly."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        ending.tell()

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Output:
    """The output file. Only whole blocks are written, so that it can be read at any time."""

    def __init__(self, name: str) -> None:
        """Open the file. Raises ControlFailed when it cannot be written."""
        from utcp.trace.output import empty, open_output
        from utcp.trace.pcapng import MAGIC

        self._name = name
        try:
            self._descriptor = os.dup(1) if name == "-" else open_output(name, MAGIC)
            if name != "-":
                empty(self._descriptor)
        except OSError as error:
            raise ControlFailed(f"{name}: {error.strerror}") from None
        self._pending = bytearray()
        self.packets = 0
        self.dropped = 0
        self.complete = False
        """Whether the last block was the final one of a capture."""

    def take(self, data: bytes) -> None:
        """Write a part of the capture. Raises ControlFailed when it cannot be written, BrokenPipeError when the pipe
        has no reader."""
        pending = self._pending
        pending += data
        end = 0
        while len(pending) - end >= _BLOCK.size:
            kind, length = _BLOCK.unpack_from(pending, end)
            if length < 12 or length % 4:
                raise ControlFailed("the answer of the control socket is not a capture")
            if len(pending) - end < length:
                break
            self.complete = kind == _STATISTICS
            if kind == _PACKET:
                self.packets += 1
            elif kind == _STATISTICS and length >= _COUNTS_AT + _COUNTS.size:
                self.dropped = _COUNTS.unpack_from(pending, end + _COUNTS_AT)[5]
            end += length
        self._write(bytes(pending[:end]))
        del pending[:end]

    def _write(self, octets: bytes) -> None:
        try:
            while octets:
                octets = octets[os.write(self._descriptor, octets) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            packets = f"after about {self.packets} packets" if self.packets else "at its beginning"
            raise ControlFailed(f"{self._name}: {error.strerror}: the capture stopped {packets}") from None

    def close(self) -> None:
        os.close(self._descriptor)
