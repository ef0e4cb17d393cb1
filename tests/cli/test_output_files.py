"""Whatever command writes a file: it is for its owner alone, links are not followed, and other files stay."""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.trace.transfers import transfer
from utcp.cli import main
from utcp.trace.figure import save

pytestmark = pytest.mark.defect(99)

COMMANDS = {
    "ladder": ["ladder", "CAPTURE", "-o", "FILE.svg"],
    "ladder as text": ["ladder", "CAPTURE", "-o", "FILE.txt"],
    "demo svg": ["demo", "three-way", "--svg", "FILE"],
    "demo html": ["demo", "three-way", "--html", "FILE"],
    "demo pcap": ["demo", "three-way", "--pcap", "FILE"],
    "key": ["tunnel", "key", "FILE"],
}


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("output") / "life.pcapng"
    transfer(path, octets=4000)
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_that_cannot_be_written_is_not_left_behind(
    name: str, capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [each.replace("FILE", f"{tmp_path}/x").replace("CAPTURE", str(capture)) for each in COMMANDS[name]]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # writing fails, as on a full disk
    try:
        assert main(arguments) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = capsys.readouterr().err
    assert said.endswith(": File too large\n")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_writes(name: str, capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [each.replace("FILE", f"{tmp_path}/x").replace("CAPTURE", str(capture)) for each in COMMANDS[name]]
    path = next(Path(each) for each in arguments if each.startswith(str(tmp_path)))
    target = tmp_path / "target"
    path.symlink_to(target)
    assert main(arguments) == 1
    assert not target.exists()
    if name != "ladder as text":  # which nothing tells from other text
        path.unlink()
        path.write_text("precious")
        assert main(arguments) == 1
        assert path.read_text() == "precious"
    errors = capsys.readouterr().err.splitlines()
    assert all(str(path) in line for line in errors)
    path.unlink()
    before = os.umask(0)
    try:
        assert main(arguments) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    if name != "key":
        written = path.read_bytes()
        assert main(arguments) == 0  # its own file it replaces
        assert path.read_bytes() == written


def test_what_a_plot_writes(tmp_path: Path) -> None:
    """Drawn by somebody else than matplotlib, which takes a second of the processor to begin."""

    class Figure:
        def savefig(self, file: Any, **_: object) -> None:
            file.write(b"<?xml />")

    path, target = tmp_path / "x.svg", tmp_path / "target"
    figure: Any = Figure()
    path.symlink_to(target)
    with pytest.raises(OSError, match="symbolic link"):
        save(figure, path)
    assert not target.exists()
    path.unlink()
    for _ in range(2):
        save(figure, path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="another kind"):
        save(figure, path)
    assert path.read_text() == "precious"
