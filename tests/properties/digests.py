"""Digests of random lives: whether a change of the code has changed any datagram.

    python -m tests.properties.digests > before      # with the code before the change
    python -m tests.properties.digests > after       # with the code after it
    diff before after

Each line is the seed of a life (`tests.properties.knobs`), how many datagrams its two stacks sent, and a digest of each
datagram with its time and its ECN bits. A life whose line differs is shown by `long_knobs --only SEED`.
"""

import argparse
import hashlib
import sys

from tests.properties.knobs import draw
from tests.properties.lives import Life


def digest(life: Life) -> str:
    """Run a life, and return the digest of all that was sent in it."""
    total = hashlib.sha256()
    put = life._put

    def note(name: str, receiver: str, datagram: bytes, ecn: int) -> None:
        total.update(f"{life.now!r} {name} {ecn} {len(datagram)} ".encode())
        total.update(datagram)
        put(name, receiver, datagram, ecn)

    life._put = note  # type: ignore[method-assign]  # to listen is less than a subclass, which `draw` would have to know
    life.run()
    return total.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description="Digests of random lives.")
    parser.add_argument("lives", type=int, nargs="?", default=121)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    for seed in range(options.first, options.first + options.lives):
        life = draw(seed).life()
        print(seed, digest(life), life.packets)  # noqa: T201  # this is a program
    return 0


if __name__ == "__main__":
    sys.exit(main())
