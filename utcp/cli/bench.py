"""`utcp bench`: the benchmarks, which an installed utcp has in `utcp.bench` and a checkout beside the package."""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Final

import click

import utcp

MISSING: Final = "the benchmarks are not installed here: pip install 'aioutcp[bench]', or use it in a checkout"


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> int:
    """Measure utcp against the kernel's TCP.

    "utcp bench --help" names the benchmarks, "utcp bench NAME --help" the options of one.
    """
    benchmarks = _benchmarks()
    try:
        benchmarks.main(prog="utcp bench", arguments=arguments)
    except SystemExit as end:
        if isinstance(end.code, str):
            raise click.ClickException(end.code.removeprefix("utcp bench: ")) from None
        return end.code or 0
    return 0


def _benchmarks() -> ModuleType:
    """Their command. Raises click.ClickException when they are not there, or lack what they need."""
    if find_spec("utcp.bench") is not None:
        package = "utcp.bench"
    else:
        checkout = Path(utcp.__file__).parents[1]
        if not (checkout / "bench" / "registry.py").exists():
            raise click.ClickException(MISSING)
        package = "bench"
        sys.path.insert(0, str(checkout))  # for their processes too
    try:
        return import_module(f"{package}.command")
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is not installed here: pip install 'aioutcp[bench]'") from None
