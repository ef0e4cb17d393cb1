"""The responses of the laboratory: JSON in both languages, errors in words, nothing outside."""

import json
import re
from typing import Any
from urllib.parse import urlencode

import pytest

from utcp.lab import EXERCISES, Experiment, respond
from utcp.lab.catalogue import LIKE
from utcp.lab.contained import contained
from utcp.lab.experiment import ACTIONS, EDITS, KINDS, SCENES
from utcp.lab.play import play
from utcp.lab.settings import SETTINGS
from utcp.scenes.stage import state_names

CHINESE = re.compile("[\u4e00-\u9fff]")


def get(path: str, **query: str) -> Any:
    response = respond(f"{path}?{urlencode(query)}")
    assert response.status == 200, response.body
    assert response.content_type == "application/json"
    return json.loads(response.body)


def test_the_page() -> None:
    response = respond("/")
    assert response.status == 200
    assert response.content_type.startswith("text/html")
    assert response.body.startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_catalogue(language: str) -> None:
    found = get("/api/catalogue", lang=language)
    for key, names in {
        "scenes": SCENES, "settings": SETTINGS, "edits": EDITS, "kinds": KINDS, "actions": ACTIONS,
        "exercises": EXERCISES,
    }.items():  # fmt: skip
        assert [each["name"] for each in found[key]] == list(names)
    for scene in found["scenes"]:
        assert 0 < scene["few"] <= len(scene["settings"])
        assert set(scene["settings"]) <= set(SETTINGS)
    said = json.dumps([found["settings"], found["exercises"], found["transitions"]], ensure_ascii=False)
    assert bool(CHINESE.search(said)) == (language == "zh")
    for exercise in found["exercises"]:
        assert "solution" not in exercise
        assert bool(CHINESE.search(exercise["hint"])) == (language == "zh")


def test_a_run_in_chinese_is_the_same_run() -> None:
    address = "lost-last-ack?msl=2&lose=8&inject=client@1.3:RST&lose=77"
    english, chinese = (get("/api/run", lang=language, address=address) for language in ("en", "zh"))
    assert english["digest"] == chinese["digest"]
    assert english["ending"]["kind"] == chinese["ending"]["kind"]
    for left, right in zip(english["rungs"], chinese["rungs"], strict=True):
        assert left["arrow"] == right["arrow"]
        assert left["packet"] == right["packet"]
        said = [*right["said"], *(reason["text"] for reason in right["decision"])]
        assert all(map(CHINESE.search, said)), said
        assert not any(map(CHINESE.search, left["said"]))
    for ours, theirs in zip(english["edits"], chinese["edits"], strict=True):
        assert ours["part"] == theirs["part"]
        assert CHINESE.search(theirs["text"])


def test_a_comparison_marks_the_first_difference() -> None:
    found = get("/api/compare", address="four-way?lose=9")
    was, now = (found[key]["rungs"][found["first"][key]] for key in ("was", "now"))
    assert was["packet"] == now["packet"] == 9
    assert [was["fate"], now["fate"]] == ["arrived", "lost"]
    assert found["first"]["text"] == "Here the same segment has another fate."
    assert get("/api/compare", address="four-way?lose=99")["first"] is None


def test_a_comparison_with_another_experiment() -> None:
    found = get("/api/compare", **{"address": "four-way?msl=2", "with": "four-way?msl=3"})
    assert [found[key]["parts"] for key in ("was", "now")] == [["msl=3"], ["msl=2"]]
    assert found["first"]["text"] == "Here the same thing happens at another time."


def test_a_check() -> None:
    assert get("/api/check", exercise="syn-again", address="four-way?lose=1")["solved"]
    assert not get("/api/check", exercise="syn-again", address="four-way")["solved"]


@pytest.mark.parametrize(
    ("target", "status", "said"),
    [
        ("/api/run?address=nothing", 400, "No scene is called 'nothing'"),
        ("/api/run", 400, "No scene is called ''"),
        ("/api/run?lang=zh&address=four-way%3Flose%3Dx", 400, "没有指明报文"),
        ("/api/run?lang=fr&address=four-way", 400, "The language must be en or zh, not 'fr'"),
        ("/api/check?exercise=x&address=four-way", 400, "No exercise is called 'x'"),
        ("/api/nothing", 404, "The laboratory has no page '/api/nothing'"),
        ("/../etc/passwd", 404, "The laboratory has no page"),
    ],
)
def test_what_is_wrong_is_said(target: str, status: int, said: str) -> None:
    response = respond(target)
    assert response.status == status
    assert said in json.loads(response.body)["error"]


def test_a_capture_is_not_simulated() -> None:
    assert json.loads(respond("/api/catalogue", {"address": ""}).body)["capture"] == {"address": ""}
    assert respond("/api/run?address=four-way", {"address": ""}).status == 400


def test_a_contained_experiment_has_both_languages() -> None:
    found = contained(Experiment.from_address("four-way?lose=9"))
    assert found["experiments"] is False
    assert 'utcp lab "four-way?lose=9"' in found["why"]["en"]
    assert found["en"]["comparison"]["first"]["now"] == found["zh"]["comparison"]["first"]["now"]
    assert contained(Experiment(scene="four-way"))["en"]["comparison"] is None


@pytest.mark.parametrize("name", LIKE)
def test_a_script_of_ones_own_like_a_scene(name: str) -> None:
    own, scene = play(Experiment.from_address(LIKE[name])), play(Experiment(scene=name))
    if name == "half-close":  # the second connection of the scene is left out
        assert state_names(scene.paths["client"]).startswith(state_names(own.paths["client"]))
    else:
        assert own.paths == scene.paths


@pytest.mark.parametrize("target", ["//[", "//[/?lang=en", "http://[", "", "/api"])
def test_a_target_that_is_no_page(target: str) -> None:
    assert respond(target).status == 404


def test_an_error_repeats_no_more_than_the_beginning_of_a_long_address() -> None:
    body = respond(f"/api/run?{urlencode({'address': 'x' * 20_000})}").body
    assert "xxx…'" in json.loads(body)["error"]
    assert len(body) < 500
