"""Many random lives of two stacks: `python -m tests.properties.long 20000` runs others than those of the suite.

With `--forged` a third party forges segments. It stops at the first life that breaks something, with its seed and what
was sent; `--only SEED` runs that one alone.
"""

import argparse
import sys
import time

from tests.properties import forgery, seeds
from tests.properties.world import World


def main() -> int:
    parser = argparse.ArgumentParser(description="Random lives of two stacks, with random users and a bad path.")
    parser.add_argument("lives", type=int, nargs="?", default=20_000)
    parser.add_argument("--first", type=int, default=1_000_000, help="the first seed; the suite begins at 0")
    parser.add_argument("--flips", type=float, default=0.0, help="share of datagrams that arrive with flipped bits")
    parser.add_argument("--only", type=int, metavar="SEED", help="run this one, and show what was sent")
    parser.add_argument("--forged", action="store_true", help="a third party forges segments for either end")
    options = parser.parse_args()

    def run(seed: int) -> World:
        return forgery.run(seed) if options.forged else seeds.run(seed, options.flips)

    if options.only is not None:
        print(run(options.only).history())  # noqa: T201  # this is a program
        return 0
    begin = time.monotonic()
    users, packets, virtual = 0, 0, 0.0
    for seed in range(options.first, options.first + options.lives):
        world = run(seed)
        users += len(world.users)
        packets += len(world.trace)
        virtual += world.elapsed
    print(  # noqa: T201
        f"{options.lives} lives, seeds from {options.first}: {users} users, {packets} packets,"
        f" {virtual / 3600:.0f} virtual hours in {time.monotonic() - begin:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
