"""README.md as the page of a package index, which has no other files: relative links and pictures would lead nowhere.

With `Source` in `[project.urls]` of pyproject.toml, the address of the repository, they become absolute links to the
tag of the version. Without it, a link becomes its text with the path, which the sdist has, and a picture is left out.
"""

import re
from typing import Final

_PICTURE: Final = re.compile(r"<p[^>]*>(?:(?!</p>).)*<img(?:(?!</p>).)*</p>\n*", re.DOTALL)
_LINK: Final = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?://)([^)\s]*)\)")
_ATTRIBUTE: Final = re.compile(r'\b(src|href)="(?!https?://)([^"]*)"')
_COMMENT: Final = re.compile(r"<!--.*?-->\n", re.DOTALL)


def index_page(readme: str, source: str | None, version: str) -> str:
    """Return the Markdown of the page.

    Args:
        readme: README.md.
        source: the address of the repository; None: there is none yet.
        version: the version of the distribution.
    """
    readme = _COMMENT.sub("", readme)
    if source is None:
        return _LINK.sub(_named, _PICTURE.sub("", readme))
    pages, files = (f"{source.rstrip('/')}/{kind}/v{version}/" for kind in ("blob", "raw"))
    readme = _ATTRIBUTE.sub(lambda found: f'{found[1]}="{(files if found[1] == "src" else pages)}{found[2]}"', readme)
    return _LINK.sub(lambda found: f"[{found[1]}]({pages}{_path(found[2])})", readme)


def _named(link: re.Match[str]) -> str:
    text, target = link[1], link[2].partition("#")[0]
    if not target or target in text:
        return text
    return f"{text} (`{target}`)"


def _path(target: str) -> str:
    return f"README.md{target}" if target.startswith("#") else target
