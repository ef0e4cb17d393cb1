"""What to install when an optional dependency is missing."""


def not_installed(package: str, extra: str) -> str:
    """Return one line that says how to install `package`, a dependency of the extra `extra` of pyproject.toml."""
    return f"{package} is not installed: pip install 'aioutcp[{extra}]', or in a clone: pip install '.[{extra}]'"
