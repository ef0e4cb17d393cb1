"""Imports on demand: optional dependencies, with the error text for a missing one, and submodules."""

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType


def not_installed(package: str, extra: str) -> str:
    """Return one line on how to install `package`, a dependency of the extra `extra` in pyproject.toml.

    The command is the same whether utcp was installed from an index, a wheel or a clone, because pip reads the extras
    of an installed distribution from its metadata.
    """
    from importlib.metadata import PackageNotFoundError, distribution  # slow to import, and rarely needed

    try:
        distribution("aioutcp")
    except PackageNotFoundError:  # this is a source tree
        return f"{package} is not installed: pip install '.[{extra}]' in the clone"
    return f"{package} is not installed: pip install 'aioutcp[{extra}]'"


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Name `extra` in the error of an import, within the context, of a package that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if sys.modules.get(package) is not None:  # the installed version of the package lacks a submodule
            raise
        raise ModuleNotFoundError(not_installed(package, extra), name=error.name) from None


def submodules(package: str, names: Collection[str]) -> Callable[[str], ModuleType]:
    """Return the `__getattr__` of a package that imports each of its submodules `names` at its first use."""

    def load(name: str) -> ModuleType:
        if name in names:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load
