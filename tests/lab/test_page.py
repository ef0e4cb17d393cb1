"""What the document of the laboratory's page consists of."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from utcp.tcp.state import NAMES
from utcp.trace.ladder.page import SCRIPTS, render, script

PAGE = files("utcp.trace.ladder.page")


def source(name: str) -> str:
    return PAGE.joinpath("js", f"{name}.js").read_text("utf-8")


def test_the_document_loads_nothing() -> None:
    html = render(None)
    assert not re.search(r"\ssrc=|@import|url\(|import\(", html)
    assert re.findall(r"<link[^>]*>", html) == ['<link rel="icon" href="data:,">']
    assert set(re.findall(r"https?://[^\"' ]*", html)) == {"http://www.w3.org/2000/svg"}
    assert html.count("{css}") + html.count("{js}") + html.count("{data}") + html.count("{texts}") == 0


def test_a_self_contained_document_holds_its_data_and_no_markup_of_them() -> None:
    data = {"address": "x", "title": '</script><script>alert("x")</script> <!-- {js} &amp;'}
    html = render(data)
    assert html.count("<script") == render(None).count("<script")
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    assert json.loads(found[1]) == data


def test_every_module_is_in_the_document_after_those_that_it_imports() -> None:
    names = {Path(path.name).stem for path in PAGE.joinpath("js").iterdir()}
    assert names == set(SCRIPTS)
    for index, name in enumerate(SCRIPTS):
        imported = set(re.findall(r'^import .* from "\./(\w+)\.js";$', source(name), re.MULTILINE))
        assert imported <= set(SCRIPTS[:index]), name
        assert source(name).count("\nimport ") + source(name).startswith("import ") == len(imported), name
    assert "\nimport " not in script()
    assert "\nexport " not in script()


@pytest.mark.skipif(shutil.which("node") is None, reason="the syntax of scripts is checked by node")
@pytest.mark.parametrize("name", [*SCRIPTS, None])
def test_scripts_have_no_syntax_error(name: str | None) -> None:
    """Each by itself, and all in one: their names do not collide."""
    text = script() if name is None else source(name)
    node = shutil.which("node") or ""
    checked = subprocess.run(  # noqa: S603  # our own scripts
        [node, "--check", "--input-type=module"], input=text, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_every_text_is_used_and_in_both_languages() -> None:
    texts = tomllib.loads(PAGE.joinpath("texts.toml").read_text("utf-8"))
    html = PAGE.joinpath("page.html").read_text("utf-8")
    used = set(re.findall(r'data-(?:text|label|title)="(\w+)"', html))
    scripts = script()
    for name, text in texts.items():
        assert set(text) == {"en", "zh"}, name
        assert all(text.values()), name
        assert set(re.findall(r"\{\w+\}", text["en"])) == set(re.findall(r"\{\w+\}", text["zh"])), name
        assert name in used or f'"{name}"' in scripts or name.startswith("field_"), f"{name} is not used"
    assert used <= set(texts)
    assert set(re.findall(r'say\("(\w+)"', scripts)) <= set(texts)


def test_every_state_has_a_colour() -> None:
    html = render(None)
    for state in range(len(NAMES)):
        assert f".state-{state}{{--state:#" in html
