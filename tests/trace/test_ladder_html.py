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
    assert html.count("<script") == render_html([]).count("<script")
    assert "</title><b>" not in html
    assert "<i>" not in html
    data = re.search(r'<script id="data" type="application/json">(.*?)</script>', html, re.DOTALL)
    assert data is not None
    rung = json.loads(data[1])["en"]["run"]["rungs"][0]
    assert rung["said"] == ['</script><script>alert("x")</script> <!-- 关闭 &amp;']


def test_it_is_self_contained() -> None:
    html = page_of(lossy_close())
    assert not re.search(r"\ssrc=|@import|url\(|import\(", html)
    assert set(re.findall(r"https?://[^\\\"' ]*", html)) == {"http://www.w3.org/2000/svg"}
    assert len(html.encode()) < 150_000


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
    page.wait_for_selector("#heading:not(:empty)")
    yield page, path.as_uri()
    page.close()
    assert not said


def shown(page: Page) -> tuple[str, str, str, str]:
    """Heading, number, and the states of client and server."""
    texts = [page.inner_text(selector) for selector in ("#heading", "#number", "#client .state", "#server .state")]
    return texts[0], texts[1].rpartition(" · ")[2], texts[2].rpartition(" ")[2], texts[3].rpartition(" ")[2]


def test_it_begins_at_the_first_step(opened: tuple[Page, str]) -> None:
    page, _ = opened
    assert shown(page) == ("The beginning", "1 / 10", "CLOSED", "LISTEN")
    assert page.is_disabled("#previous")
    assert page.title() == page.inner_text("h1") == "A FIN is lost"


def test_it_has_nothing_of_the_laboratory(opened: tuple[Page, str]) -> None:
    page, _ = opened
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        if width == 390:
            page.click("#more")
            assert page.locator("#tabs button:visible").all_inner_texts() == ["Step", "Both ends"]
        for name in (
            "scene",
            "undo",
            "compare",
            "copy",
            "language",
            "lose",
            "inject",
            "experiment",
            "about",
            "message",
        ):
            assert not page.is_visible(f"#{name}"), name


def test_buttons_keys_and_the_slider_go_through_it(opened: tuple[Page, str]) -> None:
    page, _ = opened
    page.click("#next")
    assert shown(page) == ("client → server: SYN", "2 / 10", "SYN_SENT", "SYN_RCVD")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert shown(page)[1] == "2 / 10"
    page.keyboard.press("End")
    assert shown(page) == ("A state changes", "10 / 10", "CLOSED", "CLOSED")
    assert page.is_disabled("#next")
    page.keyboard.press("ArrowRight")
    assert shown(page)[1] == "10 / 10"
    page.fill("#slider", "6")
    assert shown(page) == ("client → server: FIN,ACK", "6 / 10", "FIN_WAIT_1", "ESTABLISHED")
    page.keyboard.press("ArrowRight")  # the slider has the focus: one step, not two
    assert shown(page)[1] == "7 / 10"
    page.keyboard.press("l")  # a command of the laboratory
    page.locator("#now .rung-8 .label").click()
    assert shown(page)[1] == "9 / 10"


def test_one_rung_is_highlighted_and_explained(opened: tuple[Page, str]) -> None:
    page, _ = opened
    page.fill("#slider", "7")
    classes = page.eval_on_selector_all(".rung", "all => all.map(one => one.getAttribute('class'))")
    now = {name for name in classes if "now" in name.split()}
    past = {name for name in classes if "past" in name.split()}
    assert {re.sub(r"\D", "", name) for name in now} == {"6"}
    assert {int(re.sub(r"\D", "", name)) for name in past} == set(range(6))
    assert "the oldest octet in flight" in page.inner_text("#said")
    assert "FIN,ACK" in page.inner_text("#fields")
    assert "14480" in page.inner_text("#client .variables")
    assert page.eval_on_selector(".mark", "mark => mark.getBBox().height") > 10


def test_the_diagrams_show_where_both_ends_are(opened: tuple[Page, str]) -> None:
    page, _ = opened

    def here(end: str) -> str:
        return str(page.locator(f"#{end} .here > text").text_content())

    assert (here("client"), here("server")) == ("CLOSED", "LISTEN")
    page.click("#next")
    assert (here("client"), here("server")) == ("SYN_SENT", "SYN_RCVD")
    taken = page.eval_on_selector_all(".edge.taken", "all => all.map(one => one.classList[1])")
    assert taken == [f"edge-{CLOSED}-{SYN_SENT}", "edge-1-3"]
    page.keyboard.press("End")
    assert (here("client"), here("server")) == ("CLOSED", "CLOSED")
    # The one at the end, not the one at the beginning.
    assert page.evaluate("document.querySelectorAll('#client .node-0')[1].classList.contains('here')")


def test_the_address_tells_the_step(opened: tuple[Page, str]) -> None:
    page, address = opened
    page.click("#next")
    assert page.url == f"{address}#step=2"
    for fragment, number in (
        ("#step=9", "9 / 10"),
        ("#step=99", "10 / 10"),
        ("#step=0", "1 / 10"),
        ("#nothing", "1 / 10"),
    ):
        page.goto("about:blank")
        page.goto(f"{address}{fragment}")
        page.wait_for_selector("#heading:not(:empty)")
        assert shown(page)[1] == number


@pytest.mark.parametrize(("width", "narrow"), [(1440, False), (900, False), (390, True), (320, True)])
def test_labels_are_legible_at_every_width(opened: tuple[Page, str], width: int, narrow: bool) -> None:
    """At least 9 pixels high: a phone has a drawing of its own, in which every word is within its width."""
    page, _ = opened
    page.set_viewport_size({"width": width, "height": 800})
    drawing = page.locator("#now svg")
    page.wait_for_timeout(100)
    assert (drawing.locator("text.time").count() == 0) == narrow
    scale = drawing.evaluate("svg => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width")
    assert 11.5 * scale >= 9
    frame = drawing.bounding_box()
    assert frame is not None
    assert frame["width"] <= width
    for text in drawing.locator("text").all():
        box = text.bounding_box()
        assert box is not None
        assert frame["x"] - 1 <= box["x"], text.text_content()
        assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 1, text.text_content()


def test_a_ladder_without_rungs_is_an_empty_page(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "empty.html"
    path.write_text(render_html([]), encoding="utf-8")
    page = browser.new_page()
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("#now svg")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#heading") == ""
    page.close()
    assert not said
