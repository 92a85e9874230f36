"""`rbp choose`: which value of a key suits each method best, by accuracy on held-out images."""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console

from rbp.errors import UserError
from rbp.report.comparison.settings import SEED, differing, full, is_number, settings, shown, text_of
from rbp.report.read import MISSING, Run, read_runs
from rbp.terminal.tables import Number, Table

ROUNDING = 1e-9  # means that differ by less are equal


@dataclass(frozen=True)
class Choice:
    """What suits one method.

    Attributes:
        method: The keys in which methods differ, with this one's values as text.
        means: The mean accuracy in [0, 1] by value of the key.
        n: Number of runs of each value.
        best: The value with the best mean; of equal ones the smallest.
    """

    method: dict[str, str]
    means: dict[str, float]
    n: int
    best: str


def choose(runs: Sequence[Run], key: str, over: Sequence[str] = ()) -> list[Choice]:
    """Choose the value of a key for each method by the mean accuracy on held-out images of the last epoch.

    A method is what the runs differ in, other than the key, the seed, the keys of `over`, and keys that
    change with these, such as an arch for each dataset.

    Args:
        runs: The runs, all of them finished.
        key: The key to choose, such as optimizer.lr.
        over: The keys over which the mean is taken, such as dataset and T.

    Raises:
        UserError: A run is not done or has no held-out images, a key does not differ between the runs, or the
            values of a method were not tried on the same cells.
    """
    _refuse_unfit(runs)
    keys = differing(runs)
    found = [settings(run) for run in runs]
    chosen = _named("KEY", key, keys)
    if chosen in [full(one, keys) for one in over]:
        raise UserError(f"--over {key}: is the key to choose, over which no mean can be taken")
    pooled = [_named("--over", one, keys) for one in over]
    rest = [k for k in keys if k not in (chosen, *pooled) and not _follows(found, k, pooled)]
    methods: dict[tuple[str, ...], dict[str, dict[tuple[str, ...], float]]] = defaultdict(dict)
    for run, values in zip(runs, found, strict=True):
        method, cell = _texts(values, rest), (*_texts(values, pooled), str(run.seed))
        accuracies = methods[method].setdefault(text_of(values, chosen), {})
        if cell in accuracies:
            raise UserError(f"{run.folder}: two runs of one cell; leave one of their folders out")
        accuracies[cell] = _accuracy(run)
    names = list(map(shown, rest))
    found_of = {method: dict(zip(names, method, strict=True)) for method in sorted(methods)}
    return [_choice(found_of[method], methods[method], key) for method in found_of]


def _refuse_unfit(runs: Sequence[Run]) -> None:
    waiting = [run for run in runs if run.result is None or MISSING in run.other_settings]
    if waiting:
        raise UserError(
            f"{waiting[0].folder}: {waiting[0].state}; {len(waiting)} of {len(runs)} are not done"
        )
    if without := [run for run in runs if not 0 <= _accuracy(run) <= 1]:
        raise UserError(
            f"{without[0].folder}: has no val_acc between 0 and 1 in result.json, and test images must not "
            "choose: train with dataset.val_split=0.1, or leave the run's folder out"
        )


def _accuracy(run: Run) -> float:
    """Return the accuracy on held-out images; -1 if there is none."""
    accuracy = run.figure("val_acc")
    return -1.0 if accuracy is None else accuracy


def _named(flag: str, key: str, keys: Sequence[str]) -> str:
    if (found := full(key, keys)) is not None:
        return found
    reason = "is pooled in any case" if key == SEED else "does not differ between these runs"
    others = ", ".join(shown(other) for other in keys if other != MISSING)
    raise UserError(f"{flag} {key}: {reason}; keys that differ: {others or 'none'}")


def _follows(found: Sequence[Mapping[str, Any]], key: str, pooled: Sequence[str]) -> bool:
    """Whether a key has one value for each combination of the pooled keys."""
    values: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for of in found:
        values[_texts(of, pooled)].add(text_of(of, key))
    return all(len(texts) == 1 for texts in values.values())


def _texts(values: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(text_of(values, key) for key in keys)


def _choice(method: dict[str, str], by_value: dict[str, dict[tuple[str, ...], float]], key: str) -> Choice:
    cells = {value: frozenset(accuracies) for value, accuracies in by_value.items()}
    if len(set(cells.values())) > 1:
        counts = ", ".join(f"{value}: {len(of)}" for value, of in sorted(cells.items()))
        name = " ".join(f"{k}={v}" for k, v in method.items()) or "the runs"
        raise UserError(
            f"{key}: its values were not tried on the same cells for {name} (runs by value: {counts})"
        )
    ordered = sorted(by_value, key=_size)
    means = {value: fmean(by_value[value].values()) for value in ordered}
    best = next(value for value in ordered if means[value] >= max(means.values()) - ROUNDING)
    return Choice(method, means, len(by_value[best]), best)


def _size(value: str) -> tuple[bool, float, str]:
    try:
        number = float(value)
    except ValueError:
        return True, 0.0, value
    return not is_number(number), number, value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rbp choose` to a parser."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="sweeps' or runs' folders")
    parser.add_argument("key", metavar="KEY", help="the key to choose, such as optimizer.lr")
    parser.add_argument(
        "--over", metavar="KEY,...", default="", help="keys to take the mean over, such as dataset,T"
    )


def command(args: argparse.Namespace) -> int:
    """Run `rbp choose`: print a line for each method with its best value marked, and return 0."""
    runs, problems = read_runs(args.paths)
    if problems:
        raise UserError("\n".join(problems))
    choices = choose(runs, args.key, [key for key in args.over.split(",") if key])
    values = sorted({value for choice in choices for value in choice.means}, key=_size)
    numbers = [[_number(choice, value) for value in values] + [Number(str(choice.n))] for choice in choices]
    heads = list(choices[0].method) or ["runs"]
    titles = [*(f"{shown(args.key)}={value}" for value in values), "n"]
    labels = [list(choice.method.values()) or ["all"] for choice in choices]
    Table(heads, titles, labels, numbers).print(Console(highlight=False))
    return 0


def _number(choice: Choice, value: str) -> Number:
    if value not in choice.means:
        return Number("-")
    return Number(f"{100 * choice.means[value]:.2f}%", value == choice.best)
