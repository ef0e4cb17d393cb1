"""The API reference is complete, and is what the code says of itself."""

import inspect

import pytest

import utcp
import utcp.testing

pytest.importorskip("griffe", reason="griffe is not installed: it belongs to the test extra, as griffelib")

from tests.api import INTERNAL, PACKAGES, PAGE, Reference, exported


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


def test_internal_members_exist(reference: Reference) -> None:
    exports = {name: getattr(package, name) for package in (utcp, utcp.testing) for name in package.__all__}
    page = PAGE.read_text()
    for name, members in INTERNAL.items():
        text = page.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
        for member in members:
            assert _has(exports[name], member), f"{name}.{member}"
            assert f"def {member}(" not in text


def _has(cls: type, member: str) -> bool:
    """Whether the class has the member, which may be an attribute that its constructor sets."""
    return hasattr(cls, member) or f"self.{member}" in inspect.getsource(cls)
