"""Imports on demand: optional dependencies, with the error text for a missing one, and submodules."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType


def not_installed(package: str, extra: str) -> str:
    """Return one line on how to install `package`, a dependency of the extra `extra` in pyproject.toml."""
    return f"{package} is not installed: pip install 'aioutcp[{extra}]', or in a clone: pip install '.[{extra}]'"


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Name `extra` in the error of an import, within the context, of a package that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise ModuleNotFoundError(not_installed(package, extra), name=error.name) from None


def submodules(package: str, names: Collection[str]) -> Callable[[str], ModuleType]:
    """Return the `__getattr__` of a package that imports each of its submodules `names` at its first use."""

    def load(name: str) -> ModuleType:
        if name in names:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load
