"""The laboratory's page in a browser, answered by the engine itself, without a server."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from utcp.lab import respond
from utcp.lab.respond import Response

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

ORIGIN = "http://localhost/"
SIZE = {"width": 1280, "height": 800}

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline';"
    " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
}


_pool = ThreadPoolExecutor(1)
"""The engine runs in a thread of its own, because the browser's driver has an event loop in the tests' thread."""


@cache
def answer(target: str) -> Response:
    """The engine's answer, which is the same each time: `test_run.py` tests this."""
    return _pool.submit(respond, target).result()


@dataclass
class Lab:
    """One tab, which many tests use one after the other. `said` has what the console says, `foreign` the
    requests to other servers.
    """

    page: Page
    said: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    gone: bool = False
    """Whether the server does not answer."""

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.route("**/*", self._answer)

    def _answer(self, route: Route) -> None:
        url = route.request.url
        if not url.startswith(ORIGIN):
            self.foreign.append(url)
            route.abort()
        elif self.gone:
            route.abort()
        else:
            parts = urlsplit(url)
            target = f"{parts.path}?{parts.query}" if parts.query else parts.path
            response = answer(target)
            route.fulfill(
                status=response.status, content_type=response.content_type, body=response.body, headers=HEADERS
            )

    def reset(self) -> None:
        """Make the tab as good as new. Nothing moves, because a movement is drawn frame by frame."""
        self.gone = False
        self.said.clear()
        self.page.set_viewport_size(SIZE)  # type: ignore[arg-type]
        self.page.emulate_media(color_scheme="light", reduced_motion="reduce")
        if self.page.url.startswith(ORIGIN):
            self.page.evaluate("sessionStorage.clear()")

    @staticmethod
    def ask_run(address: str) -> Any:
        return json.loads(answer(f"/api/run?lang=en&address={quote(address, safe='')}").body)

    def open(self, fragment: str = "") -> None:
        """Open the page anew, in English."""
        url = f"{ORIGIN}#{fragment}"
        if self.page.url.startswith(ORIGIN):
            self.page.evaluate("url => history.replaceState(null, '', url)", url)
            self.page.reload()
        else:
            self.page.goto(url)
        self.ready()

    def ready(self) -> None:
        """Wait until what was asked is shown."""
        self.page.wait_for_selector("body:has(#heading:not(:empty)) #ladder:not([aria-busy])")

    def click(self, selector: str) -> None:
        self.page.click(selector)
        self.ready()

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)
        self.ready()

    def experiment(self) -> str:
        """The experiment in the address."""
        return unquote(urlsplit(self.page.url).fragment).partition(";")[0]

    def step(self) -> int:
        return int(self.page.input_value("#slider"))

    def go(self, step: int) -> None:
        self.page.eval_on_selector(
            "#slider",
            "(slider, step) => { slider.value = step;"
            " for (const name of ['input', 'change']) slider.dispatchEvent(new Event(name, {bubbles: true})); }",
            step,
        )

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def here(self, end: str) -> str:
        """The state that lights up in the diagram of an end."""
        return str(self.page.locator(f"#{end} .here > text").text_content())

    def rungs(self) -> list[Any]:
        """The rungs of the present run."""
        return list(self.ask_run(self.experiment())["rungs"])

    def apply(self, part: str) -> None:
        """Make a change by clicks, as a user does. Packets have the numbers that they have once the change is made."""
        name, _, value = part.partition("=")
        if name in ("lose", "delay", "duplicate", "corrupt"):
            number, _, seconds = value.partition(":")
            self.go(next(rung["index"] for rung in self.rungs() if rung["packet"] == int(number)) + 1)
            if seconds:
                self.page.fill(f"#{name}-seconds", seconds)
            self.click(f"#{name}")
        elif name == "inject":
            self.inject(value)
        else:
            self.page.click("#tab-settings")
            more = self.page.locator("#controls details:not([open]) summary")
            if more.count():
                more.click()
            control = self.page.locator(f"#setting-{name}")
            if control.evaluate("one => one.tagName") == "SELECT":
                control.select_option(value)
            else:
                control.fill(value)
                control.press("Tab")
            self.ready()

    def inject(self, value: str) -> None:
        """Fill in the form that injects a segment, as in `client@1.2:SYN,seq=5`."""
        place, _, rest = value.partition(":")
        end, _, time = place.partition("@")
        kind, *fields = rest.split(",")
        self.page.click("#tab-experiment")
        self.page.select_option("#inject [name=from]", end)
        self.page.select_option("#inject [name=kind]", kind)
        self.page.fill("#inject [name=at]", time)
        for one in fields:
            name, _, number = one.partition("=")
            self.page.fill(f"#inject [name={name}]", number)
        self.click("#inject button")

    def script(self, parts: list[str]) -> None:
        """Make the script of the scene "own" consist of `parts`."""
        self.page.click("#tab-settings")
        rows = self.page.locator("#script li")
        here = self._script()
        for index in reversed(range(len(here))):
            if here[index] not in parts and rows.count() > 1:
                self.click(f"#script li:nth-child({index + 1}) > button")
        for part in parts:
            here = self._script()
            if part in here:
                continue
            wrong = [index for index, each in enumerate(here) if each not in parts]
            if not wrong:
                self.click("#script > button")
                wrong = [len(here)]
            end, _, rest = part.removeprefix("do=").partition("@")
            time, _, action = rest.partition(":")
            action, _, octets = action.partition(",")
            self._row(wrong[0], end, time, action, octets)

    def _script(self) -> list[str]:
        """The steps of the script, in the order of their rows."""
        return [part for part in self.ask_run(self.experiment())["parts"] if part.startswith("do=")]

    def _row(self, index: int, end: str, time: str, action: str, octets: str) -> None:
        row = self.page.locator("#script li").nth(index)
        for field_, value in ((0, end), (1, action)):
            select = row.locator("select").nth(field_)
            if select.input_value() != value:
                select.select_option(value)
                self.ready()
        for field_, value in ((1, octets), (0, time)):  # the time last, because rows are in order of time
            number = row.locator("input").nth(field_)
            if value and number.input_value() != value:
                number.fill(value)
                number.press("Tab")
                self.ready()
