"""Each scene plays as its golden ladder has it, every time, in both languages; and would notice if it did not."""

import ast
import re
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from string import Formatter

import pytest

import utcp.scenes
from tests.scenes.goldens import DRAWN, LADDERS, PICTURES, ladder, played
from utcp import Config
from utcp.aio.endpoint import Endpoint
from utcp.cli import narration
from utcp.scenes import NAMES, load
from utcp.scenes.lost_last_ack import LosesLastAck
from utcp.scenes.scene import Result
from utcp.scenes.stage import Handler, Stage
from utcp.scenes.text import Text, read_texts, texts_of
from utcp.testing import PASS, Packet, Verdict
from utcp.trace.ladder import Arrow
from utcp.wire import FIN

SCENES = Path(utcp.scenes.__file__).parent
CHINESE = re.compile("[\u4e00-\u9fff]")
NARRATION = "narration"
"""The file of the texts that stand around every scene."""
SHOWING = {"stage.note", "stage.text", "stage.exhibit"}

each = pytest.mark.parametrize("name", NAMES)


def arrows(result: Result) -> list[Arrow]:
    return [rung.arrow for rung in result.rungs if rung.arrow is not None]


@each
def test_the_scene_finds_that_all_was_right(name: str) -> None:
    assert played(name).differences == ()


@each
def test_the_ladder_is_the_expected_one(name: str) -> None:
    """What has changed on purpose is written anew by `python -m tests.scenes.regenerate`."""
    assert ladder(name) == (LADDERS / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DRAWN)
def test_the_picture_is_the_expected_one(name: str) -> None:
    """`python -m tests.scenes.regenerate --pictures`"""
    assert DRAWN[name]() == (PICTURES / name).read_text(encoding="utf-8")


@each
def test_a_second_time_everything_is_the_same(name: str) -> None:
    first, second = played(name), load(name).play()
    assert second.rungs == first.rungs
    assert second.exhibits == first.exhibits
    assert second.capture == first.capture


@each
def test_chinese_tells_the_same_story(name: str) -> None:
    english, chinese = played(name), played(name, "zh")
    assert [replace(rung, note=None) for rung in chinese.rungs] == [replace(rung, note=None) for rung in english.rungs]
    assert chinese.differences == ()
    assert chinese.capture == english.capture
    for ours, theirs in zip(english.rungs, chinese.rungs, strict=True):
        assert (ours.note is None) == (theirs.note is None)
        if ours.note is not None and theirs.note is not None:
            assert not CHINESE.search(ours.note)
            assert CHINESE.search(theirs.note)
    assert [len(exhibit.lines) for exhibit in chinese.exhibits] == [len(exhibit.lines) for exhibit in english.exhibits]


def test_every_scene_is_in_the_list() -> None:
    modules = {path.stem.replace("_", "-") for path in SCENES.glob("*.py") if "\nSCENE: Final" in path.read_text()}
    assert modules == set(NAMES)
    assert [load(name).name for name in NAMES] == list(NAMES)
    with pytest.raises(KeyError):
        load("five-way")


def texts(name: str) -> list[Text]:
    """Every text of a scene, or what stands around all scenes."""
    if name == NARRATION:
        return list(texts_of(read_texts(name)).values())
    scene = load(name)
    return [*scene.before, *scene.after, scene.title, *scene.texts.values()]


@pytest.mark.parametrize("name", [*NAMES, NARRATION])
def test_every_text_is_in_both_languages(name: str) -> None:
    for text in texts(name):
        assert not CHINESE.search(text.en)
        assert CHINESE.search(text.zh)
        assert values(text.en) == values(text.zh), "the same values are told in both"


def values(text: str) -> list[tuple[str, str]]:
    return sorted((field, spec or "") for _, field, spec, _ in Formatter().parse(text) if field is not None)


@each
def test_a_scene_shows_all_its_texts_and_no_other(name: str) -> None:
    scene = load(name)
    assert scene.before
    assert scene.after
    assert set(read_texts(name)) == {"title", "before", "after", "sources", "knobs", "texts"}
    tree = ast.parse((SCENES / f"{name.replace('-', '_')}.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    shown = [ast.literal_eval(call.args[0]) for call in calls if ast.unparse(call.func) in SHOWING]
    assert set(shown) == set(scene.texts)


def test_what_stands_around_the_scenes_is_shown() -> None:
    assert {path.stem for path in (SCENES / "texts").iterdir()} == {*NAMES, NARRATION}
    code = Path(str(narration.__file__)).read_text()
    assert set(re.findall(r'texts\["(\w+)"\]', code)) == set(read_texts(NARRATION))


@each
def test_the_knobs_are_those_of_config(name: str) -> None:
    assert set(load(name).knobs.split(", ")) <= {field.name for field in fields(Config)}


# --- what each scene is for, beyond what it checks itself


def test_late_ack_shows_which_segments_were_needless() -> None:
    fins = [arrow for arrow in arrows(played("late-ack")) if arrow.sender == "client" and arrow.flags & FIN]
    first, *again = fins
    assert first.received is not None
    assert [arrow.retransmission for arrow in fins] == [False, True, True]
    assert all(arrow.sent is not None and arrow.sent > first.received for arrow in again), "the first had arrived"
    assert {arrow.seq for arrow in fins} == {30}
    proper = [arrow for arrow in arrows(played("four-way")) if arrow.retransmission]
    assert proper == []


def test_old_duplicate_shows_what_was_corrupted() -> None:
    corrupted, intact = played("old-duplicate").exhibits
    assert any("OLD" in line for line in corrupted.lines)
    assert not any("OLD" in line for line in intact.lines)


# --- a scene that goes otherwise says so


def test_timestamps_would_see_through_the_old_duplicate(monkeypatch: pytest.MonkeyPatch) -> None:
    """PAWS is why the scene turns them off."""
    module = import_module("utcp.scenes.old_duplicate")
    monkeypatch.setattr(module, "WITHOUT", replace(module.WITHOUT, timestamps=True, mss=module.SEGMENT + 12))
    result = module.SCENE.play()
    assert "what was read without 2 MSL is the corrupted stream: False, not True" in result.differences
    assert not any("OLD" in line for line in result.exhibits[0].lines)


@pytest.mark.parametrize("name", ["lost-last-ack", "no-time-wait", "syn-hits-last-ack"])
def test_without_the_loss_the_scenes_of_the_last_ack_differ(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose_nothing(_: LosesLastAck, __: Packet) -> Verdict:
        return PASS

    monkeypatch.setattr(LosesLastAck, "__call__", lose_nothing)
    assert load(name).play().differences


def test_the_knob_decides_what_a_syn_gets_in_last_ack(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Stage.server_endpoint

    async def challenging(stage: Stage, handler: Handler) -> Endpoint:
        return await original(stage, handler, Config(syn_in_last_ack="challenge"))

    monkeypatch.setattr(Stage, "server_endpoint", challenging)
    result = load("syn-hits-last-ack").play()
    assert result.differences == ("the connection: opened, not refused",)
