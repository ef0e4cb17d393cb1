"""Captures of running endpoints, for `utcp capture` and the environment variable UTCP_PCAP."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from utcp.aio.containment import soon
from utcp.aio.open_endpoint import OpenEndpoint
from utcp.link.path import SocketAddress
from utcp.tcp.transmit import Buffer, Remote
from utcp.trace import log_event
from utcp.trace.output import empty, open_output
from utcp.trace.pcapng import MAGIC, Capture, CaptureObserver
from utcp.wire import Segment

try:
    import fcntl
except ImportError:  # Windows, where two processes may write to one file
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection

SUFFIX: Final = ".pcapng"

_MAX_PEERS: Final = 1024
"""Addresses for which a recording caches whether they belong to its endpoints."""


class Recording:
    """A capture of the segments of some endpoints of one loop, as a pcapng file.

    A segment between two of these endpoints is captured only once, when it is sent. An exception ends the capture and
    is passed to `failed`, so that the endpoints are never affected.

    Args:
        write: writes a block of the file; it returns False if it has no room for the block.
        form: "udp" to include UDP headers, otherwise "tcp".
        count: the number of packets after which the capture ends; None: no limit.
        ended: called in the next turn of the loop when `count` is reached.
        failed: called with the exception that has ended the capture, also with one of `write`.
    """

    def __init__(
        self,
        write: Callable[[bytes], bool],
        *,
        form: Literal["tcp", "udp"] = "tcp",
        count: int | None = None,
        ended: Callable[[], None] | None = None,
        failed: Callable[[Exception], None],
    ) -> None:
        self._write = write
        self._left = count
        self._ended = ended
        self._failed = failed
        self.endpoints: dict[OpenEndpoint, Callable[[], None]] = {}
        self._finished = False
        self._parts: list[bytes] | None = None  # receives the last block
        self.packets = 0
        self.dropped = 0
        self._blocks = 0  # number of written blocks
        self._ours: dict[SocketAddress, bool] = {}
        """Cached results of `is_ours` by the peer's address, to avoid a system call for each segment."""
        self._capture = Capture(self, form=form, epoch_ns=time.time_ns() - time.monotonic_ns())
        log_event("utcp.capture_started")

    def begin(self, endpoint: OpenEndpoint) -> None:
        """Start capturing an endpoint."""
        if not self._finished and endpoint not in self.endpoints:
            self.endpoints[endpoint] = endpoint.observe(_Recorder(self, self._capture, endpoint))
            self._ours.clear()

    def end(self, endpoint: OpenEndpoint) -> None:
        """Stop capturing an endpoint, which is closed."""
        stop = self.endpoints.pop(endpoint, None)
        if stop is not None:
            stop()
            self._ours.clear()

    def finish(self) -> bytes:
        """Stop the capture, and return the last block of the file."""
        self._stop()
        parts = self._parts = []
        self._capture.statistics(time.monotonic(), self.packets + self.dropped, self.dropped)
        return b"".join(parts)

    def _stop(self) -> None:
        if not self._finished:
            log_event("utcp.capture_ended", packets=self.packets, dropped=self.dropped)
        self._finished = True
        for endpoint in list(self.endpoints):
            self.end(endpoint)

    # ------------------------------------------------------------------ what the capture and its observers call

    def write(self, octets: bytes) -> None:
        """Write a block of the file."""
        if self._parts is not None:
            self._parts.append(octets)
        elif self._write(octets):
            self._blocks += 1
        else:
            self.dropped += 1

    def record(self, show: Callable[[], None]) -> None:
        """Call `show`, which may write a packet, and count the packet."""
        blocks = self._blocks
        if not self.guard(show) or self._blocks == blocks:
            return
        self.packets += 1
        if self._left is not None and self.packets >= self._left:
            self._stop()
            if self._ended is not None:
                soon(asyncio.get_running_loop(), self._ended)

    def guard(self, work: Callable[[], None]) -> bool:
        """Call `work`, a part of the capture. Return whether the capture continues."""
        if self._finished:
            return False
        try:
            work()
        except Exception as error:  # the endpoints must continue
            self._stop()
            self._failed(error)
            return False
        return True

    def is_ours(self, peer: SocketAddress) -> bool:
        """Return whether the peer is one of these endpoints, whose segments are captured when they are sent."""
        known = self._ours.get(peer)
        if known is None:
            known = any(endpoint.link.receives_at(peer) for endpoint in self.endpoints)
            if len(self._ours) >= _MAX_PEERS:
                self._ours.clear()
            self._ours[peer] = known
        return known


class _Recorder(CaptureObserver):
    """The observer of one endpoint. It never raises an exception."""

    def __init__(self, recording: Recording, capture: Capture, endpoint: OpenEndpoint) -> None:
        super().__init__(capture, endpoint.address[:2], stack=endpoint.stack, received=self._is_shown)
        self._recording = recording
        self._link = endpoint.link

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        self._recording.record(lambda: super(_Recorder, self).segment_sent(remote, buffers, now))

    def segment_received(self, remote: Remote, segment: Segment, now: float) -> None:
        self._recording.record(lambda: super(_Recorder, self).segment_received(remote, segment, now))

    def timer_expired(self, connection: Connection, timer: int, now: float) -> None:
        self._recording.guard(lambda: super(_Recorder, self).timer_expired(connection, timer, now))

    def retransmitted(self, connection: Connection, seq: int, length: int, now: float) -> None:
        self._recording.guard(lambda: super(_Recorder, self).retransmitted(connection, seq, length, now))

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        self._recording.guard(lambda: super(_Recorder, self).state_changed(connection, before, after, now))

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        self._recording.guard(lambda: super(_Recorder, self).time_wait_ended(remote, remote_port, local_port, now))

    def _is_shown(self, remote: Remote) -> bool:
        return not self._recording.is_ours(self._link.peername(remote))


class FileRecording:
    """A capture of a loop's endpoints in the file `path`, which is open while there are endpoints.

    The file is written without a buffer, so that it is complete at any time, and locked against other processes. An
    existing file must be empty or a pcapng file (`utcp.trace.output`). A process truncates it when it first opens it.
    Later, or from another loop, it appends another section. After a failure nothing is captured any more.
    """

    _begun: ClassVar[set[tuple[int, str]]] = set()
    _opening: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, path: str, failed: Callable[[Exception], None]) -> None:
        """Create a capture. Raises ValueError for a name that does not end in .pcapng."""
        check_name(path)
        self._path = path
        self._failed = failed
        self._descriptor = -1
        self._recording: Recording | None = None
        self._broken = False

    def begin(self, endpoint: OpenEndpoint) -> None:
        """Start capturing an endpoint. Raises OSError if the file cannot be opened."""
        if self._broken:
            return
        if self._recording is None:
            self._descriptor = self._open()
            try:
                self._recording = Recording(self._write, failed=self._fail)
            except Exception as error:
                self._fail(error)
                return
        self._recording.begin(endpoint)

    def end(self, endpoint: OpenEndpoint) -> None:
        """Stop capturing an endpoint, which is closed."""
        recording = self._recording
        if recording is None:
            return
        recording.end(endpoint)
        if not recording.endpoints:
            self._recording = None
            try:
                self._write(recording.finish())
                self._close()
            except Exception as error:  # the closing of the endpoint must continue
                self._fail(error)

    def _open(self) -> int:
        # Non-blocking, because a pipe without a reader would block the program.
        flags = os.O_APPEND | getattr(os, "O_NONBLOCK", 0)
        with self._opening:
            descriptor = open_output(self._path, MAGIC, flags)
            try:
                if fcntl is not None and stat.S_ISREG(os.fstat(descriptor).st_mode):
                    _lock(descriptor)
                if (os.getpid(), self._path) not in self._begun:
                    empty(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            self._begun.add((os.getpid(), self._path))
        return descriptor

    def _write(self, octets: bytes) -> bool:
        written = os.write(self._descriptor, octets)
        while written < len(octets):
            written += os.write(self._descriptor, octets[written:])
        return True

    def _fail(self, error: Exception) -> None:
        self._broken = True
        self._recording = None
        try:
            self._close()
        except OSError:  # the error is already reported
            pass
        self._failed(error)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1  # it is closed even if closing it fails
        if descriptor >= 0:
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # per process, because its other loops may write too
    except (BlockingIOError, PermissionError):
        raise OSError(errno.EBUSY, "another process captures into it") from None


def check_name(path: str) -> None:
    """Raise ValueError unless `path` ends in .pcapng, because another suffix indicates another kind of file."""
    if not path.endswith(SUFFIX):
        stem = path.removesuffix(".pcap").removesuffix(".cap")
        raise ValueError(f"captures are pcapng files: name it {stem}{SUFFIX}")
