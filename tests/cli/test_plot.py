"""`utcp plot`: pictures of captures, and one line for what cannot be drawn."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

from tests.trace.capture_files import CLIENT, SERVER
from tests.trace.transfers import transfer
from utcp.cli import main
from utcp.extras import not_installed
from utcp.trace.pcapng import Capture
from utcp.wire import ACK, SYN, Segment, encode


@pytest.fixture
def _matplotlib() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib, which draws the plots, is not installed")


draws = pytest.mark.usefixtures("_matplotlib")


def write(path: Path, *segments: Segment, form: str = "tcp") -> None:
    file = io.BytesIO()
    capture = Capture(file, form="udp" if form == "udp" else "tcp")
    for number, segment in enumerate(segments):
        capture.packet(number / 10, CLIENT, SERVER, encode(segment))
    path.write_bytes(file.getvalue())


@draws
def test_a_picture_beside_the_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "life.pcapng"
    transfer(path, loss=0.05, octets=30_000)
    assert main(["plot", str(path)]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'life.svg'}\n"
    assert printed.err == ""
    svg = (tmp_path / "life.svg").read_text()
    assert "From the client 10.0.0.3:" in svg
    assert "round-trip time, ms" in svg


@draws
@pytest.mark.parametrize("suffix", ["svg", "PNG", "pdf"])
def test_output_panel_and_direction_are_chosen(tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "life.pcapng"
    transfer(path, octets=3000)
    target = tmp_path / f"picture.{suffix}"
    assert main(["plot", str(path), "-o", str(target), "--what", "rtt", "--direction", "server"]) == 0
    assert target.stat().st_size > 1000
    if suffix == "svg":
        assert "From the server 10.0.0.2:9000 to the client" in target.read_text()
        assert "bytes from SYN" not in target.read_text()


@draws
def test_of_several_connections_the_one_with_most_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "several.pcapng"
    sizes = (10, 500, 20)
    write(path, *(Segment(50001 + number, 80, 1, 1, ACK, 9, bytes(size)) for number, size in enumerate(sizes)))
    assert main(["plot", str(path)]) == 0
    told = "connection 2 of 3: from the client 192.0.2.1:50002 to the server 192.0.2.2:80\n"
    assert capsys.readouterr().err == told
    assert main(["plot", str(path), "--connection", "3"]) == 0
    assert "connection 3 of 3: from the client 192.0.2.1:50003 " in capsys.readouterr().err
    assert main(["plot", str(path), "--connection", "4"]) == 1
    assert capsys.readouterr().err == "utcp plot: no connection 4: there are only 3 (see --list)\n"
    assert main(["plot", str(path), "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines] == [
        [str(number), f"192.0.2.1:{50000 + number}", "-", "192.0.2.2:80"] for number in (1, 2, 3)
    ]
    assert "500 bytes there" in lines[1]


@draws
def test_udp_ports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "udp.pcapng"
    write(path, Segment(50000, 80, 1, 0, SYN, 9), form="udp")
    assert main(["plot", str(path), "--udp-port", "9000"]) == 0
    capsys.readouterr()
    assert main(["plot", str(path), "--udp-port", "53"]) == 1
    assert capsys.readouterr().err == f"utcp plot: no TCP in {path} on these UDP ports\n"


@draws
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file or directory"),
        (b"", "not a capture: it is empty"),
        (b"# text\n", "not a capture: it is neither pcapng nor pcap"),
        (bytes.fromhex("d4c3b2a1 0200 0400") + bytes(12) + b"\x65\0\0\0", "no TCP in {path}"),
        (bytes.fromhex("d4c3b2a1 0200"), "truncated: it ends at byte 6, in the middle of its header"),
    ],
)
def test_bad_files_are_one_line_and_status_1(
    tmp_path: Path, content: bytes | None, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.pcap"
    if content is not None:
        path.write_bytes(content)
    assert main(["plot", str(path)]) == 1
    printed = capsys.readouterr()
    told = complaint.format(path=path) if "{path}" in complaint else f"{path}: {complaint}"
    assert (printed.out, printed.err) == ("", f"utcp plot: {told}\n")
    assert not path.with_suffix(".svg").exists()


@draws
def test_the_plot_of_a_truncated_capture_shows_what_is_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.pcapng"
    write(path, Segment(50000, 80, 1, 0, SYN, 9), Segment(50000, 80, 2, 1, ACK, 9))
    path.write_bytes(path.read_bytes()[:-7])
    assert main(["plot", str(path)]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'cut.svg'}\n"
    assert re.fullmatch(
        r"utcp plot: .*cut.pcapng: truncated: it ends at byte \d+, in the middle of .*\. The plot shows the packets "
        r"before\.\n",
        printed.err,
    )


@draws
def test_without_o_only_a_plot_by_utcp_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, target = tmp_path / "life.pcapng", tmp_path / "life.svg"
    write(path, Segment(50000, 80, 1, 0, SYN, 9))
    target.write_text('<?xml version="1.0"?>\n<svg/>\n')  # of the same kind, by another program
    assert main(["plot", str(path)]) == 1
    told = f"utcp plot: {target} exists, and is no plot by utcp: name the file to write with -o\n"
    assert capsys.readouterr() == ("", told)
    assert target.read_text() == '<?xml version="1.0"?>\n<svg/>\n'
    assert main(["plot", str(path), "-o", str(target)]) == 0
    assert main(["plot", str(path), "--what", "rtt"]) == 0
    assert "round-trip time, ms" in target.read_text()
    target.write_bytes(b"")
    assert main(["plot", str(path)]) == 0


@draws
def test_an_output_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, target = tmp_path / "life.pcapng", tmp_path / "nowhere" / "life.svg"
    write(path, Segment(50000, 80, 1, 0, SYN, 9))
    assert main(["plot", str(path), "-o", str(target)]) == 1
    assert capsys.readouterr().err == f"utcp plot: {target}: No such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["life.pcapng", "-o", "life.bmp"], "life.bmp must end in .svg, .png, .pdf"),
        (["life.svg"], "life.svg would be overwritten"),
        (["life.pcapng", "--what", "weather"], "'weather' is not one of"),
        (["life.pcapng", "--connection", "0"], "0 is not in the range"),
        (["life.pcapng", "--udp-port", "65536"], "is not a port"),
        ([], "Missing argument 'FILE'"),
    ],
)
def test_bad_arguments_are_one_line_and_status_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", *arguments]) == 2
    printed = capsys.readouterr()
    assert complaint in printed.err
    assert printed.err.count("\n") == 1


def test_without_matplotlib_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("utcp.trace.figure.find_spec", lambda name: None)
    assert main(["plot", "life.pcapng"]) == 1
    told = f"utcp plot: {not_installed('matplotlib', 'plot')}\n"
    assert capsys.readouterr().err == told
