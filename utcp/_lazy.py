"""Packages that import their public names on first use, so that an import of the package costs nothing.

`utcp` itself is not one of them. Its names are used in running event loops, which an import would block.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def lazy(package: str, homes: Mapping[str, Iterable[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` (PEP 562) of `package`. `homes` has the names of each module."""
    home_of = {name: home for home, names in homes.items() for name in names}

    def module_getattr(name: str) -> Any:
        home = home_of.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home), name)
        setattr(sys.modules[package], name, value)  # found without this function from now on
        return value

    def module_dir() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home_of})

    return module_getattr, module_dir
