"""Files under names that users give: who may read them, and what is never overwritten."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from utcp.trace.output import empty, open_output, write_output
from utcp.trace.pcapng import MAGIC

pytestmark = pytest.mark.defect(99)

NOBODY = 65534


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file can become longer than ten octets."""
    resource = pytest.importorskip("resource", reason="only Unix limits the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "life.pcapng"


def refused(path: Path, code: int, signature: bytes = MAGIC) -> str:
    """Why the file is refused."""
    with pytest.raises(OSError) as raised:
        open_output(path, signature)
    assert raised.value.errno == code
    return raised.value.strerror or ""


def test_a_new_file_is_for_its_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        write_output(path, MAGIC)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == MAGIC


@pytest.mark.parametrize("before", [b"", MAGIC, MAGIC + b"a longer capture"])
def test_an_empty_file_and_one_of_the_same_kind_are_replaced(path: Path, before: bytes) -> None:
    path.write_bytes(before)
    path.chmod(0o640)
    write_output(path, MAGIC + b"new")
    assert path.read_bytes() == MAGIC + b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640  # its owner has chosen it


@pytest.mark.parametrize("before", [b"\n", b"\n\r\r", b"#!/bin/sh\n", b"x" + MAGIC])
def test_a_file_of_another_kind_is_left_alone(path: Path, before: bytes) -> None:
    path.write_bytes(before)
    assert "another kind" in refused(path, errno.EEXIST)
    assert path.read_bytes() == before


def test_a_file_without_a_signature_may_be_anything(path: Path) -> None:
    path.write_bytes(b"old")
    write_output(path, b"new text", signature=0)
    assert path.read_bytes() == b"new text"


@pytest.mark.parametrize("exists", [False, True])
def test_a_symbolic_link_is_not_followed(path: Path, tmp_path: Path, exists: bool) -> None:
    target = tmp_path / "target"
    if exists:
        target.write_bytes(MAGIC)
    path.symlink_to(target)
    assert "symbolic link" in refused(path, errno.ELOOP)
    assert target.exists() == exists
    assert not exists or target.read_bytes() == MAGIC


def test_a_symbolic_link_that_comes_at_the_last_moment_is_not_followed(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    target.write_bytes(MAGIC)
    found = target.stat()
    path.symlink_to(target)
    monkeypatch.setattr(os, "lstat", lambda _: found)
    refused(path, errno.ELOOP)


def test_a_file_that_takes_the_place_of_another_one_is_left_alone(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(MAGIC)
    other = tmp_path / "other"
    other.write_bytes(MAGIC)
    found = other.lstat()
    monkeypatch.setattr(os, "lstat", lambda _: found)
    assert "took its place" in refused(path, errno.EEXIST)


def test_the_file_of_another_user_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been put there for us to write into, and for its owner to read."""
    path.touch()
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    assert "another user" in refused(path, errno.EPERM)


def test_pipes_and_devices_are_opened_as_they_are(path: Path) -> None:
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        descriptor = open_output(path, MAGIC)
        empty(descriptor)
        os.write(descriptor, MAGIC)
        os.close(descriptor)
        assert os.read(reader, 100) == MAGIC
        assert os.read(reader, 100) == b""  # nobody else has it open for writing
    finally:
        os.close(reader)
    write_output("/dev/null", b"<svg")


def test_a_pipe_without_a_reader_can_be_refused_instead_of_waited_for(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(OSError) as raised:  # its errno is looked at
        open_output(path, MAGIC, os.O_NONBLOCK)
    assert raised.value.errno == errno.ENXIO


def test_a_directory_is_refused(path: Path) -> None:
    path.mkdir()
    assert refused(path, errno.EISDIR)


def test_what_the_file_holds_remains_until_it_is_emptied(path: Path) -> None:
    path.write_bytes(MAGIC + b"old")
    descriptor = open_output(path, MAGIC, os.O_APPEND)
    try:
        assert path.read_bytes() == MAGIC + b"old"
        os.write(descriptor, b"more")
        assert path.read_bytes() == MAGIC + b"oldmore"
        empty(descriptor)
        os.write(descriptor, MAGIC)
        assert path.read_bytes() == MAGIC
    finally:
        os.close(descriptor)


def test_a_file_is_as_long_as_its_new_content(path: Path) -> None:
    for content in (MAGIC + b"long", MAGIC, b""):
        write_output(path, content)
        assert path.read_bytes() == content


@pytest.mark.usefixtures("full_disk")
@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve room on a disk")
def test_on_a_full_disk_an_old_file_keeps_its_content_and_no_new_file_is_left(path: Path, tmp_path: Path) -> None:
    path.write_bytes(MAGIC + b"old")
    for file in (path, tmp_path / "new.pcapng"):
        with pytest.raises(OSError, match="File too large"):
            write_output(file, MAGIC + bytes(10))
    assert path.read_bytes() == MAGIC + b"old"
    assert not (tmp_path / "new.pcapng").exists()
