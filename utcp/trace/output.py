"""Writes files under a name given by a user or the environment: captures, drawings, results.

Such a file may show which hosts communicate and what they send, so a new file is readable by its owner only (mode
0600). A name may be wrong, or another user may have prepared a file in a shared directory. Therefore, an existing file
is used only if it is not a symbolic link, belongs to this user or to root, and is empty or begins with the same
signature.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from os import PathLike
from pathlib import Path
from typing import Final

SIGNATURE: Final = 4
"""Octets that identify a kind of file: `<svg`, `%PDF`, the type of a pcapng section header."""

_MODE: Final = 0o600
_FLAGS: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
"""Windows has only the second flag, other systems only the first."""


def open_output(path: str | PathLike[str], signature: bytes, flags: int = 0) -> int:
    """Open a file for writing, create it if it does not exist, and return its descriptor.

    The file's content remains; `empty()` removes it.

    Args:
        path: The file. Pipes and devices are opened as they are.
        signature: The octets with which an existing regular file must begin, unless the file is empty.
        flags: Further flags of `os.open()`.

    Raises OSError: FileExistsError for a file that begins with other octets, PermissionError for a file of another
    user, ELOOP for a symbolic link.
    """
    flags |= _FLAGS
    try:
        return os.open(path, flags | os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    except FileExistsError:
        pass
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, "it is a symbolic link: name the file itself")
    if hasattr(os, "geteuid") and found.st_uid not in (os.geteuid(), 0):
        raise PermissionError(errno.EPERM, "it belongs to another user: remove it, or name another file")
    is_regular = stat.S_ISREG(found.st_mode)
    # Opening a pipe for reading as well would give it a reader.
    descriptor = os.open(path, flags | (os.O_RDWR if is_regular else os.O_WRONLY))
    try:
        _check(descriptor, found, signature)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def empty(descriptor: int) -> None:
    """Truncate a regular file. Pipes and devices are left alone."""
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.ftruncate(descriptor, 0)


def write_output(path: str | PathLike[str], octets: bytes, signature: int = SIGNATURE) -> None:
    """Write a whole file.

    Args:
        path: The file, as for `open_output()`.
        octets: The new content.
        signature: The number of octets at the beginning in which an existing file must agree with `octets`; 0 for a
            kind of file that has no signature, such as text.

    Raises OSError, as `open_output()` does, and when the file cannot be written. Then no new file is left behind, and
    on a full disk, an existing file keeps its content.
    """
    is_new = not os.path.lexists(path)
    descriptor = open_output(path, octets[:signature])
    with os.fdopen(descriptor, "wb") as file, removed_on_error(path) if is_new else nullcontext():
        is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        if is_regular and octets and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, len(octets))
        file.write(octets)
        if is_regular:
            file.truncate()


@contextmanager
def removed_on_error(path: str | PathLike[str]) -> Iterator[None]:
    """Remove a file that was just created if it cannot be written, for example because the disk is full."""
    try:
        yield
    except BaseException:
        Path(path).unlink()
        raise


def _check(descriptor: int, found: os.stat_result, signature: bytes) -> None:
    """Raise FileExistsError unless `descriptor` is the file `found` and begins with `signature`."""
    if not os.path.samestat(found, os.fstat(descriptor)):
        raise FileExistsError(errno.EEXIST, "another file took its place while it was opened")
    if stat.S_ISREG(found.st_mode):
        if os.read(descriptor, len(signature)) not in (b"", signature):
            raise FileExistsError(errno.EEXIST, "it exists and is of another kind: remove it, or name another file")
        os.lseek(descriptor, 0, os.SEEK_SET)
