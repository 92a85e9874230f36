"""Paths as a report shows them: it is handed on, and no reader needs to know whose home folder it is from."""

import functools
import html
import os
import re
from pathlib import Path


def shown_path(path: Path) -> str:
    """Return a path relative to the working directory or with "~" for the home, whichever is shorter."""
    here, shown = Path.cwd(), without_home(str(path))
    if here == Path(here.anchor) or not path.is_relative_to(here):
        return shown
    return min(str(path.relative_to(here)), shown, key=len)


def without_home(text: str) -> str:
    """Return a text (plain or HTML) with "~" for the path of the home folder wherever that stands."""
    for home in _homes():
        if home in text:
            text = re.sub(rf"(?<![\w.-]){re.escape(home)}(?![\w-]|\.\w)", "~", text)
    return text


@functools.cache
def _homes() -> list[str]:
    """Return the home folder as it is named and as it is resolved; nothing if it is unknown or "/"."""
    named = os.path.expanduser("~")
    homes = [home for home in (os.path.realpath(named), named) if home.startswith("/") and home != "/"]
    return list(dict.fromkeys([*homes, *map(html.escape, homes)]))
