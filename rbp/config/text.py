"""Values as one writes them on the command line."""

from typing import Any


def text(value: Any) -> str:
    """A value as one writes it on the command line; a long one is cut."""
    written = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return written if len(written) <= 60 else f"{written[:57]}..."
