"""Capture files that Wireshark's tools and tcpdump have written are read as they are read by tshark."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.independent import tshark
from tests.independent.runs import PORT, converse, listener, octets, speaker
from tests.independent.tshark import needs_tshark
from utcp.trace.capture_file import Captured, read_capture
from utcp.wire import encode

FROM_CLIENT = octets(30_000, "client")
FROM_SERVER = octets(20_000, "server")


def run(*command: str) -> None:
    """Skips the test where the program is missing."""
    program = shutil.which(command[0])
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    subprocess.run([program, *command[1:]], check=True, capture_output=True, timeout=200)  # noqa: S603


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A connection under loss, by our own writer."""
    path = tmp_path_factory.mktemp("captures") / "original.pcapng"
    converse(path, speaker(FROM_CLIENT), listener(FROM_SERVER), seed=3, loss=0.03)
    return path


@needs_tshark
@pytest.mark.parametrize("form", ["tcp", "udp"])
def test_tshark_sees_the_same_segments(tmp_path: Path, form: str) -> None:
    path = tmp_path / "capture.pcapng"
    converse(
        path, speaker(FROM_CLIENT), listener(FROM_SERVER), seed=3, loss=0.03, form="tcp" if form == "tcp" else "udp"
    )
    names = ("ip.src", "tcp.srcport", "ip.dst", "tcp.dstport", "tcp.seq_raw", "tcp.ack_raw", "tcp.len", "tcp.flags")
    seen = tshark.fields(path, *names, decode_as=f"udp.port=={PORT},tcp" if form == "udp" else "")
    assert len(seen) > 50
    assert seen == [
        (
            captured.source[0],
            str(captured.segment.src_port),
            captured.destination[0],
            str(captured.segment.dst_port),
            str(captured.segment.seq),
            str(captured.segment.ack),
            str(len(captured.segment.payload)),
            f"0x{captured.segment.flags:04x}",
        )
        for captured in read_capture(path)
    ]


@pytest.mark.parametrize(("form", "unit"), [("pcapng", 1), ("nsecpcap", 1), ("pcap", 1000)])
def test_formats_of_editcap(original: Path, tmp_path: Path, form: str, unit: int) -> None:
    rewritten = tmp_path / "rewritten"
    run("editcap", "-F", form, str(original), str(rewritten))
    assert rewritten.read_bytes() != original.read_bytes()
    assert read_capture(rewritten) == [
        Captured(one.time_ns // unit * unit, one.source, one.destination, one.segment, one.comment, one.udp)
        for one in read_capture(original)
    ]


def test_comments_of_editcap(original: Path, tmp_path: Path) -> None:
    commented = tmp_path / "commented.pcapng"
    run("editcap", "-a", "2:état=ESTABLISHED", str(original), str(commented))
    comments = [captured.comment for captured in read_capture(commented)]
    assert comments[1] == "état=ESTABLISHED"
    assert not any(comments[:1] + comments[2:])


def test_packets_that_editcap_cut_off(original: Path, tmp_path: Path) -> None:
    """Lengths are whole: 20 octets of IP and at most 60 of TCP are left, and of long payloads the beginning."""
    short = tmp_path / "short.pcapng"
    run("editcap", "-s", "100", str(original), str(short))
    assert short.stat().st_size < original.stat().st_size / 3
    before, after = read_capture(original), read_capture(short)
    assert len(before) == len(after)
    for whole, cut in zip(before, after, strict=True):
        kept = 100 - 20 - (len(encode(whole.segment)) - len(whole.segment.payload))
        beginning = bytes(whole.segment.payload[:kept])
        assert cut.segment.payload == beginning + bytes(len(whole.segment.payload) - len(beginning))


def test_sections_of_mergecap(original: Path, tmp_path: Path) -> None:
    merged = tmp_path / "merged.pcapng"
    run("mergecap", "-a", "-w", str(merged), str(original), str(original))
    assert read_capture(merged) == 2 * read_capture(original)


def test_tcpdump(original: Path, tmp_path: Path) -> None:
    written = tmp_path / "written.pcap"
    run("tcpdump", "-r", str(original), "-w", str(written), "--time-stamp-precision=nano", "greater", "1000")
    expected = [captured for captured in read_capture(original) if len(captured.segment.payload) > 1000]
    assert expected
    assert read_capture(written) == [
        captured
        for captured in read_capture(original)
        if 20 + len(encode(captured.segment)) >= 1000  # with the IP header
    ]


@pytest.mark.parametrize("link", ["1", "101", "113", "276", "228", "0"])
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_links_of_text2pcap(tmp_path: Path, link: str, transport: str) -> None:
    """Headers of tcpdump's link types around a hexadecimal dump."""
    dump, written = tmp_path / "dump", tmp_path / "written.pcapng"
    headers = {"1": bytes(12) + b"\x08\0", "113": bytes(14) + b"\x08\0", "276": b"\x08\0" + bytes(18), "0": b"\2\0\0\0"}
    source = tmp_path / "source.pcapng"
    converse(source, speaker(b"short"), listener(b"too"), form="tcp" if transport == "tcp" else "udp")
    raw = tmp_path / "raw.pcap"
    run("editcap", "-F", "nsecpcap", str(source), str(raw))
    packets, at = [], 24
    content = raw.read_bytes()
    while at < len(content):
        length = int.from_bytes(content[at + 8 : at + 12], "little")
        packets.append(content[at + 16 : at + 16 + length])
        at += 16 + length
    dump.write_text("".join(f"000000 {(headers.get(link, b'') + packet).hex(' ')}\n" for packet in packets))
    run("text2pcap", "-l", link, str(dump), str(written))
    found, expected = read_capture(written), read_capture(source)
    assert [one.segment for one in found] == [one.segment for one in expected]
    assert [(one.source, one.destination, one.udp) for one in found] == [
        (one.source, one.destination, one.udp) for one in expected
    ]
    assert expected
