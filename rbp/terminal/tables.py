"""Print a table of numbers: on a terminal in as many pieces as its width asks for, in one piece elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from rbp.terminal.output import show
from rbp.terminal.wrapping import GAP, unbroken

MISSING = "-"
_MOST_PIECES = 2  # a table that is cut into more is hard to read


@dataclass(frozen=True)
class Number:
    """A number in a table, as text, and whether it is marked with a *."""

    text: str
    marked: bool = False

    def __str__(self) -> str:
        return f"{self.text}*" if self.marked else self.text


@dataclass(frozen=True)
class Table:
    """A table whose first columns say what a line is of.

    Attributes:
        heads: The titles of the first columns.
        titles: The titles of the columns of numbers.
        labels: The texts of the first columns, by line.
        numbers: The numbers, by line.
    """

    heads: Sequence[str]
    titles: Sequence[str]
    labels: Sequence[Sequence[str]]
    numbers: Sequence[Sequence[Number]]

    def print(self, console: Console) -> None:
        """Print the table; each piece begins with the first columns.

        Where these leave hardly any room, every line gets its numbers below it instead, and so does a line
        that is alone and does not fit.
        """
        rows = [[Text(title, "bold") for title in [*self.heads, *(f"{title} " for title in self.titles)]]]
        for label, numbers in zip(self.labels, self.numbers, strict=True):
            rows.append([*map(Text, label), *map(_as_text, numbers)])
        widths = [max(cell_len(text.plain) for text in column) for column in zip(*rows, strict=True)]
        on_terminal = console.is_terminal and not console.is_dumb_terminal
        pieces = _pieces(widths, len(self.heads), console.width if on_terminal else None)
        if len(pieces) > (_MOST_PIECES if len(self.labels) > 1 else 1):
            self._print_below(console)
            return
        for number, piece in enumerate(pieces):
            if number:
                console.print()
            lines = [_joined(row, piece, widths, len(self.heads)) for row in rows]
            if on_terminal:
                lines.insert(1, Text("─" * max(cell_len(line.plain) for line in lines), "dim"))
            for line in lines:
                console.print(line, soft_wrap=True)

    def _print_below(self, console: Console) -> None:
        for label, numbers in zip(self.labels, self.numbers, strict=True):
            keys = [f"{head}={text}" for head, text in zip(self.heads, label, strict=True)]
            show(label[0] if len(label) == 1 else " ".join(keys), console, "bold")
            named = zip(self.titles, numbers, strict=True)
            shown = [f"{title} {number}" for title, number in named if number.text != MISSING]
            show("  " + "  ".join(map(unbroken, shown)), console)


def _as_text(number: Number) -> Text:
    """Return the text of a number; all leave room for the mark, so that they stand below each other."""
    return Text(str(number), "bold green") if number.marked else Text(f"{number} ")


def _pieces(widths: list[int], heads: int, width: int | None) -> list[list[int]]:
    """Return the columns of each piece of the table; a width of None has room for all."""
    pieces = [list(range(heads))]
    for index in range(heads, len(widths)):
        if width is not None and len(pieces[-1]) > heads:
            used = sum(widths[i] for i in [*pieces[-1], index]) + GAP * heads + len(pieces[-1]) - heads
            if used > width + 1:  # the room for the last column's mark may lie beyond the edge
                pieces.append(list(range(heads)))
        pieces[-1].append(index)
    return pieces


def _joined(row: list[Text], piece: list[int], widths: list[int], heads: int) -> Text:
    line = Text()
    for index in piece:
        room = " " * (widths[index] - cell_len(row[index].plain))
        if index < heads:
            line.append_text(row[index]).append(room + " " * GAP)
        else:
            line.append(room).append_text(row[index]).append(" ")
    line.rstrip()
    return line
