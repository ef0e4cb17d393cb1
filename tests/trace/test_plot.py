"""Pictures: that they are drawn, are the same twice, and show what the series say."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.trace.transfers import transfer
from utcp.trace.capture_file import read_capture
from utcp.trace.connections import End, find_connections
from utcp.trace.plot import PANELS, save_plot
from utcp.trace.series import Mark, Point, Series, Span, series_of

pytest.importorskip("matplotlib", reason="matplotlib, which draws the plots, is not installed")

CLIENT = End("192.0.2.1", None, 50000)
SERVER = End("192.0.2.2", None, 80)


@pytest.fixture(scope="module")
def lossy(tmp_path_factory: pytest.TempPathFactory) -> Series:
    """A transfer with losses and a timeout, as both ends saw it."""
    path = tmp_path_factory.mktemp("plots") / "lossy.pcapng"
    transfer(path, at="both", loss=0.25, octets=60_000, seed=5)
    captured = read_capture(path)
    (connection,) = find_connections([captured])
    return series_of([captured], connection, "client")


def texts(path: Path) -> list[str]:
    """What is written in an SVG."""
    root = ET.parse(path).getroot()  # noqa: S314  # it is ours
    return ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_the_same_series_are_the_same_octets(tmp_path: Path, lossy: Series, suffix: str) -> None:
    pictures = []
    for name in ("one", "two"):
        file = (tmp_path / name).with_suffix(suffix)
        save_plot(lossy, file)
        pictures.append(file.read_bytes())
    assert pictures[0] == pictures[1]
    assert pictures[0].startswith({".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}[suffix])


def test_what_happened_is_named(tmp_path: Path, lossy: Series) -> None:
    file = tmp_path / "all.svg"
    save_plot(lossy, file, title="A title")
    words = texts(file)
    assert "A title" in words
    for word in ("data sent", "retransmitted", "lost", "acknowledged", "selectively acknowledged", "SYN", "FIN", "RTO"):
        assert word in words, word
    for word in ("congestion window (cwnd)", "slow start threshold (ssthresh)", "in flight", "smoothed (srtt)"):
        assert word in words, word
    assert words.count("RTO") == sum(span.timer == "retransmit" for span in lossy.spans)


def test_every_mark_is_in_the_legend(tmp_path: Path, lossy: Series) -> None:
    lossy.spans.append(Span(0.01, 1, 1001, again=False, copy=True))
    lossy.marks.append(Mark(0.02, 1, "RST", by_sender=False))
    file = tmp_path / "all.svg"
    save_plot(lossy, file, ["sequence"])
    lossy.spans.pop()
    lossy.marks.pop()
    words = texts(file)
    for word in (
        "retransmitted",
        "duplicate by the network",
        "lost",
        "SYN, FIN of the sender",
        "SYN, FIN of the receiver",
        "RST of the receiver",
        "retransmission timeout",
    ):
        assert words.count(word) == 1, word


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_alone(tmp_path: Path, lossy: Series, panel: str) -> None:
    file = tmp_path / "panel.svg"
    save_plot(lossy, file, [panel])
    labels = {"sequence": "sequence number, bytes from SYN", "cwnd": "bytes", "rtt": "round-trip time, ms"}
    assert [label for label in labels.values() if label in texts(file)] == [labels[panel]]


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    series = Series(CLIENT, SERVER)
    series.outstanding.append(Point(0.0, 1))
    file = tmp_path / "little.svg"
    save_plot(series, file)
    words = texts(file)
    assert any(word.startswith("this capture has no cwnd and ssthresh") for word in words)
    assert "this capture shows no round-trip time" in words
    assert f"{CLIENT} to {SERVER}" in words


def test_a_window_far_above_does_not_flatten_the_rest(tmp_path: Path) -> None:
    series = Series(CLIENT, SERVER, spans=[Span(0.0, 1, 1001, again=False), Span(1.0, 1001, 2001, again=False)])
    series.acks = [Point(0.5, 1001)]
    series.window = [Point(0.5, 10_000_000)]
    series.marks = [Mark(0.0, 0, "SYN", by_sender=True)]
    file = tmp_path / "window.svg"
    save_plot(series, file, ["sequence"])
    words = texts(file)
    assert "receiver's window (mostly above)" in words
    assert not any(re.fullmatch(r"[\d.]+ M", word) for word in words)


def test_many_marks_are_an_image_in_the_svg(tmp_path: Path) -> None:
    spans = [Span(number / 1000, number * 10, number * 10 + 10, again=False) for number in range(20_000)]
    series = Series(CLIENT, SERVER, spans=spans)
    file = tmp_path / "many.svg"
    save_plot(series, file, ["sequence"])
    assert file.stat().st_size < 500_000
    assert b"<image" in file.read_bytes()


def test_other_suffixes_are_refused(tmp_path: Path, lossy: Series) -> None:
    with pytest.raises(ValueError, match=r"ends in \.svg, \.png, \.pdf"):
        save_plot(lossy, tmp_path / "plot.bmp")
