"""What a scene is expected to show: its ladder as text (`ladders/`), and as a picture (`examples/pictures/`).

One picture more is for the front page, which has no room for a long one.
"""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Final

from utcp.scenes import NAMES, load
from utcp.scenes.scene import Result
from utcp.scenes.text import Language
from utcp.tcp.state import ESTABLISHED
from utcp.trace.ladder import Rung, render_svg, render_text
from utcp.wire import FIN

LADDERS = Path(__file__).parent / "ladders"
PICTURES = Path(__file__).parents[2] / "examples" / "pictures"


@cache
def played(name: str, language: Language = "en") -> Result:
    """The scene, played once for all tests."""
    return load(name).play(language)


def ladder(name: str) -> str:
    """The English ladder, and what is shown below it."""
    result = played(name)
    text = render_text(result.rungs)
    for exhibit in result.exhibits:
        text += "\n".join(("", exhibit.title, *exhibit.lines, ""))
    return text


def picture(name: str) -> str:
    """The English ladder as SVG."""
    result = played(name)
    return render_svg(result.rungs, title=f"{name}: {result.scene.title.en}")


def front_page() -> str:
    """The end of `four-way`, without its notes: from the client's FIN to TIME_WAIT."""
    rungs = [rung for rung in played("four-way").rungs if rung.note is None]
    fin = next(index for index, rung in enumerate(rungs) if rung.arrow is not None and rung.arrow.flags & FIN)
    before = Rung(rungs[fin].time, ESTABLISHED, ESTABLISHED)
    return render_svg([before, *rungs[fin:]], title="A connection closes: both ends, and every state")


DRAWN: Final[dict[str, Callable[[], str]]] = {
    "front-page.svg": front_page,
    **{f"{name}.svg": partial(picture, name) for name in NAMES},
}
"""What draws each picture, by its file's name."""
