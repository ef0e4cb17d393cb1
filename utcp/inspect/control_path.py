"""The files of control sockets, and their permissions.

A path that is a directory, or ends in a slash, means the file `PID.sock` in it (`PID-2.sock` for a second event loop of
the process), so that several processes can use the same path. True and "1" mean the default directory, which is
`$XDG_RUNTIME_DIR/utcp`, or `/tmp/utcp-UID` without that variable. If it does not exist, it is created for its user
only. It is not used if it belongs to another user, or if other users may write to it.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Final

from utcp.errors import AddressInUse

_LOOPS: Final = 64
"""Maximum number of sockets of one process in a directory, one for each event loop."""


def asked_path(asked: str | PathLike[str] | bool) -> str:
    """Return the file or directory that `asked` means. Raises ValueError for an empty name."""
    if asked is True or asked == "1":
        return str(default_directory())
    name = "" if asked is False else os.fspath(asked)
    if not name:
        raise ValueError("the path of a control socket must not be empty")
    return name


def default_directory() -> Path:
    """Return the directory in which `utcp ss` searches the sockets of this user's processes."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):
        return Path(runtime, "utcp")
    return Path(f"/tmp/utcp-{os.getuid()}")  # noqa: S108  # secure() checks its owner


def secure(directory: Path) -> None:
    """Raise PermissionError if `directory` belongs to another user, or if other users may write to it.

    Raises FileNotFoundError or NotADirectoryError if it is not a directory.
    """
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, f"{directory} is not a directory")
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(
            errno.EPERM, f"{directory} must belong to you, and no other user may write to it: name another directory"
        )


def listen(path: str) -> tuple[socket.socket, Path]:
    """Return a non-blocking listening socket at `path`, and its file.

    `path` is a file, or a directory for the file `PID.sock`. Only its owner may connect to the socket. The file of an
    ended process is replaced. Raises AddressInUse if another process listens there, and other OSErrors whose text
    contains the file.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise OSError(errno.EAFNOSUPPORT, "control sockets are Unix sockets, which this system does not have")
    if not path.endswith("/") and path != str(default_directory()) and not Path(path).is_dir():
        return _listen_at(Path(path)), Path(path)
    directory = Path(path)
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _explained(error, directory) from None
    if directory == default_directory():
        secure(directory)
        _sweep(directory)
    for file in _files(directory):
        try:
            return _listen_at(file), file
        except AddressInUse:
            continue  # another loop of this process
    raise AddressInUse(f"{directory} has {_LOOPS} control sockets of this process already")


def _sweep(directory: Path) -> None:
    """Remove the sockets of killed processes."""
    for file in directory.glob("*.sock"):
        with suppress(OSError):  # in use, or already removed
            _remove_stale(file)


def _files(directory: Path) -> Iterator[Path]:
    yield directory / f"{os.getpid()}.sock"
    for number in range(2, _LOOPS + 1):
        yield directory / f"{os.getpid()}-{number}.sock"


def _listen_at(file: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(file)
        sock.bind(str(file))
        file.chmod(0o600)  # before listen(), until which no process can connect
        sock.listen(16)
        sock.setblocking(False)
    except AddressInUse:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        raise _explained(error, file) from None
    return sock


def _remove_stale(file: Path) -> None:
    """Remove the socket of an ended process. Raises AddressInUse if the process still runs, FileExistsError if the file
    is not a socket."""
    try:
        found = file.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(errno.EEXIST, "the file exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)
        try:
            caller.connect(str(file))
        except ConnectionRefusedError:
            # Another process may have replaced the file meanwhile.
            if os.path.samestat(found, file.lstat()):
                file.unlink()
            return
        except FileNotFoundError:
            return
        except BlockingIOError:  # its queue is full, so a process has it
            pass
    raise AddressInUse(f"the control socket {file} is in use by a running process: name another socket, or a directory")


def _explained(error: OSError, file: Path) -> OSError:
    reason = error.strerror or str(error)  # the error for too long a path has no errno
    return OSError(error.errno or errno.EINVAL, f"cannot open the control socket {file}: {reason}")
