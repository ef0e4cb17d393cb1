"""The laboratory's page in a browser, answered by the engine itself, without a server."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from utcp.lab import respond
from utcp.lab.respond import Response

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

ORIGIN = "http://localhost/"

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline';"
    " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
}


@dataclass
class Lab:
    """One tab. `said` has what the console says, `asked` the targets of the requests, `foreign` those that leave."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    gone: bool = False
    """Whether the server does not answer."""

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)  # the browser's driver has an event loop in this thread
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
            self.asked.append(target)
            response = self.ask(target)
            route.fulfill(
                status=response.status, content_type=response.content_type, body=response.body, headers=HEADERS
            )

    def ask(self, target: str) -> Response:
        """The engine's answer."""
        return self._pool.submit(respond, target).result()

    def ask_run(self, address: str) -> Any:
        return json.loads(self.ask(f"/api/run?lang=en&address={quote(address, safe='')}").body)

    def open(self, fragment: str = "") -> None:
        """Open the page anew, in English."""
        self.page.goto("about:blank")
        self.page.goto(f"{ORIGIN}#{fragment}")
        self.ready()

    def ready(self) -> None:
        """Wait until what was asked is shown."""
        self.page.wait_for_selector("#heading:not(:empty)")
        self.page.wait_for_selector("#ladder:not([aria-busy])")

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
        self.page.fill("#slider", str(step))

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
        while rows.count() > 1:
            self.click("#script li:last-child button")
        for index, part in enumerate(parts):
            if index:
                self.click("#script > button")
            end, _, rest = part.removeprefix("do=").partition("@")
            time, _, action = rest.partition(":")
            action, _, octets = action.partition(",")
            self._row(index, end, time, action, octets)

    def _row(self, index: int, end: str, time: str, action: str, octets: str) -> None:
        for field_, value in ((0, end), (1, action)):
            select = self.page.locator("#script li").nth(index).locator("select").nth(field_)
            if select.input_value() != value:
                select.select_option(value)
                self.ready()
        for field_, value in ((1, octets), (0, time)):
            number = self.page.locator("#script li").nth(index).locator("input").nth(field_)
            if value and number.input_value() != value:
                number.fill(value)
                number.press("Tab")
                self.ready()
