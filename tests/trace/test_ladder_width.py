"""How wide text is, and where its lines break."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp.trace.ladder.rungs import duration
from utcp.trace.ladder.width import columns, ems, pad, wrap


def test_chinese_characters_take_two_columns_and_combining_ones_none() -> None:
    assert columns("abc") == 3
    assert columns("报文段ACK") == 9
    assert columns("，") == 2
    assert columns("e\u0301") == 1
    assert pad("客户端", 8) == "客户端  "
    assert ems("报文") == 2
    assert ems("ab") < 1.5


def test_lines_break_at_spaces() -> None:
    assert wrap("one two three four", 6) == ["one two", "three four"]
    assert wrap("one", 0.1) == ["one"]
    assert wrap("a-word-that-is-too-long for it", 3.2) == ["a-word-that-is-too-long", "for it"]
    assert wrap("", 10) == [""]
    assert wrap("first\nsecond", 100) == ["first second"]


def test_lines_break_between_chinese_characters_but_not_before_their_punctuation() -> None:
    text = "客户端先关闭，服务器还有两句话要说。"
    lines = wrap(text, 6)
    assert "".join(lines) == text
    assert all(ems(line) <= 7 for line in lines)  # a comma hangs over
    assert not any(line[0] in "，。" for line in lines)
    assert wrap("长度是三,对.", 3) == ["长度是", "三,", "对."]
    assert wrap("发送 FIN 之后", 4) == ["发送", "FIN 之", "后"]


def test_lines_of_a_terminal_are_measured_in_columns() -> None:
    assert wrap("one two three", 8, columns) == ["one two", "three"]
    assert wrap("客户端发出 FIN，进入 FIN_WAIT_1。", 17, columns) == ["客户端发出 FIN，", "进入 FIN_WAIT_1。"]
    assert wrap("客户端（主动关闭方）", 8, columns) == ["客户端", "（主动关", "闭方）"], (
        "no line ends with an opening bracket"
    )
    assert wrap("", 10, columns) == [""]


PIECES = ["one ", "two, ", "FIN_WAIT_1 ", "客户端", "关闭，", "（主动关闭方）", "“不再发送”", "ACK。", " "]


@given(st.lists(st.sampled_from(PIECES)), st.integers(14, 40))
def test_lines_fit_and_nothing_is_lost(pieces: list[str], width: int) -> None:
    text = "".join(pieces)
    lines = wrap(text, width, columns)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    for line in lines:
        assert columns(line) <= width
        assert line == line.strip()
        assert line[:1] not in set("，。）”")
        assert line[-1:] not in set("（“")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0000123, "12.3 µs"),
        (0.00031, "0.31 ms"),
        (0.04, "40 ms"),
        (0.9996, "1 s"),
        (1.25, "1.25 s"),
        (60.0004, "60 s"),
        (119.4, "119 s"),
        (120, "2 min"),
        (125.2, "2 min 5 s"),
        (-0.04, "-40 ms"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
