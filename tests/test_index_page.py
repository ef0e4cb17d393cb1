"""README.md on the page of a package index: no link and no picture leads nowhere."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SOURCE = "https://code.example/utcp"

index_page = runpy.run_path(str(ROOT / ".ci" / "index_page.py"))["index_page"]


def targets(page: str) -> list[str]:
    return re.findall(r"\]\(([^)]*)\)", page) + re.findall(r'(?:src|href)="([^"]*)"', page)


def test_with_the_address_of_the_repository_every_link_is_absolute_and_leads_to_a_file() -> None:
    page = index_page(README, f"{SOURCE}/", "1.2.3")
    assert len(targets(page)) == len(targets(README))
    for target in targets(page):
        if target.startswith(SOURCE):
            kind, version, path = target.removeprefix(f"{SOURCE}/").split("/", 2)
            assert kind == ("raw" if path.endswith(".svg") else "blob")
            assert version == "v1.2.3"
            assert (ROOT / path.partition("#")[0]).exists()
        else:
            assert target.startswith("https://")


def test_without_it_a_link_is_its_text_and_the_path_and_a_picture_is_left_out() -> None:
    page = index_page(README, None, "1.2.3")
    assert all(target.startswith("https://") for target in targets(page))
    assert "<img" not in page
    assert "<!--" not in page
    for heading in re.findall(r"^## .*$", README, re.MULTILINE):
        assert f"{heading}\n" in page
    shown = index_page(
        "See [the guide](utcp/README.md#x), [below](#y), [SECURITY.md](SECURITY.md), and [RFC](https://rfc).", None, "1"
    )
    assert shown == "See the guide (`utcp/README.md`), below, SECURITY.md, and [RFC](https://rfc)."


def test_code_is_left_as_it_is() -> None:
    for source in (None, SOURCE):
        page = index_page(README, source, "1.2.3")
        assert re.findall(r"^```.*?^```$", page, re.MULTILINE | re.DOTALL) == re.findall(
            r"^```.*?^```$", README, re.MULTILINE | re.DOTALL
        )
