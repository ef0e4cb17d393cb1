"""The laboratory's page, as a user touches it: in a browser, by clicks and keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser import launched
from tests.lab.browsed import ORIGIN, Lab
from tests.trace.ladders import lossy_close
from utcp.lab import EXERCISES, Experiment
from utcp.lab.captured import captured
from utcp.lab.contained import contained
from utcp.scenes import NAMES
from utcp.trace.ladder.page import render

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as started:
        yield started


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Lab:
    return Lab(browser.new_page(locale="en-GB"))


@pytest.fixture
def lab(tab: Lab) -> Iterator[Lab]:
    """The page in a wide window. The console says nothing, and nothing is asked of another server."""
    tab.reset()
    yield tab
    assert not tab.said
    assert not tab.foreign


# ---------------------------------------------------------------------- scenes and steps


def test_every_scene_loads_and_every_step_is_shown(lab: Lab) -> None:
    lab.open()
    for scene in (*NAMES, "own"):
        lab.page.select_option("#scene", scene)
        lab.ready()
        assert lab.experiment().partition("?")[0] == scene
        rungs = lab.rungs()
        assert len(rungs) == int(lab.page.get_attribute("#slider", "max") or 0)
        shown = lab.page.evaluate(
            """() => Array.from({length: Number(slider.max)}, (_, index) => {
                slider.value = index + 1;
                slider.dispatchEvent(new Event("input", {bubbles: true}));
                return [heading.innerText, clock.innerText, document.querySelectorAll("#now .rung.now").length > 0];
            })"""
        )
        for rung, (heading, clock, drawn) in zip(rungs, shown, strict=True):
            assert (heading, clock) == (rung["heading"], rung["clock"]), scene
            assert drawn or not rung["arrow"], scene


def test_the_ends_light_up_and_what_changes_is_marked(lab: Lab) -> None:
    lab.open("lost-last-ack")
    assert (lab.here("client"), lab.here("server")) == ("CLOSED", "LISTEN")
    fin = next(rung for rung in lab.rungs() if rung["arrow"] and "FIN" in rung["arrow"]["flags"])
    lab.go(fin["index"] + 1)
    assert (lab.here("client"), lab.here("server")) == ("FIN_WAIT_1", "CLOSE_WAIT")
    assert lab.text("#client .state") == "ESTABLISHED → FIN_WAIT_1"
    assert "SND.NXT" in lab.text("#client .variables .changed")
    assert "retransmission" in lab.text("#client .timers")
    assert "RFC 9293" in lab.text("#decision")
    assert lab.page.locator("#client .edge.taken").count() == 1
    visited = lab.page.locator("#client .node.visited > text").all_text_contents()
    assert {"SYN_SENT", "ESTABLISHED", "FIN_WAIT_1"} <= set(visited)


def test_buttons_the_slider_and_clicks_go_through_the_ladder(lab: Lab) -> None:
    lab.open("four-way")
    assert lab.page.is_disabled("#previous")
    lab.page.click("#next")
    lab.page.click("#next")
    assert lab.step() == 3
    lab.page.click("#previous")
    assert lab.step() == 2
    lab.page.locator("#now .rung-6 .label").click()
    assert lab.step() == 7
    lab.page.click("#first")
    assert lab.step() == 1


def test_dragging_the_slider_writes_the_address_when_it_is_let_go(lab: Lab) -> None:
    lab.open("four-way")
    slider = lab.page.locator("#slider").bounding_box()
    assert slider is not None
    y = slider["y"] + slider["height"] / 2
    lab.page.mouse.move(slider["x"] + 8, y)
    lab.page.mouse.down()
    lab.page.mouse.move(slider["x"] + slider["width"] / 2, y, steps=5)
    assert lab.step() == 11
    assert ";step=1;" in lab.page.url
    lab.page.mouse.up()
    lab.page.wait_for_url("**;step=11;*")


def test_playing(browser: Browser) -> None:
    lab = Lab(browser.new_page(reduced_motion="reduce"))
    lab.page.clock.install()
    lab.open("four-way;step=18")
    lab.page.click("#faster")
    assert lab.text("#pace") == "2\N{MULTIPLICATION SIGN}"
    lab.page.click("#play")
    assert lab.page.get_attribute("#play", "aria-label") == "Pause"
    assert lab.step() == 19
    lab.page.clock.run_for(800)
    assert lab.step() == 20
    lab.page.click("#slower")
    lab.page.click("#slower")
    lab.page.clock.run_for(5000)
    assert lab.step() == 21
    assert lab.page.get_attribute("#play", "aria-label") == "Play"
    lab.page.close()
    assert not lab.said


# ---------------------------------------------------------------------- experiments


def test_a_segment_is_lost_by_a_click_and_undone(lab: Lab) -> None:
    lab.open("four-way")
    lab.page.locator("#now .rung-6 .label").click()
    assert lab.page.is_disabled("#undo")
    lab.click("#lose")
    assert lab.experiment() == "four-way?lose=4"
    assert lab.page.get_attribute("#lose", "aria-pressed") == "true"
    assert "Packet 4 was lost." in lab.page.locator("#edits").text_content()  # type: ignore[operator]
    assert lab.page.locator("#now .first-text").count() == 1
    lab.click("#undo")
    assert lab.experiment() == "four-way"
    assert lab.page.locator("#now .first-text").count() == 0
    lab.click("#redo")
    assert lab.experiment() == "four-way?lose=4"
    lab.click("#lose")  # pressed: take it back
    assert lab.experiment() == "four-way"


def test_back_and_forward_of_the_browser(lab: Lab) -> None:
    lab.open("four-way")
    lab.apply("lose=4")
    lab.apply("msl=2")
    assert lab.experiment() == "four-way?msl=2&lose=4"
    for move, experiment in (
        (lab.page.go_back, "four-way?lose=4"),
        (lab.page.go_back, "four-way"),
        (lab.page.go_forward, "four-way?lose=4"),
    ):
        move()
        lab.page.wait_for_timeout(50)
        lab.ready()
        assert lab.experiment() == experiment
        assert lab.page.locator("#edits li").count() == experiment.count("=")
    lab.click("#redo")
    assert lab.experiment() == "four-way?msl=2&lose=4"


def test_undo_pressed_again_before_the_answer_undoes_again(lab: Lab) -> None:
    lab.open("four-way")
    lab.apply("lose=4")
    lab.apply("msl=2")
    lab.page.evaluate("for (const _ of [1, 2, 3]) document.getElementById('undo').click()")
    lab.ready()
    assert lab.experiment() == "four-way"
    assert lab.page.is_disabled("#undo")
    lab.click("#redo")
    assert lab.experiment() == "four-way?lose=4"
    lab.page.evaluate("for (const name of ['redo', 'undo', 'undo']) document.getElementById(name).click()")
    lab.ready()
    assert lab.experiment() == "four-way"


def test_every_edit_is_in_the_list_and_can_be_removed_there(lab: Lab) -> None:
    lab.open("three-way")
    lab.page.click("#tab-experiment")
    for part in ("lose=5", "delay=5:0.25", "duplicate=5", "duplicate=5:0.4", "corrupt=5"):
        lab.apply(part)
        assert lab.experiment() == f"three-way?{part}"
        assert lab.page.locator("#now .tagged").count() >= 1
        lab.click("#edits li > button")
        assert lab.experiment() == "three-way"


def test_an_injected_segment_moves_the_numbers_of_later_packets(lab: Lab) -> None:
    lab.open("four-way")
    lab.apply("lose=8")
    lab.apply("inject=server@0.6:ACK")
    assert lab.experiment() == "four-way?lose=9&inject=server@0.6:ACK"
    assert lab.text("#heading") == "server → client: ACK"
    lab.click("#edits li:last-child > button")
    assert lab.experiment() == "four-way?lose=8"


def test_a_copy_moves_the_numbers_of_later_packets(lab: Lab) -> None:
    lab.open("four-way?lose=8")
    for copy, packet in (("duplicate=4", 9), ("duplicate=4:0.1", 9), ("duplicate=4:2", 8)):
        lab.apply(copy)
        assert set(lab.experiment().partition("?")[2].split("&")) == {copy, f"lose={packet}"}
        lab.click("#duplicate")
        assert lab.experiment() == "four-way?lose=8"


def test_the_form_of_an_injection_offers_the_present_time_and_numbers_and_old_data(lab: Lab) -> None:
    lab.open("four-way;step=7")
    lab.page.keyboard.press("i")
    assert lab.page.input_value("#inject [name=at]") == "0.65"
    lab.page.select_option("#inject [name=kind]", "DATA")
    assert lab.page.get_attribute("#inject [name=seq]", "placeholder") == "30"
    lab.page.fill("#inject [name=seq]", "2")
    lab.click("#inject button")
    assert lab.experiment() == "four-way?inject=client@0.65:DATA,seq=2"
    assert "received before" in lab.text("#decision")
    lab.press("z")
    lab.go(7)
    lab.page.select_option("#inject [name=kind]", label="Old data")
    assert lab.page.input_value("#inject [name=seq]") == "1"
    lab.click("#inject button")
    assert lab.experiment() == "four-way?inject=client@0.65:DATA,seq=1"


def test_a_phone_shows_what_was_instead_of_what_is(lab: Lab) -> None:
    lab.page.set_viewport_size({"width": 360, "height": 740})
    lab.open("four-way?lose=4;step=9")
    lab.click("#compare")
    assert lab.page.is_visible("#was svg")
    assert not lab.page.is_visible("#now svg")
    lab.page.set_viewport_size({"width": 1280, "height": 740})
    lab.page.wait_for_selector("#now svg")
    assert lab.page.locator(".first-text:visible").count() == 2, "a phone that is turned"
    lab.page.set_viewport_size({"width": 360, "height": 740})
    lab.click("#compare")
    assert lab.page.is_visible("#now svg")


def test_what_was_beside_what_is(lab: Lab) -> None:
    lab.open("lost-last-ack")
    assert lab.page.is_disabled("#compare")
    lab.apply("lose=4")
    lab.click("#compare")
    assert lab.page.is_visible("#was svg")
    assert lab.page.locator(".first-text").all_text_contents() == ["First difference"] * 2
    assert lab.page.url.endswith(";beside")
    lab.page.reload()
    lab.ready()
    assert lab.page.is_visible("#was svg")
    lab.click("#compare")
    assert not lab.page.is_visible("#was svg")


def test_settings_are_those_of_the_scene(lab: Lab) -> None:
    lab.open("three-way")
    lab.apply("msl=2")
    assert lab.experiment() == "three-way?msl=2"
    assert "changed" in (lab.page.locator(".setting:has(#setting-msl)").get_attribute("class") or "")
    lab.apply("msl=30")
    assert lab.experiment() == "three-way"
    lab.page.fill("#setting-msl", "-1")
    lab.page.press("#setting-msl", "Tab")
    assert lab.experiment() == "three-way", "a wrong number changes nothing"
    lab.page.select_option("#setting-end", "server.")
    lab.apply("msl=3")
    assert lab.experiment() == "three-way?server.msl=3"
    lab.page.select_option("#setting-end", "client.")
    assert lab.page.input_value("#setting-msl") == "30"


# ---------------------------------------------------------------------- exercises


@pytest.mark.parametrize("name", list(EXERCISES))
def test_every_exercise_can_be_solved_by_clicks(lab: Lab, name: str) -> None:
    exercise = EXERCISES[name]
    lab.open()
    lab.page.click("#tab-exercises")
    lab.click(f"[data-exercise={name}]")
    start = Experiment.from_address(exercise.start)
    wanted = Experiment.from_address(exercise.solution)
    assert lab.experiment() == start.to_address()
    assert start.scene == wanted.scene
    parts = [part for part in wanted.parts() if part not in start.parts()]
    if start.actions != wanted.actions:
        lab.script([action.part() for action in wanted.actions])
    numbers = {edit["part"]: edit["packet"] or 0 for edit in lab.ask_run(exercise.solution)["edits"]}
    for part in sorted(parts, key=lambda part: numbers.get(part, 0)):  # settings first
        if not part.startswith("do="):
            lab.apply(part)
    assert set(lab.experiment().partition("?")[2].split("&")) == set(wanted.to_address().partition("?")[2].split("&"))
    lab.page.click("#tab-exercises")
    assert "Solved" in lab.text("#verdict")


def test_solved_exercises_are_remembered(lab: Lab) -> None:
    lab.open(f"{EXERCISES['syn-again'].solution};exercise=syn-again")
    assert "Solved" in lab.text("#verdict")
    lab.click("#exercises .form button:nth-child(2)")
    assert lab.page.locator("#exercises .solved-mark").count() == 1
    lab.page.reload()
    lab.ready()
    lab.page.click("#tab-exercises")
    assert lab.page.locator("#exercises .solved-mark").count() == 1, "remembered in the page"


# ---------------------------------------------------------------------- the address


def test_an_address_replays_exactly(lab: Lab, browser: Browser) -> None:
    address = "lost-last-ack?msl=2&lose=8&inject=client@1.3:SYN;step=12;lang=en;beside"
    lab.open(address)
    assert lab.step() == 12
    lab.page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    lab.page.click("#copy")
    copied = lab.page.evaluate("window.copied")
    other = Lab(browser.new_page())
    other.page.goto(copied)
    other.ready()
    assert other.page.url == lab.page.url == f"{ORIGIN}#{address}"
    for selector in ("#drawings", "#step", "#client", "#server", "#edits"):
        assert other.page.inner_text(selector) == lab.page.inner_text(selector)
    reordered = "lost-last-ack?inject=client@1.3:SYN&lose=8&msl=2"
    assert lab.ask_run(lab.experiment())["digest"] == lab.ask_run(reordered)["digest"]
    other.page.close()


def test_a_malformed_address_is_told_and_a_scene_shown(lab: Lab) -> None:
    words = {"nothing": "nothing", "four-way?lose=x": "lose=x", "four-way?msl=-1": "msl", "%%%": "%%%"}
    for fragment, word in words.items():
        lab.open(fragment)
        assert word in lab.text("#message")
        assert lab.text("#heading") == lab.rungs()[0]["heading"]
    lab.said.clear()  # the browser reports the answer 400
    lab.page.click("#message button")
    assert not lab.page.is_visible("#message")
    lab.apply("lose=4")
    assert lab.experiment() == "four-way?lose=4"


def test_an_address_may_be_percent_encoded(lab: Lab) -> None:
    lab.open("four-way%3Flose%3D4%3Bstep%3D7")
    assert lab.page.url.partition("#")[2] == "four-way?lose=4;step=7;lang=en"
    assert lab.page.locator("#now .first-text").count() == 1


def test_a_server_that_is_gone_is_told_and_nothing_is_lost(lab: Lab) -> None:
    lab.open("four-way;step=7")
    lab.apply("msl=2")
    lab.gone = True
    lab.click("#undo")
    assert lab.experiment() == "four-way?msl=2"
    lab.page.select_option("#scene", "late-ack")
    lab.ready()
    assert lab.page.input_value("#scene") == "four-way"
    lab.gone = False
    lab.click("#undo")
    assert lab.experiment() == "four-way"
    lab.go(7)
    lab.gone = True
    lab.click("#lose")
    assert "does not answer" in lab.text("#message")
    assert lab.text("#heading") == "client → server: PSH,ACK"
    lab.page.click("#language")
    lab.ready()
    assert lab.page.get_attribute("html", "lang") == "en"
    lab.said.clear()
    lab.gone = False
    lab.click("#lose")
    assert not lab.page.is_visible("#message")
    assert lab.experiment() == "four-way?lose=4"


# ---------------------------------------------------------------------- keyboard, languages, sizes, themes


def test_by_keyboard_alone(lab: Lab) -> None:
    lab.open("four-way")
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "End", "Home"):
        lab.press(key)
    assert lab.step() == 1
    for _ in range(6):
        lab.press("ArrowRight")
    lab.press("l")
    assert lab.experiment() == "four-way?lose=4"
    lab.press("z")
    assert lab.experiment() == "four-way"
    lab.press("y")
    lab.press("w")
    assert lab.page.is_visible("#was svg")
    lab.press("w")
    lab.press("t")
    assert lab.page.locator("#table tr[aria-current=step]").count() == 1
    assert lab.page.is_visible("#table caption")
    lab.press("t")
    lab.press("?")
    assert lab.page.is_visible("dialog dl")
    lab.press("Escape")
    assert not lab.page.is_visible("dialog")
    lab.press("e")
    assert lab.page.is_visible("#exercises ol")
    lab.press("i")
    assert lab.page.evaluate("document.activeElement.name") == "kind"
    lab.page.keyboard.press("l")  # in a menu, a letter chooses an entry
    assert lab.experiment() == "four-way?lose=4"


def test_every_control_is_reached_by_tab_and_shows_the_focus(lab: Lab) -> None:
    lab.open("four-way?lose=4;step=7")
    reached = set()
    wanted = {
        "scene", "compare", "copy", "as-table", "language", "theme", "help", "ladder", "first", "play", "slider",
        "lose", "delay", "delay-seconds",
    }  # fmt: skip
    for _ in range(60):
        lab.page.keyboard.press("Tab")
        name, outline = lab.page.evaluate(
            "[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]"
        )
        reached.add(name)
        assert outline != "none" or name == "", name
        if wanted <= reached:
            return
    pytest.fail(f"not reached: {wanted - reached}")


def test_letters_can_be_switched_off(lab: Lab) -> None:
    lab.open("four-way;step=7")
    lab.page.keyboard.press("?")
    lab.page.uncheck("#letters")
    lab.page.keyboard.press("Escape")
    lab.press("l")
    assert lab.experiment() == "four-way"
    lab.press("ArrowRight")
    assert lab.step() == 8


@pytest.mark.parametrize("fragment", ["four-way?lose=4;step=7", "old-duplicate;step=30", "own;step=3"])
def test_no_width_scrolls_the_page_sideways(lab: Lab, fragment: str) -> None:
    lab.open(fragment)
    for width in (1920, 1100, 760, 360):
        lab.page.set_viewport_size({"width": width, "height": 740})
        if width == 760:
            assert not lab.page.is_visible("#tabs"), "the ladder alone"
            assert lab.page.is_visible("#heading")
            lab.page.click("#more")
        panels = lab.page.evaluate(
            """() => [...tabs.children].filter((tab) => tab.getClientRects().length).map((tab) => {
                tab.click();
                const sections = [...document.querySelectorAll("#panels section")];
                return [
                    tab.innerText,
                    document.documentElement.scrollWidth,
                    Math.max(...sections.map((one) => one.scrollWidth - one.clientWidth)),
                ];
            })"""
        )
        assert len(panels) >= 4
        for name, page, panel in panels:
            assert page <= width, name
            assert panel <= 0, name
        now = lab.page.locator("#now .rung.now").first.bounding_box()
        ladder = lab.page.locator("#ladder").bounding_box()
        assert now is not None
        assert ladder is not None
        assert ladder["y"] <= now["y"] < ladder["y"] + ladder["height"], "the present step is seen"
        lab.page.click("#as-table")
        assert lab.page.evaluate("ladder.scrollWidth - ladder.clientWidth") <= 0
        lab.page.click("#as-table")


def test_chinese(lab: Lab) -> None:
    lab.open("lost-last-ack?lose=4;step=7;lang=zh")
    assert lab.page.get_attribute("html", "lang") == "zh-CN"
    assert lab.text("#client h2") == "客户端"
    assert lab.text("#tab-exercises") == "练习"
    for tab in ("experiment", "settings", "exercises", "about"):
        lab.page.click(f"#tab-{tab}")
        assert any("\u4e00" <= character <= "\u9fff" for character in lab.text(f"#{tab}"))
    lab.page.click("#language")
    lab.page.wait_for_selector("html[lang=en]")
    lab.ready()
    assert ";lang=en" in lab.page.url
    assert lab.step() == 7
    assert lab.experiment() == "lost-last-ack?lose=4"
    assert lab.text("#client h2") == "client"


def test_light_and_dark(lab: Lab) -> None:
    colours = {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}

    def shown() -> list[str]:
        return list(
            lab.page.evaluate(
                "[document.body, document.querySelector('.page')].map(one => getComputedStyle(one))"
                ".map((style, index) => index ? style.fill : style.backgroundColor)"
            )
        )

    lab.open("four-way")
    assert shown() == [colours["light"]] * 2
    lab.page.click("#theme")
    assert shown() == [colours["dark"]] * 2
    lab.page.emulate_media(color_scheme="dark")
    assert shown() == [colours["dark"]] * 2, "chosen by the user"
    lab.open("four-way")
    assert shown() == [colours["dark"]] * 2
    lab.page.click("#theme")
    assert shown() == [colours["light"]] * 2


def test_a_screen_reader_has_a_table_and_is_told_each_step(lab: Lab) -> None:
    lab.open("four-way;step=6")
    rungs = lab.rungs()
    rows = lab.page.locator("#table tbody tr")
    assert rows.count() == len(rungs)
    assert rows.nth(6).inner_text().split("\t")[2].startswith("client → server: PSH,ACK seq=1")
    lab.press("ArrowRight")
    told = lab.page.text_content("#live") or ""
    assert told.startswith("Step 7 of 21: client → server: PSH,ACK.")
    assert rows.nth(6).get_attribute("aria-current") == "step"
    for selector in ("button", "input", "select"):
        names = lab.page.eval_on_selector_all(
            selector, "all => all.map(one => one.ariaLabel || one.textContent.trim() || one.labels?.[0]?.textContent)"
        )
        assert all(names), selector


def test_reduced_motion(lab: Lab) -> None:
    lab.open("four-way;step=6")
    lab.page.click("#next")
    assert lab.page.locator(".dot").count() == 0
    lab.page.emulate_media(reduced_motion="no-preference")
    lab.page.click("#previous")
    lab.page.click("#next")
    assert lab.page.locator(".dot").count() == 1


# ---------------------------------------------------------------------- without a server


def opened_file(browser: Browser, path: Path, data: Mapping[str, object]) -> Page:
    path.write_text(render(data), encoding="utf-8")
    page = browser.new_page(offline=True, locale="en-GB")
    page.on("console", lambda message: pytest.fail(message.text))
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("#heading:not(:empty)")
    return page


def test_a_file_by_itself_shows_the_run_and_how_to_get_experiments(browser: Browser, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:  # the browser's driver has an event loop in this thread
        data = pool.submit(contained, Experiment.from_address("lost-last-ack?msl=2&lose=4")).result()
    page = opened_file(browser, tmp_path / "lab.html", data)
    assert not page.is_visible("#lose")
    page.click("#tab-experiment")
    assert "utcp lab" in page.inner_text("#why")
    assert page.locator("#edits li").all_inner_texts() == ["Packet 4 was lost.", "Maximum segment lifetime (MSL) = 2 s"]
    for name in ("inject", "undo", "tab-settings", "tab-exercises"):
        assert not page.is_visible(f"#{name}")
    page.click("#compare")
    assert page.is_visible("#was svg")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("l")
    page.click("#language")
    page.wait_for_selector("html[lang=zh-CN]")
    assert page.inner_text("#client h2") == "客户端"
    page.close()


def test_a_capture_is_shown_without_experiments_and_says_that_states_are_inferred(
    browser: Browser, tmp_path: Path
) -> None:
    data = captured(lossy_close().recorder.rungs(), "run.pcapng", ("10.0.0.1:5", "10.0.0.2:9000"))
    page = opened_file(browser, tmp_path / "capture.html", data)
    assert page.eval_on_selector("#scene", "menu => menu.selectedOptions[0].text") == "run.pcapng"
    assert "10.0.0.2:9000" in page.inner_text("#server h2")
    assert "capture" in page.inner_text("#origin")
    page.click("#tab-experiment")
    assert "no experiments" in page.inner_text("#why")
    for name in ("inject", "lose", "compare", "undo"):
        assert not page.is_visible(f"#{name}")
    page.keyboard.press("End")
    assert page.inner_text("#number").endswith("10 / 10")
    page.close()
