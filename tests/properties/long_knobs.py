"""Many lives of one connection each: `python -m tests.properties.long_knobs 20000` runs others than those of the suite.

It stops at the first that breaks something, with what was drawn and sent; `--only SEED` runs that one alone.
"""

import argparse
import sys
import time

from tests.properties.knobs import run


def main() -> int:
    parser = argparse.ArgumentParser(description="Random knobs, applications and paths.")
    parser.add_argument("lives", type=int, nargs="?", default=20_000)
    parser.add_argument("--first", type=int, default=1_000_000, help="the first seed; the suite begins at 0")
    parser.add_argument("--only", type=int, metavar="SEED", help="run this one, and show what was sent")
    options = parser.parse_args()
    if options.only is not None:
        print(run(options.only).history())  # noqa: T201  # this is a program
        return 0
    begin = time.monotonic()
    packets, dropped, virtual = 0, 0, 0.0
    for seed in range(options.first, options.first + options.lives):
        life = run(seed)
        packets += life.packets
        dropped += life.dropped
        virtual += life.elapsed
    print(  # noqa: T201
        f"{options.lives} lives, seeds from {options.first}: {packets} packets, {dropped} of them dropped,"
        f" {virtual / 3600:.0f} virtual hours in {time.monotonic() - begin:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
