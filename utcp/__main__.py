"""The command line: `python -m utcp`, which the console script `utcp` runs."""

import sys

from utcp.extras import not_installed


def main() -> int:
    """Run the command line, and return its exit status (see `utcp.cli.main`). Ctrl-C during its import is silent, too.

    Raises SystemExit with one line for stderr, which makes the exit status 1, if click or rich is not installed.
    """
    try:
        from utcp.cli import main as run_command_line

        return run_command_line()
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("click", "rich"):
            raise
        sys.exit(f"utcp: {not_installed(package, 'cli')}")


if __name__ == "__main__":
    sys.exit(main())
