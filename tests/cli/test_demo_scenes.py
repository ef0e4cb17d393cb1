"""`utcp demo SCENE`: told on a terminal and in a pipe, in two languages, saved, and refused in one line."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from tests.scenes.goldens import LADDERS, played
from utcp.cli import main
from utcp.cli.narration import narrate
from utcp.scenes import NAMES
from utcp.scenes.stage import Stage
from utcp.trace.ladder import render_text
from utcp.trace.ladder.width import columns

CHINESE = re.compile("[\u4e00-\u9fff]")


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(variable, raising=False)


def ladder_of(printed: str) -> list[str]:
    """The rows of the ladder, notes left out."""
    return [line for line in printed.splitlines() if line.count("|") == 2]


@pytest.mark.parametrize("name", NAMES)
def test_a_scene_is_told(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", name]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out
    scene = played(name).scene
    assert out.startswith(f"{name}: {scene.title.en}\n")
    words = " ".join(out.split())
    for text in (*scene.before, *scene.after):
        assert " ".join(text.en.split()) in words
    assert scene.sources in words
    assert scene.knobs in words
    assert ladder_of(out) == ladder_of((LADDERS / f"{name}.txt").read_text(encoding="utf-8"))


def test_the_legend_says_what_times_and_colours_mean() -> None:
    """The colours only where there are some."""
    told = []
    for color_system in ("standard", None):
        file = io.StringIO()
        narrate(Console(file=file, force_terminal=True, color_system=color_system, width=100), played("three-way"))
        told.append(" ".join(re.sub("\x1b\\[[0-9;]*m", "", file.getvalue()).split()))
    for text in told:
        assert text.count("A segment's row has the time at which it was sent, in milliseconds") == 1
    assert [text.count("Colours: green for opening and for open connections") for text in told] == [1, 0]


@pytest.mark.parametrize("how", ["--lang", "LANG"])
def test_in_chinese(how: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "LANG":
        monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert main(["demo", "three-way", *(["--lang", "zh"] if how == "--lang" else [])]) == 0
    out = capsys.readouterr().out
    assert out.startswith("three-way: 四次挥手变三次\n")
    assert "客户端" in ladder_of(out)[0]
    assert "FIN,ACK seq=1 ack=24" in out
    assert main(["demo", "three-way", "--lang", "en"]) == 0
    assert not CHINESE.search(capsys.readouterr().out)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_on_a_terminal_it_is_coloured_and_as_wide(language: str) -> None:
    result = played("lost-last-ack", "zh" if language == "zh" else "en")
    file = io.StringIO()
    narrate(Console(file=file, force_terminal=True, color_system="standard", width=82), result)
    assert "\x1b[1;35mTIME_WAIT\x1b[0m" in file.getvalue()
    plain = re.sub(r"\x1b\[[\d;]*m", "", file.getvalue())
    assert max(columns(line) for line in plain.splitlines() if "|" not in line) <= 82
    rows = ladder_of(render_text(result.rungs, 82, ("客户端", "服务器") if language == "zh" else ("client", "server")))
    assert ladder_of(plain) == rows
    notes = "".join(rung.note for rung in result.rungs if rung.note is not None)
    indented = "".join(line for line in plain.splitlines() if re.match(r" {11}\S", line))
    assert re.sub(r"\s", "", indented) == re.sub(r"\s", "", notes)


def test_the_width_is_what_one_asks_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "three-way", "--width", "120"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) == 120


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", [*NAMES, "--list"])
def test_the_smallest_width(name: str, language: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", name, "--lang", language, "--width", "40"]) == 0
    assert max(map(columns, capsys.readouterr().out.splitlines())) <= 40


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(NAMES)
    assert main(["demo", "--list", "--lang", "zh"]) == 0
    assert "四次挥手" in capsys.readouterr().out


def test_a_picture_a_page_and_a_capture_are_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    svg, html, pcap = (tmp_path / f"scene.{kind}" for kind in ("svg", "html", "pcap"))
    arguments = ["demo", "four-way", "--lang", "zh", "--svg", str(svg), "--html", str(html), "--pcap", str(pcap)]
    assert main(arguments) == 0
    picture = svg.read_text(encoding="utf-8")
    assert ET.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314  # our own
    assert "四次挥手" in picture
    assert "FIN_WAIT_2" in html.read_text(encoding="utf-8")
    assert pcap.read_bytes() == played("four-way").capture
    assert pcap.read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"
    assert "four-way" in capsys.readouterr().out


def test_all_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "new" / "pictures"
    assert main(["demo", "all", "--svg-dir", str(directory)]) == 0
    assert capsys.readouterr().out.split() == [str(directory / f"{name}.svg") for name in NAMES]
    assert {path.name for path in directory.iterdir()} == {f"{name}.svg" for name in NAMES}
    assert main(["demo", "all"]) == 0
    out = capsys.readouterr().out
    assert [line.partition(":")[0] for line in out.splitlines() if line.partition(":")[0] in NAMES] == list(NAMES)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["five-way"], "no scene is called 'five-way'. The scenes are four-way, three-way"),
        (["four-way", "--lang", "fr"], "'fr' is not one of 'en', 'zh'"),
        (["four-way", "--width", "3"], "--width"),
        (["four-way", "--port", "9000"], "--port is for the demo without a SCENE"),
        (["four-way", "--svg-dir", "."], "--svg-dir is for all scenes"),
        (["all", "--svg", "x.svg"], "--svg is for one SCENE"),
        (["--lang", "zh"], "--lang is for a SCENE"),
        (["--pcap", "x.pcapng"], "--pcap is for a SCENE"),
        (["four-way", "--svg", "."], "is a directory"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_status_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("option", ["--svg", "--html", "--pcap"])
def test_a_file_that_cannot_be_written_is_one_line_and_status_1(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "missing" / "file"
    assert main(["demo", "three-way", option, str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"utcp demo: {path}: No such file or directory\n"


def test_a_directory_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["demo", "all", "--svg-dir", str(tmp_path / "file" / "below")]) == 1
    assert "below: Not a directory" in capsys.readouterr().err


def test_a_scene_that_went_otherwise_gives_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(Stage, "expect_time_wait", lambda stage, end, _: stage.expect(end, "short", "long"))
    assert main(["demo", "three-way"]) == 1
    assert capsys.readouterr().err == "utcp demo: three-way: client: short, not long\n"
    assert main(["demo", "all", "--svg-dir", str(tmp_path)]) == 1
    assert "utcp demo: three-way: client: short, not long\n" in capsys.readouterr().err


def test_a_reader_that_has_gone_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "utcp", "demo", "all"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode in (
        0,
        1,
        141,
    )  # all may have been in the pipe before; click ends with 1, the shell's is 141


def test_an_output_that_knows_no_chinese_is_no_error() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "utcp", "demo", "three-way", "--lang", "zh"],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        timeout=200,
    )
    assert finished.returncode == 0
    assert finished.stderr == b""
    assert b"FIN_WAIT_1" in finished.stdout


def test_the_command_imports_nothing_heavy() -> None:
    code = "import sys, utcp.cli.demo; print(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)  # noqa: S603
    imported = set(finished.stdout.split())
    assert "utcp.cli.demo" in imported
    assert not imported & {"rich", "utcp.testing", "utcp.scenes", "utcp.trace.ladder"}
