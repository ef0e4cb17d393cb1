"""Compile the core by mypyc: whether that is wanted, whether it is possible, and how it is done.

hatch_build.py uses the functions. It runs this file as a program for the compilation itself, because the tools may be
missing, and the C compiler may fail:

    python .ci/compiling.py BUILT    # in a directory that has only the sources; writes the modules to BUILT
"""

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

TOOLS: Final = ["mypy>=2.1", "setuptools>=77"]

# observer.py is for others to subclass, and is called only if an observer is set.
LEFT_OUT: Final = {"utcp/tcp/observer.py"}

UNITS: Final = 4
"""Number of C files, and of compilers at a time at most. One file of everything would take four times the memory, and
one file for each module would read the common headers 76 times."""

Wish = Literal["default", "demanded", "forbidden"]


class NotCompiled(Exception):
    """The core cannot be compiled. The text is the reason."""


def wish(environ: Mapping[str, str]) -> Wish:
    """Return what the variable UTCP_COMPILE says. Raise NotCompiled if it has an unknown value."""
    value = environ.get("UTCP_COMPILE", "")
    wishes: dict[str, Wish] = {"": "default", "0": "forbidden", "1": "demanded"}
    if value not in wishes:
        raise NotCompiled(f"UTCP_COMPILE must be 0 or 1, not {value!r}")
    return wishes[value]


def obstacle(environ: Mapping[str, str]) -> str | None:
    """Return what is missing for compiling an extension module. None: a C compiler and Python's headers are there."""
    if sys.implementation.name != "cpython":
        return f"mypyc compiles for CPython, not for {sys.implementation.name}"
    if sys.platform == "win32":
        programs = environ.get("ProgramFiles(x86)", "")
        if shutil.which("cl") or Path(programs, "Microsoft Visual Studio/Installer/vswhere.exe").is_file():
            return None
        return "there is no C compiler (Microsoft's Build Tools for C++)"
    command = shlex.split(environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    headers = sysconfig.get_path("include")
    try:
        for code, missing in (
            ("#include <stdio.h>", "the C library's headers"),
            ("#include <Python.h>", f"Python's headers ({headers})"),
        ):
            arguments = [*command, "-fsyntax-only", f"-I{headers}", "-x", "c", "-"]
            if subprocess.run(arguments, input=code.encode(), capture_output=True, check=False).returncode:  # noqa: S603
                return f"the C compiler {command[0]} does not find {missing}"
    except OSError as error:
        return f"there is no C compiler ({command[0]}: {error.strerror})"
    return None


def facts(root: Path) -> dict[str, Any]:
    """Return the names of utcp/_compiled.py, which knows the sources of the compiled core."""
    return runpy.run_path(str(root.resolve() / "utcp/_compiled.py"))


def compile_core(root: Path, work: Path) -> Path:
    """Compile the core of the tree at `root`. Return the directory with the modules, which is within `work`.

    Raises NotCompiled. The errors of the compilers are on stderr.
    """
    source, built = work / "source", work / "built"
    for path in facts(root)["sources"]():  # and nothing else: what it imports would have to be installed
        copy = source / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        (copy.parent / "__init__.py").touch()  # of the package, whose own may not be among the sources
        shutil.copy(path, copy)
    command = [sys.executable, str(Path(__file__).resolve()), str(built)]
    if subprocess.run(command, cwd=source, check=False).returncode:  # noqa: S603  # our own program
        raise NotCompiled(obstacle(os.environ) or "compiling failed, see above")
    return built


def files(built: Path) -> list[Path]:
    return [path for path in built.rglob("*") if path.is_file()]


def install_in_place(root: Path, built: Path) -> None:
    """Copy the modules beside the sources of a checkout, and record the sources."""
    for path in files(built):
        shutil.copy(path, root / path.relative_to(built))
    names = facts(root)
    names["record"]().write_text(names["digest"]())


def remove_in_place(root: Path) -> None:
    """Remove the modules of this Python that `install_in_place()` has copied. A running process keeps its own."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    for path in (facts(root)["record"](), *root.glob(f"utcp__mypyc{suffix}"), *root.glob(f"utcp/**/*{suffix}")):
        path.unlink(missing_ok=True)


def _compile_here(built: str) -> None:
    from multiprocessing.pool import ThreadPool

    from mypyc.build import mypycify
    from setuptools import setup
    from setuptools.command.build_ext import build_ext

    processes = min(os.cpu_count() or 1, UNITS)

    class BuildInParallel(build_ext):
        """Compiles the C files of one module in parallel. setuptools does that only with modules."""

        def build_extensions(self) -> None:
            compile_files = self.compiler.compile

            def compile_each(sources: list[str], **options: Any) -> list[str]:
                with ThreadPool(processes) as pool:
                    objects = pool.map(lambda source: compile_files([source], **options), sources, chunksize=1)
                return [name for names in objects for name in names]

            self.compiler.compile = compile_each
            super().build_extensions()

    paths = sorted({path.relative_to(Path.cwd()).as_posix() for path in facts(Path.cwd())["compiled"]()} - LEFT_OUT)
    # One group: calls between modules are C calls. -O1 takes half of the time of -O3, and the modules are as fast.
    modules = mypycify(["--strict", *paths], opt_level="1", debug_level="0", group_name="utcp", multi_file=True)
    for path in map(Path, modules[0].sources):
        path.write_text(_with_weak_references(path.read_text()))
    _merge(modules[0])
    for module in modules:
        if sys.platform != "win32":
            # A warning of a compiler that mypyc does not know yet is no reason to stay interpreted.
            module.extra_compile_args += ["-Wno-error", "-Werror=implicit-function-declaration", "-fvisibility=hidden"]
        if sys.platform == "linux":
            module.extra_link_args.append("-s")
    arguments = ["-q", "build_ext", f"--build-lib={built}", f"--parallel={processes}"]
    setup(name="utcp", packages=[], ext_modules=modules, cmdclass={"build_ext": BuildInParallel}, script_args=arguments)


_DESTRUCTOR: Final = re.compile(r"^\w+_dealloc\(.*\)\n\{\n(?:.*\n)*?\}\n", re.MULTILINE)


def _with_weak_references(code: str) -> str:
    """Make the destructors in C code of mypyc clear weak references, which they do not. Objects of compiled classes
    have weak references if their class inherits from one that is not compiled, as those of asyncio's transports and
    streams do. Otherwise a weak reference would lead to freed memory. Exceptions, which end in the destructor of their
    base, have none.

    Raises NotCompiled if a destructor is not as expected, because mypyc has changed."""
    begin, of_exceptions = "CPy_TRASHCAN_BEGIN(self, ", "_base_tp_dealloc->tp_dealloc("
    destructors = _DESTRUCTOR.findall(code)
    known = all(begin in destructor or of_exceptions in destructor for destructor in destructors)
    if not known or len(destructors) != code.count(".tp_dealloc = (destructor)"):
        raise NotCompiled(f"mypyc writes other destructors now, without {begin!r}")
    return code.replace(
        begin, f"if (Py_TYPE(self)->tp_weaklistoffset) PyObject_ClearWeakRefs((PyObject *)self);\n{begin}"
    )


def _merge(module: Any) -> None:
    """Make `UNITS` C files of equal size of the sources of an extension module, so that each reads the headers once."""
    units: list[list[Path]] = [[] for _ in range(UNITS)]
    for path in sorted(map(Path, module.sources), key=lambda path: (-path.stat().st_size, path)):
        min(units, key=lambda unit: sum(path.stat().st_size for path in unit)).append(path)
    module.sources = []
    for number, unit in enumerate(units):
        merged = Path("build", f"unit{number}.c")
        merged.write_text("".join(f'#include "{path.name}"\n' for path in unit))
        module.sources.append(str(merged))


if __name__ == "__main__":
    _compile_here(sys.argv[1])
