"""The architecture: imports point one way between rooms, and in no circle between files, typing imports included.
`wire` and `tcp` import only what is pure."""

import ast
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import utcp
import utcp.tcp

ROOT = Path(utcp.__file__).parent

# A room imports itself and rooms of a lower rank. What stands directly in utcp/ has a rank too.
RANKS = {
    "_compiled": -1,
    "config": 0,
    "errors": 0,
    "extras": 0,
    "wire": 0,
    "tcp": 1,
    "link": 2,
    "trace": 2,
    "aio": 3,
    "testing": 4,  # simulated links stand where UDP links do; the kernels of simulated hosts are endpoints
    "inspect": 5,  # it looks at endpoints from outside
    "__init__": 6,
    "integrations": 7,  # adapters for other libraries; they use the public names
    "scenes": 7,  # stories of closing, played by real endpoints in the simulated network
    "tunnel": 7,
    "lab": 8,  # experiments with the scenes
    "cli": 9,
    "__main__": 10,
}

# The sans-IO rooms do without sockets, clocks, event loops, logging, and randomness that they were not handed.
PURE = {
    "__future__",
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "errno",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "math",
    "operator",
    "struct",
    "typing",
}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def room(module: Path) -> str:
    return module.relative_to(ROOT).parts[0].removesuffix(".py")


@cache
def tree(module: Path) -> ast.Module:
    return ast.parse(module.read_text())


@cache
def import_statements(module: Path) -> list[ast.Import | ast.ImportFrom]:
    """Those of a module, wherever in it: in functions and for typing, too."""
    return [node for node in ast.walk(tree(module)) if isinstance(node, (ast.Import, ast.ImportFrom))]


def imports(module: Path) -> Iterator[str]:
    """Full names of everything that a module imports."""
    for node in import_statements(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            assert node.level == 0, f"{module}: relative import"
            assert node.module is not None
            if node.module == "utcp":
                yield from (f"utcp.{alias.name}" for alias in node.names)
            else:
                yield node.module


def target(name: str) -> str:
    """The room that `utcp.x...` names; a public name of the package itself is its __init__."""
    part = name.removeprefix("utcp").removeprefix(".").partition(".")[0]
    return part if part in RANKS else "__init__"


module_by_module = pytest.mark.parametrize("module", modules(), ids=lambda module: str(module.relative_to(ROOT)))


@module_by_module
def test_arrows(module: Path) -> None:
    own = room(module)
    for name in imports(module):
        if name.partition(".")[0] == "utcp":
            other = target(name)
            assert other == own or RANKS[other] < RANKS[own], f"{own} must not import {name}"


@module_by_module
def test_every_module_lives_in_a_room(module: Path) -> None:
    assert room(module) in RANKS


@pytest.mark.parametrize(
    "module",
    [module for module in modules() if room(module) in ("wire", "tcp")],
    ids=lambda module: str(module.relative_to(ROOT)),
)
def test_sans_io_rooms_import_only_what_is_pure(module: Path) -> None:
    foreign = {name.partition(".")[0] for name in imports(module)} - {"utcp"}
    assert foreign <= PURE


def test_config_errors_and_extras_import_nothing_of_ours() -> None:
    for name in ("config.py", "errors.py", "extras.py"):
        assert not [imported for imported in imports(ROOT / name) if imported.startswith("utcp")]


def test_the_variant_that_was_asked_for_runs() -> None:
    """All of `wire` and `tcp` is compiled, or nothing; and CI's compiled run is one."""
    suffixes = {
        Path(str(module.__file__)).suffix
        for name, module in list(sys.modules.items())
        if name.startswith(("utcp.wire", "utcp.tcp")) and name != "utcp.tcp.observer"  # it is for others to subclass
    }
    assert suffixes == ({".so"} if utcp.tcp.COMPILED else {".py"})
    wanted = os.environ.get("UTCP_COMPILE")
    assert wanted is None or (wanted == "1") == utcp.tcp.COMPILED


@module_by_module
def test_only_the_command_line_imports_the_extra_cli(module: Path) -> None:
    assert room(module) == "cli" or not {name.partition(".")[0] for name in imports(module)} & {"click", "rich"}


# --- no circle of files


def files_imported(module: Path) -> set[Path]:
    """Return the files of utcp that a module names in its imports."""
    found = set()
    for node in import_statements(module):
        prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        names = [f"{prefix}{alias.name}" for alias in node.names]
        found |= {file for name in names if name.partition(".")[0] == "utcp" and (file := file_of(name)) is not None}
    return found - {module}


def file_of(name: str) -> Path | None:
    """Return the file of a module, or of the module that has this name in it."""
    parts = name.split(".")[1:]
    for candidate in (parts, parts[:-1]):
        base = ROOT.joinpath(*candidate)
        if (file := base.with_suffix(".py")).is_file() and candidate:
            return file
        if (file := base / "__init__.py").is_file():
            return file
    return None


def circles(graph: Mapping[Path, Collection[Path]]) -> list[set[Path]]:
    """Return the sets of files each of which imports, directly or not, every other of its set."""
    reachable: dict[Path, set[Path]] = {}
    for start in graph:
        seen: set[Path] = set()
        waiting = [start]
        while waiting:
            for file in graph.get(waiting.pop(), ()):
                if file not in seen:
                    seen.add(file)
                    waiting.append(file)
        reachable[start] = seen
    found: list[set[Path]] = []
    for file in graph:
        if file in reachable[file] and not any(file in circle for circle in found):
            found.append({other for other in reachable[file] if file in reachable.get(other, ())})
    return found


def test_no_circle_of_files() -> None:
    found = circles({module: files_imported(module) for module in modules()})
    assert [sorted(str(file.relative_to(ROOT)) for file in circle) for circle in found] == []
