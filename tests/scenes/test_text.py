"""Texts in two languages, and their lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp.scenes.text import Text, preferred_language, wrap
from utcp.trace.ladder.width import columns


def test_a_text_has_both_languages() -> None:
    text = Text("{n} segments", "{n} 个报文段")
    assert (text.format(n=4).in_("en"), text.format(n=4).in_("zh")) == ("4 segments", "4 个报文段")
    for en, zh in (("", "有"), ("there", " ")):
        with pytest.raises(ValueError, match="both languages"):
            Text(en, zh)


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_TW"}, "zh"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LC_ALL": "en_GB.UTF-8", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LC_ALL": "zh_CN.UTF-8", "LANG": "en_GB.UTF-8"}, "zh"),
        ({"LC_ALL": "", "LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LC_MESSAGES": "zh_CN.UTF-8", "LANG": "de_DE.UTF-8"}, "zh"),
    ],
)
def test_the_locale_chooses_the_language(environment: dict[str, str], language: str) -> None:
    assert preferred_language(environment) == language


def test_lines_break_at_spaces_and_between_chinese_characters() -> None:
    assert wrap("one two three", 8) == ["one two", "three"]
    assert wrap("客户端发出 FIN，进入 FIN_WAIT_1。", 17) == ["客户端发出 FIN，", "进入 FIN_WAIT_1。"]
    assert wrap("客户端（主动关闭方）", 8) == ["客户端", "（主动关", "闭方）"], "no line ends with an opening bracket"
    assert wrap("", 10) == [""]


PIECES = ["one ", "two, ", "FIN_WAIT_1 ", "客户端", "关闭，", "（主动关闭方）", "“不再发送”", "ACK。", " "]


@given(st.lists(st.sampled_from(PIECES)), st.integers(14, 40))
def test_lines_fit_and_nothing_is_lost(pieces: list[str], width: int) -> None:
    text = "".join(pieces)
    lines = wrap(text, width)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    for line in lines:
        assert columns(line) <= width
        assert line == line.strip()
        assert line[:1] not in set("，。）”")
        assert line[-1:] not in set("（“")
