"""The side-by-side table of runs: rich on a terminal, plain aligned lines elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from rbp.output import Screen


@dataclass
class Row:
    """A run in the table: how it differs from the others, and its result or its error."""

    choices: dict[str, str]
    name: str
    result: dict[str, Any] | None
    error: str | None = None
    state: str = "failed"  # told where there is no result


@dataclass(frozen=True)
class Column:
    """A figure of result.json."""

    title: str
    key: str
    show: Callable[[float], str]
    better: Callable[[list[float]], float] | None = None  # max, min, or None: neither is better


COLUMNS = (
    Column("test acc", "test_acc", lambda v: f"{100 * v:.2f}%", max),
    Column("best acc", "best_test_acc", lambda v: f"{100 * v:.2f}%", max),
    Column("s/epoch", "seconds_per_epoch", lambda v: f"{v:.3g}", min),
    Column("img/s", "images_per_second", lambda v: f"{v:,.0f}", max),
    Column("memory MiB", "peak_memory_bytes", lambda v: f"{v / 2**20:,.1f}", min),
    Column("firing", "firing_rate", lambda v: f"{v:.3f}"),
)


def print_table(rows: list[Row], console: Console | None = None) -> None:
    """Print all rows; where bptt and rate differ in nothing else, the better figure of the two is marked."""
    console = console or Screen(highlight=False)
    heads = list(rows[0].choices) or ["run"]
    lines = [_cells(row, rows) for row in rows]
    titles = heads + [column.title for column in COLUMNS]
    if console.is_terminal:
        _print_rich(titles, lines, len(heads), console)
    else:
        _print_plain(titles, lines, len(heads), console)
    if any(marked for line in lines for _, marked in line):
        console.print("* the better of bptt and rate, all else equal", style="dim", markup=False)
    for row in rows:
        if row.error:
            console.print(f"{row.state.upper()} {row.name}: {row.error}", markup=False, soft_wrap=True)


def _cells(row: Row, rows: list[Row]) -> list[tuple[str, bool]]:
    """The texts of a row and whether each is marked."""
    start = [(value, False) for value in row.choices.values()] or [(row.name, False)]
    figures = [(_figure(row, column), _wins(row, rows, column)) for column in COLUMNS]
    if row.result is None:
        figures[0] = (row.state, False)
    return start + figures


def _figure(row: Row, column: Column) -> str:
    value = _value(row, column)
    return "-" if value is None else column.show(value)


def _wins(row: Row, rows: list[Row], column: Column) -> bool:
    """Whether this row is strictly better than the same run in the other gradient mode."""
    if column.better is None or "grad_mode" not in row.choices:
        return False
    others = [r for r in rows if _without_mode(r) == _without_mode(row) and r is not row]
    theirs = [_value(other, column) for other in others]
    mine = _value(row, column)
    if mine is None or not theirs:
        return False
    return all(v is not None and v != mine and column.better([v, mine]) == mine for v in theirs)


def _value(row: Row, column: Column) -> float | None:
    return (row.result or {}).get(column.key)


def _without_mode(row: Row) -> dict[str, str]:
    return {key: value for key, value in row.choices.items() if key != "grad_mode"}


def _print_rich(titles: list[str], lines: list[list[tuple[str, bool]]], heads: int, console: Console) -> None:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for index, title in enumerate(titles):
        table.add_column(title, justify="left" if index < heads else "right", overflow="fold")
    for line in lines:
        table.add_row(*(f"[bold green]{text}*[/]" if marked else text for text, marked in line))
    console.print(table)


def _print_plain(
    titles: list[str], lines: list[list[tuple[str, bool]]], heads: int, console: Console
) -> None:
    texts = [titles] + [[text + ("*" if marked else " ") for text, marked in line] for line in lines]
    texts[0] = [title + " " for title in titles]
    widths = [max(len(line[i]) for line in texts) for i in range(len(titles))]
    for line in texts:
        padded = [
            t.ljust(w) if i < heads else t.rjust(w) for i, (t, w) in enumerate(zip(line, widths, strict=True))
        ]
        console.out("  ".join(padded).rstrip(), highlight=False)
