"""Print the table that compares runs: formatted by rich on a terminal, plain aligned lines elsewhere."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rbp.output import Screen
from rbp.report.comparison.statistics import paired


@dataclass
class Row:
    """A run to show in the table.

    Attributes:
        choices: The swept keys with the run's values, by which it differs from the others.
        name: The name of the run's folder.
        result: The run's result; None if there is none.
        error: Why the run failed; None if it did not.
        state: The state to show if there is no result.
    """

    choices: dict[str, str]
    name: str
    result: dict[str, Any] | None
    error: str | None = None
    state: str = "failed"

    @property
    def label(self) -> str:
        """The choices as text, or the name if there are none."""
        return " ".join(f"{key}={value}" for key, value in self.choices.items()) or self.name


@dataclass(frozen=True)
class Column:
    """A column of the table, for one number of result.json.

    Attributes:
        title: The heading.
        key: The key in result.json.
        show: A function that formats the number.
        better: max if larger is better, min if smaller is, None if neither is.
        noise: Relative difference between two single runs up to which neither counts as better. The default,
            infinity, means that single runs never decide.
    """

    title: str
    key: str
    show: Callable[[float], str]
    better: Callable[[list[float]], float] | None = None
    noise: float = math.inf


COLUMNS = (
    Column("test acc", "test_acc", lambda v: f"{100 * v:.2f}%", max),
    Column("best acc", "best_test_acc", lambda v: f"{100 * v:.2f}%", max),
    Column("s/epoch", "seconds_per_epoch", lambda v: f"{v:.3g}", min, noise=0.1),
    Column("img/s", "images_per_second", lambda v: f"{v:,.0f}", max, noise=0.1),
    Column("memory MiB", "peak_memory_bytes", lambda v: f"{v / 2**20:,.1f}", min, noise=0.0),
    Column("firing", "firing_rate", lambda v: f"{v:.3f}"),
)


@dataclass
class SeedGroup:
    """Runs that differ only in their seed; they form one line of the table.

    Attributes:
        choices: The swept keys with their values, without the seed if the group has several runs.
        rows: The runs.
    """

    choices: dict[str, str]
    rows: list[Row]

    def values(self, column: Column) -> dict[str, float]:
        """Return seed -> number, for the runs that have this number."""
        found = ((row.choices.get("seed", ""), (row.result or {}).get(column.key)) for row in self.rows)
        return {seed: value for seed, value in found if value is not None}


def print_table(rows: list[Row], console: Console | None = None) -> None:
    """Print the table of runs, averaged over seeds if there are several, followed by the errors.

    Among lines that differ only in the gradient mode, the best number is marked with * if its lead exceeds
    the spread over seeds (or, with a single seed, the column's noise).

    Args:
        rows: The runs.
        console: The console to print to; None uses stdout.
    """
    console = console or Screen(highlight=False)
    pools = _pools(rows)
    several = len(pools) < len(rows)
    keys = list(dict.fromkeys(key for pool in pools for key in pool.choices))  # lines may differ in keys
    heads = [*(keys or ["run"]), *(["seeds"] if several else [])]
    rivals = _rivals(pools)
    lines = [_cells(pool, keys, rivals[_rest(pool)], several) for pool in pools]
    titles = heads + [column.title for column in COLUMNS]
    if console.is_terminal and not console.is_dumb_terminal:
        _print_rich(titles, lines, len(heads), console)
    else:
        _print_plain(titles, lines, len(heads), console)
    if any(marked for line in lines for _, marked in line):
        console.print(_legend(several), style="dim", markup=False, soft_wrap=True)
    for row in rows:
        if row.error:
            console.print(f"{row.state.upper()} {row.label}: {row.error}", markup=False, soft_wrap=True)


def _legend(several: bool) -> str:
    sure = "beyond the spread over seeds (95 %)" if several else "times by more than 10 %"
    return f"* the best gradient mode, all else equal: {sure}"


def _pools(rows: list[Row]) -> list[SeedGroup]:
    """Group rows by everything but the seed.

    Each row stays on its own if grouping would not reduce the lines, or would leave nothing to label them by.
    """
    found: dict[str, SeedGroup] = {}
    for row in rows:
        choices = {key: value for key, value in row.choices.items() if key != "seed"}
        found.setdefault(str(choices), SeedGroup(choices, [])).rows.append(row)
    if len(found) == len(rows) or not next(iter(found.values())).choices:
        return [SeedGroup(row.choices, [row]) for row in rows]
    return list(found.values())


def _cells(
    pool: SeedGroup, keys: list[str], rivals: list[SeedGroup], several: bool
) -> list[tuple[str, bool]]:
    """Return the texts of a line, each with whether it is marked as the best."""
    start = [(pool.choices.get(key, "-"), False) for key in keys] or [(pool.rows[0].name, False)]
    done = sum(row.result is not None for row in pool.rows)
    count = [(f"{done}" if done == len(pool.rows) else f"{done} of {len(pool.rows)}", False)]
    figures = [(_figure(pool, column), _wins(pool, rivals, column)) for column in COLUMNS]
    if done == 0:
        figures[0] = (pool.rows[0].state, False)
    return start + (count if several else []) + figures


def _figure(pool: SeedGroup, column: Column) -> str:
    values = list(pool.values(column).values())
    return column.show(statistics.fmean(values)) if values else "-"


def _wins(pool: SeedGroup, rivals: list[SeedGroup], column: Column) -> bool:
    """Whether this line beats its rivals in the other gradient modes by more than chance explains."""
    if column.better is None or not any(map(_of_grad_mode, pool.choices)):
        return False
    others = [rival for rival in rivals if rival is not pool]
    return bool(others) and all(_beats(pool.values(column), o.values(column), column) for o in others)


def _beats(mine: dict[str, float], theirs: dict[str, float], column: Column) -> bool:
    difference = paired(theirs, mine)
    if difference is None or difference.mean == 0:
        return False
    if difference.low is not None:
        sure = difference.beyond_spread
    else:
        # A single pair, or the same difference in all pairs: there is no spread to compare with. The noise of
        # accuracies is infinite, so that none counts as better here.
        base = statistics.fmean(theirs[seed] for seed in mine if seed in theirs)
        sure = abs(difference.mean) > column.noise * abs(base)
    return sure and (difference.mean > 0) == (column.better is max)


def _rivals(pools: list[SeedGroup]) -> dict[tuple[tuple[str, str], ...], list[SeedGroup]]:
    """Group lines that differ only in the gradient mode, by the values of all other keys."""
    found: dict[tuple[tuple[str, str], ...], list[SeedGroup]] = {}
    for pool in pools:
        found.setdefault(_rest(pool), []).append(pool)
    return found


def _rest(pool: SeedGroup) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, value) for key, value in pool.choices.items() if not _of_grad_mode(key)))


def _of_grad_mode(key: str) -> bool:
    """Whether a key belongs to the gradient mode: grad_mode itself, or one such as grad_mode.segments."""
    return key.split(".")[0] == "grad_mode"


def _print_rich(titles: list[str], lines: list[list[tuple[str, bool]]], heads: int, console: Console) -> None:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for index, title in enumerate(titles):
        table.add_column(Text(title), justify="left" if index < heads else "right", overflow="fold")
    for line in lines:
        table.add_row(*(Text(f"{text}*", "bold green") if marked else Text(text) for text, marked in line))
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
