"""Writes anew what the tests of the scenes expect, for those who have changed it on purpose and read what has changed.

python -m tests.scenes.regenerate             # the ladders, tests/scenes/ladders/NAME.txt
python -m tests.scenes.regenerate --pictures  # the pictures as well, examples/pictures/*.svg
"""

import sys

from tests.scenes.goldens import DRAWN, LADDERS, PICTURES, ladder
from utcp.scenes import NAMES


def main() -> None:
    LADDERS.mkdir(exist_ok=True)
    for name in NAMES:
        (LADDERS / f"{name}.txt").write_text(ladder(name), encoding="utf-8")
    if "--pictures" in sys.argv[1:]:
        PICTURES.mkdir(exist_ok=True)
        for name, draw in DRAWN.items():
            (PICTURES / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
