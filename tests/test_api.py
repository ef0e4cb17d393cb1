"""The API reference is complete, and is what the code says of itself."""

import pytest

import utcp
import utcp.testing

pytest.importorskip("griffe", reason="griffe is not installed: it belongs to the test extra, as griffelib")

from tests.api import PACKAGES, PAGE, Reference, exported


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference()


def test_it_is_what_the_code_says(reference: Reference) -> None:
    assert PAGE.read_text() == reference.page(), "python -m tests.api writes it anew"


def test_everything_exported_is_in_it() -> None:
    page = PAGE.read_text()
    assert exported("utcp") == utcp.__all__
    assert exported("utcp.testing") == utcp.testing.__all__
    for package in PACKAGES:
        for name in exported(package):
            assert page.count(f"\n### {name}\n") == 1


def test_each_class_has_an_example(reference: Reference) -> None:
    classes = {
        name for package in (utcp, utcp.testing) for name in package.__all__ if isinstance(getattr(package, name), type)
    }
    assert classes <= reference.snippets.keys()
    assert PAGE.read_text().count("\nExample:\n") == len(reference.snippets)


def test_no_keywords_are_hidden() -> None:
    assert "**options" not in PAGE.read_text().replace("create_task(coro: Coroutine[Any, Any, T], **options", "")
