"""Chromium, driven by playwright, for tests of pages. Where one of them is missing, these tests are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first one has no windows, and takes a third of the processor time of the others."""

_CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser. Skips the test if playwright or Chromium is not installed."""
    api = pytest.importorskip("playwright.sync_api", reason="pages are tried in a browser, which playwright drives")
    if _CHROMIUM is None:
        pytest.skip("pages are tried in Chromium, which is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()
