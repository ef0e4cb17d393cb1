"""The page that steps through a ladder: what it says, and how it behaves in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import launched
from tests.trace.ladders import Ends, lossy_close
from utcp.tcp import timers
from utcp.tcp.state import CLOSED, ESTABLISHED, FIN_WAIT_1, LISTEN, NAMES, SYN_SENT, TIME_WAIT, TRANSITIONS
from utcp.trace.ladder import render_html
from utcp.trace.ladder.diagram import state_diagram
from utcp.trace.ladder.explain import MEANING, explain
from utcp.wire import ACK, PSH

if TYPE_CHECKING:
    from playwright.sync_api import Page


def page_of(ends: Ends) -> str:
    return render_html(ends.recorder.rungs(), title="A FIN is lost")


# ---------------------------------------------------------------------- what it says


def test_each_rung_is_explained() -> None:
    steps = explain(lossy_close().recorder.rungs(), ("client", "server"))
    assert [step["heading"] for step in steps] == [
        "The beginning",
        "client → server: SYN",
        "server → client: SYN,ACK",
        "client → server: ACK",
        "Note",
        "client → server: FIN,ACK",
        "client → server: FIN,ACK",
        "server → client: FIN,ACK",
        "client → server: ACK",
        "A state changes",
    ]
    opening, lost, again, ended = steps[1], steps[5], steps[6], steps[-1]
    assert opening["said"] == [
        "It arrives 1 ms later.",
        "The client goes from CLOSED to SYN_SENT: active OPEN, send SYN (RFC 9293 3.10.1).",
        "The server goes from LISTEN to SYN_RCVD: receive SYN, send SYN-ACK (RFC 9293 3.10.7.2).",
    ]
    assert steps[4]["said"] == ["The client closes, and its FIN is lost."]
    assert lost["said"] == [
        "It is lost.",
        "The client goes from ESTABLISHED to FIN_WAIT_1: CLOSE, send FIN (RFC 9293 3.10.4).",
    ]
    timer, repeated, arrived, *_ = again["said"]
    assert timer.startswith("The timer retransmit of the client has expired: the oldest octet in flight was not")
    assert (repeated, arrived) == ("It is a retransmission.", "It arrives 1 ms later.")
    assert ended["said"] == [
        "The client goes from TIME_WAIT to CLOSED: 2 MSL passed (RFC 9293 3.10.8).",
        "It was in TIME_WAIT for 1 s.",
    ]


def test_both_ends_are_told_at_each_step() -> None:
    steps = explain(lossy_close().recorder.rungs(), ("client", "server"))
    states = [(step["client"]["state"], step["server"]["state"]) for step in steps]
    assert states[0] == (CLOSED, LISTEN)
    assert states[5] == (FIN_WAIT_1, ESTABLISHED)
    assert states[-1] == (CLOSED, CLOSED)
    assert steps[1]["client"]["edge"] == f"{CLOSED}-{SYN_SENT}"
    assert steps[4]["client"]["edge"] is None
    lost = steps[5]["client"]
    assert dict(lost["facts"])["cwnd"] == "14480"
    assert lost["known"] == 6
    assert steps[4]["server"]["known"] == 4  # what was known a step before
    assert steps[7]["client"]["facts"] == ()  # in TIME_WAIT


def test_the_fields_of_a_segment() -> None:
    ends = Ends()
    ends.open()
    ends.send("client", PSH | ACK, 1, 1, 10, b"hello")
    fields = dict(explain(ends.recorder.rungs(), ("a", "b"))[-1]["fields"])
    assert fields["control bits"] == "PSH,ACK"
    assert fields["SEQ"] == "1 to 5"
    assert fields["ACK"] == "1"
    assert fields["octets of data"] == "5"
    assert fields["window field"] == "0"


def test_every_timer_has_a_meaning() -> None:
    assert sorted(MEANING) == list(range(len(timers.NAMES)))


def test_the_diagram_has_every_state_and_every_transition() -> None:
    diagram = state_diagram()
    for state, name in enumerate(NAMES):
        assert diagram.count(f'class="node node-{state} state-{state}"') == (2 if state == CLOSED else 1)
        assert f">{name}<" in diagram
    for transition in TRANSITIONS:
        orderly = transition.after != CLOSED or transition.before in (TIME_WAIT, NAMES.index("LAST_ACK"))
        kind = "edge" if orderly else "edge forced"
        assert f'class="{kind} edge-{transition.before}-{transition.after}"' in diagram


def test_nothing_that_is_written_ends_the_script() -> None:
    ends = Ends()
    ends.recorder.note('</script><script>alert("x")</script> <!-- 关闭 &amp;', 0.0)
    html = render_html(ends.recorder.rungs(), title="</title><b>", names=("<i>", "&"))
    assert html.count("<script") == 2
    assert "<b>" not in html
    assert "<i>" not in html
    data = re.search(r'<script id="data" type="application/json">(.*?)</script>', html, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["steps"][0]["said"] == ['</script><script>alert("x")</script> <!-- 关闭 &amp;']


def test_it_is_self_contained() -> None:
    html = page_of(lossy_close())
    assert not re.search(r"<link|\ssrc=|@import|url\(|fetch\(|import\(", html)
    assert set(re.findall(r"https?://[^\"' ]*", html)) == {"http://www.w3.org/2000/svg"}
    assert len(html.encode()) < 60_000


# ---------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as started:
        yield started


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[tuple[Page, str]]:
    """The page of a lossy close, from a file, and its address. Whatever the console says is a failure."""
    path = tmp_path / "ladder.html"
    path.write_text(page_of(lossy_close()), encoding="utf-8")
    said: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 800}, offline=True)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    yield page, path.as_uri()
    page.close()
    assert not said


def shown(page: Page) -> tuple[str, str, str, str]:
    """Heading, number, and the states of client and server."""
    texts = [
        page.inner_text(selector) for selector in ("#heading", "#number", ".end.client .state", ".end.server .state")
    ]
    return texts[0], texts[1], texts[2], texts[3]


def test_it_begins_at_the_first_step(opened: tuple[Page, str]) -> None:
    page, _ = opened
    assert shown(page) == ("The beginning", "1 / 10", "CLOSED", "LISTEN")
    assert page.is_disabled("#previous")
    assert page.is_disabled("#first")
    assert page.title() == "A FIN is lost"


def test_buttons_keys_and_the_slider_go_through_it(opened: tuple[Page, str]) -> None:
    page, _ = opened
    page.click("#next")
    assert shown(page) == ("client → server: SYN", "2 / 10", "SYN_SENT", "SYN_RCVD")
    page.keyboard.press("ArrowRight")
    assert shown(page)[1] == "3 / 10"
    page.keyboard.press("ArrowLeft")
    assert shown(page)[1] == "2 / 10"
    page.click("#previous")
    assert shown(page)[1] == "1 / 10"
    page.keyboard.press("ArrowLeft")  # there is nothing before
    assert shown(page)[1] == "1 / 10"
    page.keyboard.press("End")
    assert shown(page) == ("A state changes", "10 / 10", "CLOSED", "CLOSED")
    assert page.is_disabled("#next")
    page.keyboard.press("ArrowRight")
    assert shown(page)[1] == "10 / 10"
    page.fill("#slider", "6")
    assert shown(page) == ("client → server: FIN,ACK", "6 / 10", "FIN_WAIT_1", "ESTABLISHED")
    page.keyboard.press("ArrowRight")  # the slider has the focus: one step, not two
    assert shown(page)[1] == "7 / 10"
    page.click("#first")
    assert shown(page)[1] == "1 / 10"
    page.locator(".wide .rung-8 .label").click()
    assert shown(page)[1] == "9 / 10"


def test_one_rung_is_highlighted_and_explained(opened: tuple[Page, str]) -> None:
    page, _ = opened
    page.keyboard.press("End")
    page.fill("#slider", "7")
    classes = page.eval_on_selector_all(".rung", "all => all.map(one => one.getAttribute('class'))")
    now = {name for name in classes if "now" in name.split()}
    past = {name for name in classes if "past" in name.split()}
    assert {re.sub(r"\D", "", name) for name in now} == {"6"}
    assert {int(re.sub(r"\D", "", name)) for name in past} == set(range(6))
    assert "the oldest octet in flight" in page.inner_text("#said")
    assert "FIN,ACK" in page.inner_text("#fields")
    assert "14480" in page.inner_text(".end.client table")
    mark = page.eval_on_selector("#mark", "mark => mark.getBBox().height")
    assert mark > 10


def test_the_diagram_shows_where_both_ends_are(opened: tuple[Page, str]) -> None:
    page, _ = opened

    def here(end: str) -> str:
        return str(page.locator(f".node:has(> .{end}.here) > text").text_content())

    assert here("client") == "CLOSED"
    assert here("server") == "LISTEN"
    page.click("#next")
    assert (here("client"), here("server")) == ("SYN_SENT", "SYN_RCVD")
    taken = page.eval_on_selector_all(".edge.taken", "all => all.map(one => one.getAttribute('class'))")
    assert taken == [f"edge edge-{CLOSED}-{SYN_SENT} taken", "edge edge-1-3 taken"]
    page.keyboard.press("End")
    assert (here("client"), here("server")) == ("CLOSED", "CLOSED")
    occupied = page.locator(".node.occupied")
    assert occupied.count() == 1  # the one at the end, not the one at the beginning
    assert page.evaluate("document.querySelectorAll('.node-0')[1].classList.contains('occupied')")


def test_the_address_tells_the_step(opened: tuple[Page, str]) -> None:
    page, address = opened
    page.click("#next")
    assert page.url == f"{address}#step=2"
    page.goto(f"{address}#step=9")
    assert shown(page)[1] == "9 / 10"
    page.reload()
    assert shown(page)[1] == "9 / 10"
    for nonsense, number in (("#step=99", "10 / 10"), ("#step=0", "1 / 10"), ("#nothing", "1 / 10")):
        page.goto("about:blank")
        page.goto(f"{address}{nonsense}")
        assert shown(page)[1] == number


def test_it_plays_to_the_end_and_stops(opened: tuple[Page, str]) -> None:
    page, _ = opened
    page.clock.install()
    page.fill("#slider", "8")
    page.click("#play")
    assert page.inner_text("#play") == "Pause"
    page.clock.run_for(1600)
    assert shown(page)[1] == "9 / 10"
    page.clock.run_for(1600)
    assert shown(page)[1] == "10 / 10"
    assert page.inner_text("#play") == "Play"
    page.keyboard.press(" ")  # the button has the focus, and is pressed: from the beginning again
    assert shown(page)[1] == "1 / 10"
    page.click("#next")
    page.clock.run_for(5000)
    assert shown(page)[1] == "2 / 10"  # who steps has it stop


def test_the_first_step_shows_the_whole_ladder_and_the_keys(opened: tuple[Page, str]) -> None:
    page, _ = opened
    opacities = page.eval_on_selector_all(".wide .rung", "all => all.map(one => Number(getComputedStyle(one).opacity))")
    assert min(opacities) >= 0.5, "what comes later is readable"
    assert max(opacities) == 1
    assert page.is_visible("#keys")
    assert page.eval_on_selector_all("kbd", "all => all.map(one => one.textContent)") == [
        "←",
        "→",
        "Home",
        "End",
        "space",
    ]


@pytest.mark.parametrize(("width", "narrow"), [(1280, False), (700, False), (390, True), (320, True)])
def test_labels_are_legible_at_every_width(opened: tuple[Page, str], width: int, narrow: bool) -> None:
    """At least 9 pixels high: a phone has a drawing of its own."""
    page, _ = opened
    page.set_viewport_size({"width": width, "height": 800})
    drawing = page.locator("#ladder .narrow svg" if narrow else "#ladder .wide svg")
    other = page.locator("#ladder .wide svg" if narrow else "#ladder .narrow svg")
    assert drawing.is_visible()
    assert not other.is_visible()
    scale = drawing.evaluate("svg => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width")
    assert 11.5 * scale >= 9
    page.keyboard.press("End")
    mark = page.locator("#mark").bounding_box()
    assert mark is not None
    assert mark["height"] > 5


def test_the_narrow_drawing_shows_every_word_within_its_width(opened: tuple[Page, str]) -> None:
    page, _ = opened
    page.set_viewport_size({"width": 390, "height": 800})
    frame = page.locator("#ladder .narrow svg").bounding_box()
    assert frame is not None
    for text in page.locator("#ladder .narrow text").all():
        box = text.bounding_box()
        assert box is not None
        assert frame["x"] - 1 <= box["x"], text.text_content()
        assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 1, text.text_content()


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 780)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_screens_wide_and_narrow(opened: tuple[Page, str], width: int, height: int, scheme: Any) -> None:
    page, _ = opened
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": height})
    page.keyboard.press("End")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for selector in ("#next", "#heading", "#mark"):
        box = page.locator(selector).bounding_box()
        assert box is not None
        assert 0 <= box["x"] < width
        assert 0 <= box["y"] < height, selector
    ladder = page.locator("#ladder").bounding_box()
    assert ladder is not None
    assert (ladder["width"] > width - 5) == (width < 860)  # what is said stands below it, or beside it
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(13, 17, 23)")


def test_a_ladder_without_rungs_is_an_empty_page(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "empty.html"
    path.write_text(render_html([]), encoding="utf-8")
    page = browser.new_page()
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#heading") == ""
    page.close()
    assert not said
