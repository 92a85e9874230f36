"""Lay text out in rows of so many columns; no word is ever broken, so that keys and paths can be copied.

A word is what stands between spaces: a key with its value, a path. A command of several words is one too.
What is longer than a row runs over its edge whole.
"""

import re
from collections.abc import Collection, Sequence
from itertools import zip_longest

from rich.cells import cell_len

GAP = 2  # spaces between two columns
MARGIN = "  "  # what a row that goes on with a line has before it
_SPACE = "\ue000"  # private to this module: stands for a space at which no row may end
_COMMAND = re.compile(
    r"(?<!\S)(?:rbp|python) [a-z][\w.]*"  # rbp status, python launch.py
    r"(?: (?:-\S+|\S*[/=]\S*|[A-Z_]+\b))*"  # options, paths, keys, and names that stand for them
)


def fold(text: str, width: int, margin: str = MARGIN) -> list[str]:
    """Return the rows of a text, broken between words where it is wider than `width`.

    Args:
        text: The text; its own line breaks and the indentation of its lines are kept.
        width: Columns of a row.
        margin: What a row that goes on with a line has before it, besides the line's own indentation.
    """
    rows = []
    for line in text.split("\n"):
        rows += [line.rstrip()] if cell_len(line) <= width else _fold_line(line, width, margin)
    return [row.replace(_SPACE, " ") for row in rows]


def unbroken(text: str) -> str:
    """Return a text that `fold` does not break; it has spaces again in what `fold` returns."""
    return text.replace(" ", _SPACE)


def _fold_line(line: str, width: int, margin: str) -> list[str]:
    margin = line[: len(line) - len(line.lstrip(" "))] + margin
    rows = [""]
    for piece in re.findall(r" *[^ ]+", _COMMAND.sub(lambda found: unbroken(found[0]), line)):
        if rows[-1].strip() and cell_len(rows[-1] + piece) > width:
            rows.append(margin + piece.lstrip(" "))
        else:
            rows[-1] += piece
    return rows


def widths_within(rows: Sequence[Sequence[str]], width: int, flexible: Collection[int]) -> list[int]:
    """Return the widths of columns that fit into `width` together, if folding their cells can make them.

    Args:
        rows: The texts of the cells, by row.
        width: Columns of a row of the screen.
        flexible: The columns that may be narrower than their texts; the last one gives way first, and down
            to a third of the width before the others do.
    """
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    room = width - GAP * (len(widths) - 1)
    for least in (width // 3, 0):
        for index in sorted(flexible, reverse=True):
            excess = sum(widths) - room
            words = [word for row in rows for word in row[index].split()]
            longest = max(map(cell_len, words), default=0) + len(MARGIN)
            widths[index] = min(widths[index], max(widths[index] - excess, longest, least))
    return widths


def in_columns(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return the rows of the screen that one row of a table takes, its cells folded to these widths."""
    columns = [fold(cell, width) for cell, width in zip(cells, widths, strict=True)]
    return [
        (" " * GAP)
        .join(part + " " * (width - cell_len(part)) for part, width in zip(parts, widths, strict=True))
        .rstrip()
        for parts in zip_longest(*columns, fillvalue="")
    ]
