"""Ladders as SVG: read back as XML, and checked for what stands where."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from math import cos, radians, sin
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.trace.ladders import Ends, lossy_close
from utcp.tcp.state import CLOSE_WAIT, CLOSED, ESTABLISHED, FIN_WAIT_1, LAST_ACK, LISTEN, SYN_RCVD, SYN_SENT, TIME_WAIT
from utcp.trace.ladder import Arrow, Rung, render_svg
from utcp.trace.ladder.place import Line, place
from utcp.trace.ladder.style import PAGE_STYLE
from utcp.trace.ladder.words import is_late
from utcp.wire import ACK, FIN, PSH, SYN

SVG = "{http://www.w3.org/2000/svg}"
GOLDEN = Path(__file__).parent / "golden"


def drawing(rungs: Sequence[Rung], **options: str) -> ET.Element:
    return ET.fromstring(render_svg(rungs, **options))  # type: ignore[arg-type]  # noqa: S314  # it is ours


def of_class(root: ET.Element, *names: str) -> list[ET.Element]:
    return [element for element in root.iter() if set(names) <= set(element.get("class", "").split())]


def text(element: ET.Element) -> str:
    return "".join(element.itertext())


def numbers(element: ET.Element, attribute: str = "d") -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", element.get(attribute, ""))]


def arrow(sender: str, ms: float, until: float | None, seq: int = 1, length: int = 0, flags: int = ACK) -> Arrow:
    assert sender in ("client", "server")
    received = None if until is None else until / 1000
    return Arrow(sender, flags, seq, 1, length, ms / 1000, received, retransmission=False)  # type: ignore[arg-type]


def test_the_same_rungs_give_the_same_bytes() -> None:
    """Those of the golden file, which is looked at when it changes."""
    svg = render_svg(lossy_close().recorder.rungs(), title="A FIN is lost")
    assert svg == render_svg(lossy_close().recorder.rungs(), title="A FIN is lost")
    assert svg == (GOLDEN / "lossy_close.svg").read_text()
    assert len(svg.encode()) < 9000


def test_nothing_is_loaded_and_nothing_runs() -> None:
    svg = render_svg(lossy_close().recorder.rungs())
    assert "<script" not in svg
    assert not re.search(r"(href|src|url\(|@import)", svg)
    assert re.findall(r"https?://[^\"]*", svg) == ["http://www.w3.org/2000/svg"]
    assert "prefers-color-scheme:dark" in svg


def test_it_tells_what_it_shows_to_those_who_cannot_see_it() -> None:
    root = drawing(lossy_close().recorder.rungs(), title='FIN & "ACK" <lost>')
    assert root.get("role") == "img"
    named = root.get("aria-labelledby", "").split()
    title, description = (next(element for element in root if element.get("id") == name) for name in named)
    assert title.tag == f"{SVG}title"
    assert title.text == 'FIN & "ACK" <lost>'
    assert description.tag == f"{SVG}desc"
    assert description.text is not None
    assert description.text.startswith("7 segments, 1 lost, 1 retransmitted. States of the client: CLOSED, SYN_SENT,")
    assert "LAST_ACK, CLOSED." in description.text


def test_states_are_bars_along_each_line() -> None:
    root = drawing(lossy_close().recorder.rungs())
    bars = [element for element in root.iter(f"{SVG}rect") if re.fullmatch(r"s\d+", element.get("class", ""))]
    columns: dict[str, list[ET.Element]] = {}
    for bar in bars:
        columns.setdefault(bar.get("x", ""), []).append(bar)
    states = [[int(bar.get("class", "")[1:]) for bar in column] for column in columns.values()]
    assert states == [
        [CLOSED, SYN_SENT, ESTABLISHED, FIN_WAIT_1, TIME_WAIT, CLOSED],
        [LISTEN, SYN_RCVD, ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSED],
    ]
    for column in columns.values():
        for before, after in pairwise(column):
            end = float(before.get("y", "")) + float(before.get("height", ""))
            assert end == pytest.approx(float(after.get("y", "")), abs=0.11)
            assert float(before.get("height", "")) >= 14  # room for its name
    assert [text(name) for name in of_class(root, "state", "l")] == [
        "CLOSED",
        "SYN_SENT",
        "ESTABLISHED",
        "FIN_WAIT_1",
        "TIME_WAIT",
        "CLOSED",
    ]


def test_lost_segments_end_in_a_cross_on_the_way() -> None:
    root = drawing(lossy_close().recorder.rungs())
    (line,) = of_class(root, "arrow", "lost")
    (cross,) = of_class(root, "cross")
    x1, y1, x2, y2 = numbers(line)
    cross_x, cross_y = numbers(cross)[:2]
    assert (cross_x + 6, cross_y + 6) == pytest.approx((x2, y2), abs=0.11)
    across = {x for arrow in of_class(root, "arrow") for x in numbers(arrow)[::2]} - {x2}
    assert x1 < x2 < max(across) - 50
    assert y2 > y1
    (label,) = of_class(root, "label", "lost")
    assert text(label) == "FIN,ACK seq=1 ack=1 · lost"


def test_retransmissions_and_the_timers_behind_them_are_marked() -> None:
    root = drawing(lossy_close().recorder.rungs())
    (label,) = of_class(root, "label", "again")
    assert text(label) == "FIN,ACK seq=1 ack=1 · retransmission"
    (timer,) = of_class(root, "timer")
    assert text(timer) == "retransmit"
    assert len(of_class(root, "clock")) == 1
    (line,) = of_class(root, "arrow", "again")
    assert float(timer.get("y", "")) == pytest.approx(numbers(line)[1] + 4, abs=0.11)


def test_a_timer_that_leads_to_a_state_stands_above_it() -> None:
    rungs = [Rung(0.0, ESTABLISHED, ESTABLISHED), Rung(1.0, server=CLOSED, expired=("server", 4))]
    root = drawing(rungs)
    (timer,) = of_class(root, "timer")
    closed = of_class(root, "state", "r")[-1]
    assert (text(timer), text(closed)) == ("fin wait 2", "CLOSED")
    assert float(closed.get("y", "")) - float(timer.get("y", "")) >= 14


def test_long_silences_are_broken_and_their_length_is_written() -> None:
    root = drawing(lossy_close().recorder.rungs())
    assert [text(silence) for silence in of_class(root, "silence")] == ["7 ms", "200 ms", "999 ms"]
    height = float(root.get("height", ""))
    assert height < 700  # 1212 ms, of which 1209 are silent


def test_time_wait_has_its_span_at_the_side() -> None:
    rungs = lossy_close().recorder.rungs()
    assert [text(span) for span in of_class(drawing(rungs), "stay-text")] == ["2 MSL: 1 s"]
    fin = Arrow("server", FIN | ACK, 1, 2, 0, sent=0.5, received=0.501, retransmission=True)
    restarted = [*rungs[:-1], Rung(0.5, arrow=fin), Rung(1.501, client=CLOSED)]
    root = drawing(restarted)
    assert [text(span) for span in of_class(root, "stay-text")] == ["2 MSL: 1 s"]
    assert len(of_class(root, "before")) == 1
    reused = [*rungs[:-1], Rung(0.5, client=CLOSED, arrow=arrow("server", 500, 501, flags=SYN))]
    assert [text(span) for span in of_class(drawing(reused), "stay-text")] == ["cut short: 289 ms"]
    assert not of_class(drawing(rungs[:-1]), "stay-text")  # nobody knows how long it will be


def test_arrows_slant_by_their_time_under_way_and_never_backwards() -> None:
    rungs = [
        Rung(0.0, arrow=arrow("client", 0, 10, 1, 100)),
        Rung(0.001, arrow=arrow("client", 1, 30, 101, 100)),
        Rung(0.002, arrow=arrow("client", 2, 12, 201, 100)),
        Rung(0.05, arrow=arrow("server", 50, 50)),
    ]
    assert [is_late(rungs, index) for index in range(4)] == [False, True, False, False]
    root = drawing(rungs)
    lines = [numbers(line) for line in of_class(root, "arrow")]
    descents = [y2 - y1 for _, y1, _, y2 in lines]
    assert descents[1] > descents[0] > 10  # late
    assert lines[1][3] > lines[2][3]  # overtaken
    assert descents[3] == 0  # nobody knows how long it took
    labels = [text(label) for label in of_class(root, "label")]
    assert labels[1] == "ACK seq=101:201 ack=1 len=100 · late"
    assert [" · late" in label for label in labels] == [False, True, False, False]


def test_even_the_fastest_segment_descends() -> None:
    """Microseconds among milliseconds: still one sees which end was first."""
    rungs = [Rung(step / 10, arrow=arrow("client", step * 100, step * 100 + 10)) for step in range(3)]
    rungs.append(Rung(1.0, arrow=arrow("server", 1000, 1000.001)))
    lines = [numbers(line) for line in of_class(drawing(rungs), "arrow")]
    assert lines[-1][3] - lines[-1][1] >= 10


def test_a_duplicate_comes_from_nowhere() -> None:
    ends = Ends()
    ends.open()
    data = ends.send("client", PSH | ACK, 1, 1, 10, b"x")
    ends.receive("server", data, 11)
    ends.receive("server", data, 12)
    root = drawing(ends.recorder.rungs())
    (line,) = of_class(root, "arrow", "copy")
    starts = {numbers(one)[0] for one in of_class(root, "arrow")}
    assert numbers(line)[0] > min(starts) + 50
    (label,) = of_class(root, "label", "copy")
    assert text(label).endswith(" · duplicate")


def test_notes_are_wrapped_and_escaped() -> None:
    ends = Ends()
    ends.open()
    note = "A note with <tags> & entities, " + "long enough for several lines. " * 6 + "关闭连接。" * 20
    ends.recorder.note(note, 0.01)
    root = drawing(ends.recorder.rungs(), names=("<客户端>", "a & b"))  # type: ignore[arg-type]
    (box,) = of_class(root, "note")
    (written,) = of_class(root, "note-text")
    lines = list(written)
    assert len(lines) >= 5
    assert "".join("".join(text(line).split()) for line in lines) == "".join(note.split())
    top, height = float(box.get("y", "")), float(box.get("height", ""))
    assert all(top < float(line.get("y", "")) < top + height for line in lines)
    assert [text(name) for name in of_class(root, "name")] == ["<客户端>", "a & b"]


def test_what_xml_does_not_know_is_left_out() -> None:
    root = drawing([Rung(0.0, note="a\x00\x1b[31m note\ud800\uffff")], title="\x07title")
    assert [text(note) for note in of_class(root, "note-text")] == ["a[31m note"]
    assert [text(title) for title in of_class(root, "title")] == ["title"]


def test_a_note_waits_for_what_is_under_way() -> None:
    """Two FINs cross; what is said of them stands below."""
    rungs = [
        Rung(0.6, FIN_WAIT_1, arrow=arrow("client", 600, 650, flags=FIN | ACK)),
        Rung(0.6, server=FIN_WAIT_1, arrow=arrow("server", 600, 650, flags=FIN | ACK)),
        Rung(0.64, note="They have crossed."),
        Rung(0.65, arrow=arrow("client", 650, 700, 2)),
    ]
    root = drawing(rungs)
    (box,) = of_class(root, "note")
    top, bottom = float(box.get("y", "")), float(box.get("y", "")) + float(box.get("height", ""))
    first, second, third = (numbers(line) for line in of_class(root, "arrow"))
    assert max(first[3], second[3]) < top
    assert third[1] > bottom


def test_nothing_at_all() -> None:
    root = drawing([])
    assert root.tag == f"{SVG}svg"
    assert not of_class(root, "arrow")


def test_labels_do_not_cover_each_other() -> None:
    """Long ones in both directions at once, which cross: the page becomes wide enough for two side by side."""
    rungs = []
    for step in range(6):
        seq = 1448400001 + step * 1448
        for sender in ("client", "server"):
            flight = arrow(sender, step * 0.3, step * 0.3 + 1, seq, 1448)
            rungs.append(Rung(step * 0.0003, arrow=flight))
    root = drawing(rungs)
    labels = []
    for label in of_class(root, "label"):
        x, y, *turned = numbers(label, "transform")
        labels.append((x, y, radians(turned[0]) if turned else 0.0, 6.9 * len(text(label))))
    assert len(labels) == 12
    for index, (x, y, angle, width) in enumerate(labels):
        for other_x, other_y, other_angle, other_width in labels[:index] + labels[index + 1 :]:
            for step in range(0, int(width), 5):  # points along the base, seen from the other label
                dx, dy = x + step * cos(angle) - other_x, y + step * sin(angle) - other_y
                along = dx * cos(other_angle) + dy * sin(other_angle)
                above = dx * sin(other_angle) - dy * cos(other_angle)
                assert not (0 <= along <= other_width and 0 < above < 10), (index, step)


def test_a_label_evades_others_and_prefers_not_to_be_crossed() -> None:
    level = Line((0, 100), (400, 100), width=100, height=11, margin=10)
    labels, crowded = place({0: level}, rise=4)
    assert (labels[0].x, labels[0].y, labels[0].angle) == (10, 96, 0)
    crossing = Line((0, 80), (100, 140), width=0, height=11, margin=10)
    labels, crowded = place({0: level, 1: crossing}, rise=4)
    assert not crowded
    assert labels[0].x >= 27  # from there on the other is below it
    # Another label at the same place, which has no room elsewhere: one of the two has to wait for more.
    short = Line((0, 100), (120, 100), width=100, height=11, margin=10)
    labels, crowded = place({0: short, 1: short}, rise=4)
    assert crowded == [1]
    labels, crowded = place({0: short, 1: level}, rise=4)
    assert not crowded
    assert labels[1].x >= labels[0].x + 100


def test_steps_are_groups_in_front_and_behind() -> None:
    rungs = lossy_close().recorder.rungs()
    root = ET.fromstring(render_svg(rungs, steps=True))  # noqa: S314
    for index, rung in enumerate(rungs):
        groups = of_class(root, f"rung-{index}")
        assert len(groups) == (2 if rung.arrow else 1)


def test_a_page_brings_the_style_of_its_steps() -> None:
    rungs = lossy_close().recorder.rungs()
    assert "<style>" in render_svg(rungs)
    assert "<style>" not in render_svg(rungs, steps=True)
    for theme in ("@media(prefers-color-scheme:dark)", ":root[data-theme=dark]"):
        assert theme in PAGE_STYLE


def test_the_words_of_a_drawing_can_be_in_another_language() -> None:
    words = {"lost": "丢失", "retransmission": "重传", "retransmit": "重传"}
    svg = render_svg(lossy_close().recorder.rungs(), words=words)
    assert "丢失" in svg
    assert not {word for word in words if f"· {word}" in svg or f">{word}<" in svg}
