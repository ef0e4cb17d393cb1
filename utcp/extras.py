"""Error texts for missing optional dependencies."""


def not_installed(package: str, extra: str) -> str:
    """Return one line on how to install `package`, a dependency of the extra `extra` in pyproject.toml."""
    return f"{package} is not installed: pip install 'aioutcp[{extra}]', or in a clone: pip install '.[{extra}]'"
