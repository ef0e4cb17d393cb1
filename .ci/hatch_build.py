"""The build hook: with UTCP_COMPILE=1 in the environment a wheel holds utcp/wire, utcp/tcp and utcp/config.py compiled
by mypyc.

    UTCP_COMPILE=1 pip install .

It needs a C compiler and Python's headers. The sources stay in the wheel, for tracebacks and for reading; Python takes
the extension modules that stand beside them. Nothing is written into the source tree.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TOOLS = ["mypy>=2.1", "setuptools>=77"]

COMPILED = ("utcp/wire", "utcp/tcp", "utcp/config.py")

# What they import, and the compiler has to be shown.
IMPORTED = ("utcp/_compiled.py", "utcp/errors.py")

# observer.py is for others to subclass, and is called only where somebody looks.
LEFT_OUT = {"utcp/tcp/observer.py"}

SETUP = """
import sys
from mypyc.build import mypycify
from setuptools import setup

# One group: calls between modules are C calls. All in one C file, so that the compiler sees through them.
modules = mypycify(["--strict", *sys.argv[4:]], opt_level="3", debug_level="0", group_name="utcp")
for module in modules:
    module.extra_link_args.append("-s")
setup(name="utcp", packages=[], ext_modules=modules, script_args=sys.argv[1:4])
"""


class CompileHook(BuildHookInterface[Any]):
    """Wheels only, and not the editable one, whose sources may change."""

    def dependencies(self) -> list[str]:
        return TOOLS if self._is_wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not self._is_wanted() or version == "editable":
            return
        self._work = tempfile.mkdtemp()
        try:
            self._compile(build_data)
        except BaseException:
            shutil.rmtree(self._work)
            raise

    def _compile(self, build_data: dict[str, Any]) -> None:
        source, built = Path(self._work, "source"), Path(self._work, "built")
        for name in COMPILED + IMPORTED:  # and nothing else: what it imports would have to be installed
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(".py"):
                shutil.copy(Path(self.root, name), source / name)
            else:
                shutil.copytree(Path(self.root, name), source / name)
        (source / "utcp/__init__.py").touch()
        paths = [*(source / "utcp").glob("*/**/*.py"), *(source / name for name in COMPILED if name.endswith(".py"))]
        names = sorted(path.relative_to(source).as_posix() for path in paths)
        command = [sys.executable, "-c", SETUP, "-q", "build_ext", f"--build-lib={built}"]
        command += [name for name in names if name not in LEFT_OUT]
        if subprocess.run(command, cwd=source, check=False).returncode:  # noqa: S603  # our own sources
            sys.exit("UTCP_COMPILE=1: compiling failed, see above. It takes a C compiler and Python's headers.")
        for path in built.rglob("*"):
            if path.is_file():
                build_data["force_include"][str(path)] = path.relative_to(built).as_posix()
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self._is_wanted() and version != "editable":
            shutil.rmtree(self._work)

    def _is_wanted(self) -> bool:
        return self.target_name == "wheel" and os.environ.get("UTCP_COMPILE", "0") not in ("", "0")
