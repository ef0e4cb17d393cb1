"""The console script `utcp`. It stands outside the package, so that Ctrl-C while the package is imported ends the
command without a traceback."""


def main() -> int:
    """Run `python -m utcp`, which ends by SystemExit. Return 130, the status after SIGINT, if Ctrl-C comes before."""
    try:
        from runpy import run_module

        run_module("utcp", run_name="__main__")
    except KeyboardInterrupt:
        pass
    return 130
