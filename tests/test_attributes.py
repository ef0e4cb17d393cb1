"""What the pages name as `utcp.x.y` is there after `import utcp`, and costs nothing before it is used."""

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import utcp
from utcp.extras import needs_extra

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "utcp/README.md", "utcp/testing/README.md", "examples/README.md")
ATTRIBUTE = re.compile(r"`(utcp(?:\.[A-Za-z_]\w*)+)(?:\(|`)")
EVENT = re.compile(r"^\| `(utcp\.\w+)` \| (?:info|warning|debug) \|", re.MULTILINE)

LOOK_UP = """
import json, sys
import utcp
found = {}
for name in json.load(sys.stdin):
    value, missing = utcp, ""
    try:
        for part in name.split(".")[1:]:
            value = getattr(value, part)
    except (AttributeError, ModuleNotFoundError) as error:
        missing = f"{type(error).__name__}: {error}"
    found[name] = missing
json.dump(found, sys.stdout)
"""


def python(program: str, text: str = "") -> str:
    """Run a program in an interpreter of its own, and return its output."""
    process = subprocess.run(  # noqa: S603  # our own interpreter and script
        [sys.executable, "-c", program], cwd=ROOT, input=text, capture_output=True, text=True, check=True, timeout=200
    )
    assert process.stderr == ""
    return process.stdout


def named_on_the_pages() -> list[str]:
    """The attributes that the pages name, without log events, which look the same."""
    texts = [(ROOT / page).read_text() for page in PAGES]
    events = {event for text in texts for event in EVENT.findall(text)}
    return sorted({name for text in texts for name in ATTRIBUTE.findall(text)} - events)


def test_what_the_pages_name_is_there() -> None:
    names = named_on_the_pages()
    assert {"utcp.integrations.httpx", "utcp.tcp.COMPILED", "utcp.testing"} <= set(names)
    found = json.loads(python(LOOK_UP, json.dumps(names)))
    wrong = {name: text for name, text in found.items() if text and "pip install 'aioutcp[" not in text}
    assert wrong == {}


def test_the_version_is_there() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", utcp.__version__)


@pytest.mark.parametrize(
    ("attribute", "package", "extra"),
    [
        ("integrations.aiohttp", "aiohttp", "integrations"),
        ("integrations.anyio", "anyio", "integrations"),
        ("integrations.httpx", "anyio", "integrations"),  # httpx needs it, and so does the adapter
        ("integrations.uvicorn", "uvicorn", "integrations"),
        ("trace.prometheus", "prometheus_client", "metrics"),
    ],
)
def test_a_missing_extra_names_the_command_that_installs_it(attribute: str, package: str, extra: str) -> None:
    for use in (f"utcp.{attribute}", f"import utcp.{attribute}"):
        program = f"""
import sys
sys.modules.update(dict.fromkeys(["aiohttp", "anyio", "httpcore", "httpx", "prometheus_client", "uvicorn"]))
import utcp
try:
    {use}
except ModuleNotFoundError as error:
    print(error)
"""  # None in sys.modules: as if it were not installed
        hint = f"{package} is not installed: pip install 'aioutcp[{extra}]'"
        assert python(program).strip() == hint


def test_a_missing_submodule_does_not_count_as_a_missing_package() -> None:
    """As where the installed version of a library is too old for the adapter."""
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'pytest\.missing'"), needs_extra("integrations"):
        import_module("pytest.missing")


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    for package in ("utcp", "utcp.integrations", "utcp.testing", "utcp.trace"):
        with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'wrong'"):
            import_module(package).wrong  # noqa: B018
