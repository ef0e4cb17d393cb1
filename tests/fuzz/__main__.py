"""Coverage-guided fuzzing with atheris (the `fuzz` extra):

    python -m tests.fuzz TARGET [libFuzzer's options] [directories with inputs]

    python -m tests.fuzz stack -max_total_time=3600 /tmp/found tests/fuzz/corpus/stack

What is new goes into the first directory. An input that breaks a promise is written to a file `crash-...`, which the
same command takes in place of the directories, to run it again.
"""

import sys

try:
    import atheris
except ModuleNotFoundError:
    sys.exit("atheris is not installed: pip install '.[fuzz]' in the clone")

with atheris.instrument_imports(include=["utcp"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz {{{','.join(TARGETS)}}} [libFuzzer's options] [directories]")
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
