"""Texts in two languages."""

import pytest

from utcp.scenes.text import Text, preferred_language


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
