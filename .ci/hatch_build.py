"""hatchling's hooks: the README of the package index, and mypyc, which compiles the core if a C compiler and Python's
headers are there.

    pip install .                      # compiled if possible, otherwise interpreted
    UTCP_COMPILE=1 pip install .       # compiled, or an error
    UTCP_COMPILE=0 pip install .       # interpreted
    pip install -e .                   # interpreted
    UTCP_COMPILE=1 pip install -e .    # compiled in place

The sources stay in the wheel, for tracebacks and for reading. Python takes the extension modules that stand beside
them. Only the last command writes into the source tree. An editable install removes what an earlier one has written.
"""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

sys.path.insert(0, str(Path(__file__).parent))  # hatchling loads this file by its path
import compiling
import index_page


class CompileHook(BuildHookInterface[Any]):
    """The hook of the wheel. An editable install is a wheel, too, whose version is "editable"."""

    def dependencies(self) -> list[str]:
        wish = self._wish()
        possible = wish == "demanded" or (wish == "default" and compiling.obstacle(os.environ) is None)
        return compiling.TOOLS if possible else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root, wish = Path(self.root), self._wish()
        self._work = TemporaryDirectory()  # until the wheel is written
        if version == "editable":
            compiling.remove_in_place(root)
        if wish == "forbidden" or (wish == "default" and version == "editable"):
            return
        reason = compiling.obstacle(os.environ) if wish == "default" else None
        if reason is None:
            try:
                built = compiling.compile_core(root, Path(self._work.name))
            except compiling.NotCompiled as error:
                reason = str(error)
        if reason is not None:
            if wish == "demanded":
                self._work.cleanup()
                sys.exit(f"UTCP_COMPILE=1: {reason}")
            self.app.display_warning(f"utcp is installed interpreted, which is several times slower: {reason}")
            return
        if version == "editable":
            compiling.install_in_place(root, built)
            return
        for path in compiling.files(built):
            build_data["force_include"][str(path)] = path.relative_to(built).as_posix()
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self._work.cleanup()

    def _wish(self) -> compiling.Wish:
        try:
            return compiling.wish(os.environ)
        except compiling.NotCompiled as error:
            sys.exit(str(error))


class ReadmeHook(MetadataHookInterface):
    """The hook of the metadata: `readme` is README.md with links that lead somewhere from a package index."""

    def update(self, metadata: dict[str, Any]) -> None:
        readme = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        source = metadata.get("urls", {}).get("Source")
        text = index_page.index_page(readme, source, metadata["version"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
