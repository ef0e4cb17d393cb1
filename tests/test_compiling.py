"""Whether the core is compiled (`.ci/hatch_build.py`, `.ci/compiling.py`), and that modules which were compiled in
place are refused when their sources have changed. `.ci/run` compiles."""

import importlib.util
import os
import runpy
import shutil
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from utcp import _compiled

ROOT = Path(__file__).parents[1]
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f".ci/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


compiling: Any = load("compiling")


def program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


# ---------------------------------------------------------------------- what is wanted, and what is possible


@pytest.mark.parametrize(
    ("environ", "wish"),
    [
        ({}, "default"),
        ({"UTCP_COMPILE": ""}, "default"),
        ({"UTCP_COMPILE": "0"}, "forbidden"),
        ({"UTCP_COMPILE": "1"}, "demanded"),
    ],
)
def test_the_variable_says_what_is_wanted(environ: dict[str, str], wish: str) -> None:
    assert compiling.wish(environ) == wish


def test_another_value_of_the_variable_is_an_error() -> None:
    with pytest.raises(compiling.NotCompiled, match=r"^UTCP_COMPILE must be 0 or 1, not 'yes'$"):
        compiling.wish({"UTCP_COMPILE": "yes"})


def test_no_compiler() -> None:
    assert compiling.obstacle({"CC": "/nonexistent -m64"}) == (
        "there is no C compiler (/nonexistent: No such file or directory)"
    )


@pytest.mark.parametrize(
    ("lacking", "missing"),
    [("Python.h", f"Python's headers ({sysconfig.get_path('include')})"), ("stdio.h", "the C library's headers")],
)
def test_no_headers(tmp_path: Path, lacking: str, missing: str) -> None:
    compiler = program(tmp_path / "cc", f"! grep -q {lacking}")
    assert compiling.obstacle({"CC": compiler}) == f"the C compiler {compiler} does not find {missing}"


def test_another_python_than_cpython(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.implementation, "name", "pypy")
    assert compiling.obstacle({}) == "mypyc compiles for CPython, not for pypy"


@pytest.mark.skipif(
    COMPILER is None or not Path(sysconfig.get_path("include"), "Python.h").is_file(),
    reason="there is no C compiler, or Python's headers are missing",
)
def test_nothing_is_missing() -> None:
    assert compiling.obstacle({"CC": f"{COMPILER} -O1"}) is None


@pytest.mark.parametrize(
    ("compiler", "reason"), [("/nonexistent", "there is no C compiler (.*)"), ("true", "compiling failed, see above")]
)
def test_a_failure_has_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str, reason: str) -> None:
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setattr(sys, "executable", program(tmp_path / "python", "exit 1"))
    with pytest.raises(compiling.NotCompiled, match=f"^{reason}$"):
        compiling.compile_core(ROOT, tmp_path)
    assert (tmp_path / "source/utcp/tcp/stack.py").read_bytes() == (ROOT / "utcp/tcp/stack.py").read_bytes()
    assert not (tmp_path / "source/utcp/trace").exists()


DESTRUCTORS = """\
static void
A_dealloc(AObject *self)
{
    PyObject_GC_UnTrack(self);
    CPy_TRASHCAN_BEGIN(self, A_dealloc)
}

    .tp_dealloc = (destructor)A_dealloc,

static void
Error_dealloc(ErrorObject *self)
{
    if (x) {
        y;
    }
    _base_tp_dealloc->tp_dealloc((PyObject *)self);
}

    .tp_dealloc = (destructor)Error_dealloc,
"""


def test_destructors_clear_weak_references() -> None:
    begin = "CPy_TRASHCAN_BEGIN"
    clear = "if (Py_TYPE(self)->tp_weaklistoffset) PyObject_ClearWeakRefs((PyObject *)self);\n"
    assert compiling._with_weak_references(DESTRUCTORS) == DESTRUCTORS.replace(begin, clear + begin)


@pytest.mark.parametrize("known", ["CPy_TRASHCAN_BEGIN", "_base_tp_dealloc", "A_dealloc(AObject"])
def test_a_destructor_of_another_form_is_an_error(known: str) -> None:
    with pytest.raises(compiling.NotCompiled, match=r"^mypyc writes other destructors"):
        compiling._with_weak_references(DESTRUCTORS.replace(known, "another_form"))


# ---------------------------------------------------------------------- what hatchling does

SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
MODULES = [f"utcp/tcp/stack{SUFFIX}", f"utcp__mypyc{SUFFIX}"]


class Build:
    """A small tree, and hatchling's builds of it. Compiling makes files that say "compiled"."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.data: dict[str, Any] = {}
        self.included: dict[str, str] = {}
        files = [name for name in (*_compiled.COMPILED, *_compiled.SHOWN) if name.endswith(".py")]
        for name in ("__init__.py", "wire/seq.py", "tcp/stack.py", *files):
            (root / "utcp" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "utcp" / name, root / "utcp" / name)
        monkeypatch.setitem(sys.modules, "compiling", compiling)
        monkeypatch.setattr(sys, "path", [*sys.path])
        monkeypatch.setattr(compiling, "compile_core", self._compile)
        self._hook = load("hatch_build").CompileHook(str(root), {}, None, None, str(root), "wheel")

    def _compile(self, root: Path, work: Path) -> Path:
        assert root == self.root
        if "nonexistent" in os.environ["CC"]:
            raise compiling.NotCompiled("there is no C compiler")
        for name in MODULES:
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_text("compiled")
        return work

    def run(self, version: str) -> None:
        self.data = {"force_include": {}}
        self._hook.initialize(version, self.data)
        self.included = {name: Path(path).read_text() for path, name in self.data["force_include"].items()}
        self._hook.finalize(version, self.data, "")
        assert not any(Path(path).exists() for path in self.data["force_include"])

    def tools(self) -> list[str]:
        return list(self._hook.dependencies())

    def in_place(self) -> list[str]:
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob(f"*{SUFFIX}"))


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    monkeypatch.delenv("UTCP_COMPILE", raising=False)
    monkeypatch.setenv("CC", "true")
    return Build(tmp_path, monkeypatch)


@pytest.mark.parametrize("wish", ["", "1"])
def test_a_wheel_is_compiled_by_default(build: Build, wish: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UTCP_COMPILE", wish)
    assert build.tools() == compiling.TOOLS
    build.run("standard")
    assert build.included == dict.fromkeys(MODULES, "compiled")
    assert (build.data["pure_python"], build.data["infer_tag"]) == (False, True)
    assert build.in_place() == []


def test_without_a_compiler_the_wheel_is_pure_and_a_warning_says_why(
    build: Build, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "/nonexistent")
    assert build.tools() == []
    build.run("standard")
    assert build.data == {"force_include": {}}
    assert capfd.readouterr().err.strip() == (
        "utcp is installed interpreted, which is several times slower: "
        "there is no C compiler (/nonexistent: No such file or directory)"
    )


def test_a_failure_makes_a_pure_wheel_too(
    build: Build, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(root: Path, work: Path) -> Path:
        raise compiling.NotCompiled("compiling failed, see above")

    monkeypatch.setattr(compiling, "compile_core", fail)
    build.run("standard")
    assert build.data == {"force_include": {}}
    assert "compiling failed, see above" in capfd.readouterr().err


@pytest.mark.parametrize("version", ["standard", "editable"])
def test_demanded_without_a_compiler_it_fails(build: Build, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UTCP_COMPILE", "1")
    monkeypatch.setenv("CC", "/nonexistent")
    assert build.tools() == compiling.TOOLS
    with pytest.raises(SystemExit, match=r"^UTCP_COMPILE=1: there is no C compiler$"):
        build.run(version)


def test_forbidden_nothing_is_compiled(
    build: Build, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UTCP_COMPILE", "0")
    assert build.tools() == []
    build.run("standard")
    assert build.data == {"force_include": {}}
    assert capfd.readouterr() == ("", "")


def test_an_unknown_wish_ends_the_build(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UTCP_COMPILE", "please")
    with pytest.raises(SystemExit, match=r"^UTCP_COMPILE must be 0 or 1, not 'please'$"):
        build.tools()


def test_an_editable_install_is_compiled_only_if_demanded(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    build.run("editable")
    assert build.in_place() == []
    monkeypatch.setenv("UTCP_COMPILE", "1")
    build.run("editable")
    assert build.in_place() == MODULES
    assert build.data == {"force_include": {}}
    monkeypatch.delenv("UTCP_COMPILE")
    build.run("editable")
    assert build.in_place() == []
    assert not list(build.root.rglob("*.digest"))


# ---------------------------------------------------------------------- modules compiled in place


def load_package(root: Path) -> None:
    """Load what `utcp` imports first."""
    runpy.run_path(str(root / "utcp/_compiled.py"), run_name="utcp._compiled")


@pytest.fixture
def compiled_in_place(build: Build, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UTCP_COMPILE", "1")
    build.run("editable")
    load_package(build.root)
    return build.root


@pytest.mark.parametrize("name", ["tcp/stack.py", "wire/seq.py", "config.py", "errors.py", "_compiled.py"])
def test_changed_sources_are_refused(compiled_in_place: Path, name: str) -> None:
    path = compiled_in_place / "utcp" / name
    before, times = path.read_bytes(), path.stat()
    path.write_bytes(before + b"# changed\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # the time proves nothing
    with pytest.raises(ImportError) as refused:
        load_package(compiled_in_place)
    assert str(refused.value) == (
        f"the compiled modules in {compiled_in_place} are not those of its sources. In that directory, "
        "`UTCP_COMPILE=1 pip install -e .` compiles them again, and `pip install -e .` removes them."
    )
    path.write_bytes(before)
    load_package(compiled_in_place)


def test_new_and_missing_sources_are_refused(compiled_in_place: Path) -> None:
    new = compiled_in_place / "utcp/tcp/new.py"
    new.touch()
    with pytest.raises(ImportError):
        load_package(compiled_in_place)
    (compiled_in_place / "utcp/wire/seq.py").rename(new)
    with pytest.raises(ImportError):
        load_package(compiled_in_place)


def test_other_sources_may_change(compiled_in_place: Path) -> None:
    (compiled_in_place / "utcp/aio.py").touch()
    (compiled_in_place / "utcp/__init__.py").write_text("changed = True\n")
    load_package(compiled_in_place)


def test_the_package_looks_first_whether_its_modules_fit() -> None:
    lines = (ROOT / "utcp/__init__.py").read_text().splitlines()
    assert next(line for line in lines if line.startswith(("import utcp", "from utcp"))).startswith(
        "import utcp._compiled "
    )
