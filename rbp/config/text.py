"""Format values and durations as text."""

from collections.abc import Callable
from typing import Any

LONGEST = 60  # characters of a value in a message; longer ones are cut


def text(value: Any, quoted: Callable[[str], str] = str) -> str:
    """Return a value as it is written on the command line.

    Args:
        value: A value of a config.
        quoted: A function applied to every string, to put it in quotes for instance.
    """
    if value is None:
        return "null"
    if isinstance(value, bool | int | float):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(text(item, quoted) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{text(item, quoted)}" for key, item in value.items()) + "}"
    return quoted(str(value))


def short(value: Any) -> str:
    """Return `text` of a value, cut to LONGEST characters."""
    written = text(value)
    return written if len(written) <= LONGEST else f"{written[: LONGEST - 3]}..."


def duration(seconds: float) -> str:
    """Return a number of seconds as readable text, such as 45 s, 3 min 05 s, 5 h 02 min."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours:,} h {minutes:02d} min"
    return f"{minutes} min {left:02d} s" if minutes else f"{left} s"
