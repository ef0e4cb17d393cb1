"""Packages whose public names are imported when they are first used, so that importing the package costs nothing.

`utcp` itself is no such package: its names are used in running event loops, which an import would block.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def lazy(package: str, homes: Mapping[str, Iterable[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` (PEP 562) of `package`, whose names are those of the modules `homes`."""
    home_of = {name: home for home, names in homes.items() for name in names}

    def module_getattr(name: str) -> Any:
        home = home_of.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home), name)
        setattr(sys.modules[package], name, value)  # the next time it is there
        return value

    def module_dir() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home_of})

    return module_getattr, module_dir
