"""Print the table that compares runs: within the width of a terminal, in one piece elsewhere."""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from rbp.report.comparison.statistics import paired, summary
from rbp.sweep.state.failures import Failure, failure_lines
from rbp.terminal.output import Screen, show
from rbp.terminal.tables import MISSING, Number, Table


@dataclass
class Row:
    """A run to show in the table.

    Attributes:
        choices: The swept keys with the run's values, by which it differs from the others.
        name: The name of the run's folder.
        result: The run's result; None if there is none.
        error: Why the run failed; None if it did not.
        state: The state to show if there is no result.
        folder: The run's folder, if it has one that tells more of a failure.
    """

    choices: dict[str, str]
    name: str
    result: dict[str, Any] | None
    error: str | None = None
    state: str = "failed"
    folder: Path | None = None

    @property
    def label(self) -> str:
        """The choices as text, or the name if there are none."""
        return " ".join(f"{key}={value}" for key, value in self.choices.items()) or self.name

    @property
    def failure(self) -> Failure | None:
        """What to tell of a failure; None if the run did not fail."""
        return Failure(self.label, self.state, self.error, self.name, self.folder) if self.error else None


@dataclass(frozen=True)
class Column:
    """A column of the table, for one number of result.json.

    Attributes:
        title: The heading.
        key: The key in result.json.
        factor: What the numbers are multiplied by, to be shown.
        digits: A function that says how many decimals to show, given the mean.
        unit: What stands behind the numbers.
        better: max if larger is better, min if smaller is, None if neither is.
        noise: Relative difference between two single runs up to which neither counts as better. The default,
            infinity, means that single runs never decide.
    """

    title: str
    key: str
    factor: float
    digits: Callable[[float], int]
    unit: str = ""
    better: Callable[[list[float]], float] | None = None
    noise: float = math.inf

    def show(self, values: Sequence[float]) -> str:
        """Return the mean of values and, of several, their standard deviation, as text."""
        found = summary(value * self.factor for value in values)
        if found is None:
            return MISSING
        digits = self.digits(found.mean)
        spread = "" if found.std is None else f" ± {found.std:,.{digits}f}"
        return f"{found.mean:,.{digits}f}{spread}{self.unit}"


def _three(value: float) -> int:
    """Return the decimals that a number needs to be shown with three digits that count."""
    return max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0


COLUMNS = (
    Column("test acc", "test_acc", 100, lambda mean: 2, "%", max),
    Column("best acc", "best_test_acc", 100, lambda mean: 2, "%", max),
    Column("s/epoch", "seconds_per_epoch", 1, _three, "", min, noise=0.1),
    Column("img/s", "images_per_second", 1, lambda mean: 0, "", max, noise=0.1),
    Column("memory MiB", "peak_memory_bytes", 1 / 2**20, lambda mean: 1, "", min, noise=0.0),
    Column("firing", "firing_rate", 1, lambda mean: 3),
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
    """Print the table of runs, as mean ± standard deviation over seeds if there are several, then failures.

    Among lines that differ only in the gradient mode, the best number is marked with * if its lead exceeds
    the spread over seeds (or, with a single seed, the column's noise).

    Args:
        rows: The runs.
        console: The console to print to; None uses stdout.
    """
    console = console or Screen(highlight=False)
    pools = _pools(_told_apart(rows))
    several = len(pools) < len(rows)
    keys = list(dict.fromkeys(key for pool in pools for key in pool.choices))  # lines may differ in keys
    heads = [*(keys or ["run"]), *(["seeds"] if several else [])]
    rivals = _rivals(pools)
    numbers = [_numbers(pool, rivals[_rest(pool)]) for pool in pools]
    filled = [i for i in range(len(COLUMNS)) if any(line[i].text != MISSING for line in numbers)]
    Table(
        heads,
        [COLUMNS[i].title for i in filled],
        [_labels(pool, keys, several) for pool in pools],
        [[line[i] for i in filled] for line in numbers],
    ).print(console)
    if several:
        show("mean ± standard deviation over seeds", console, "dim")
    if any(number.marked for line in numbers for number in line):
        show(_legend(several), console, "dim")
    for line in failure_lines(row.failure for row in rows if row.failure):
        show(line, console)


def _legend(several: bool) -> str:
    sure = "beyond the spread over seeds (95 %)" if several else "times by more than 10 %"
    return f"* the best gradient mode, all else equal: {sure}"


def _told_apart(rows: list[Row]) -> list[Row]:
    """Give the name to rows whose choices do not tell them from the others; nothing may take them for one."""
    counts = Counter(str(row.choices) for row in rows)
    some = any(row.choices for row in rows)
    return [
        replace(row, choices=row.choices | {"run": row.name})
        if counts[str(row.choices)] > 1 or (some and not row.choices)
        else row
        for row in rows
    ]


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


def _labels(pool: SeedGroup, keys: list[str], several: bool) -> list[str]:
    """Return what a line is of: its choices, or the name, and how many seeds."""
    start = [pool.choices.get(key, "-") for key in keys] or [pool.rows[0].name]
    done = sum(row.result is not None for row in pool.rows)
    count = f"{done}" if done == len(pool.rows) else f"{done} of {len(pool.rows)}"
    return [*start, count] if several else start


def _numbers(pool: SeedGroup, rivals: list[SeedGroup]) -> list[Number]:
    found = [
        Number(column.show(list(pool.values(column).values())), _wins(pool, rivals, column))
        for column in COLUMNS
    ]
    return found if any(row.result for row in pool.rows) else [Number(pool.rows[0].state), *found[1:]]


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
