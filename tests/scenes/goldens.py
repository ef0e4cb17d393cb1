"""What a scene is expected to show: its ladder as text (`ladders/`), and as a picture (`examples/pictures/`)."""

from functools import cache
from pathlib import Path

from utcp.scenes import load
from utcp.scenes.scene import Result
from utcp.scenes.text import Language
from utcp.trace.ladder import render_svg, render_text

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
