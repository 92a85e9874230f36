"""Runs as plain records, a record a run or a record an epoch, with the same keys as columns in all of them.

Columns are named as keys are written on the command line (`T`, `neuron`, `optimizer.lr`) or as in result.json
and metrics.jsonl (`test_acc`). Values are plain, without units; what is missing is None.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from rbp.report.comparison.axes import Axes
from rbp.report.comparison.costs import KIND
from rbp.report.comparison.settings import settings, shown
from rbp.report.read import MISSING, Run
from rbp.runs.alignment import rows
from rbp.runs.energy import over_t

Record = dict[str, Any]

# The first entries of result.json, in this order; all further ones with a single value follow them.
_FIRST_FIGURES = (
    *("test_acc", "best_test_acc", "headline_acc", "val_acc", "train_loss", "firing_rate", "params"),
    *("step_seconds", "images_per_second", "seconds_per_epoch", "peak_memory_bytes", "seconds"),
)
_TOLD_ELSEWHERE = ("format", "name", "epochs")
_MACHINE = (*KIND, "kernels", "driver")
_FIRST_OF_EPOCH = ("epoch", "step", "test_acc", "test_loss", "val_acc", "val_loss", "train_acc", "train_loss")


def run_records(runs: Sequence[Run]) -> list[Record]:
    """Return a record for each run, finished or not: its cell, state, results, machine and settings."""
    parts = [_parts(run) for run in runs]
    columns = dict.fromkeys(key for n in range(len(parts[0])) for found in parts for key in found[n])
    blank = dict.fromkeys(columns)
    return [blank | {key: value for part in found for key, value in part.items()} for found in parts]


def _parts(run: Run) -> tuple[Record, ...]:
    """Return a run's record in parts; a table has the columns of each part before those of the next."""
    result = run.result or {}
    plain = {key: value for key, value in result.items() if not isinstance(value, dict | list)}
    first = {key: plain.get(key) for key in _FIRST_FIGURES}
    return (
        {"sweep": run.sweep, "name": run.name, "state": run.state, "error": run.error},
        {"epoch": run.epoch, "epochs": run.epochs},
        _cell(run),
        first,
        {key: value for key, value in plain.items() if key not in (*first, *_TOLD_ELSEWHERE)},
        run.energy,
        {key: run.machine.get(key) for key in _MACHINE},
        {"code_version": run.code.get("version"), "code_hash": run.code.get("hash")},
        {shown(key): run.other_settings[key] for key in sorted(run.other_settings) if key != MISSING},
    )


def _cell(run: Run) -> Record:
    names = {"dataset": run.dataset, "arch": run.arch, "T": run.T, "step_mode": run.step_mode}
    return {**names, "grad_mode": run.grad_mode, **run.mode_keys, "seed": run.seed}


def epoch_records(runs: Sequence[Run], axes: Axes) -> Iterator[tuple[Record, list[dict[str, float]]]]:
    """Yield for each run what tells it apart, and the numbers of each of its epochs.

    A run that was resumed may have written an epoch again; the last record of it counts.
    """
    keys = [key for key in (*axes.facets, axes.x, *axes.beside, axes.compare) if key and key != MISSING]
    for run in runs:
        cell, values = _cell(run), settings(run, axes.unfold)
        told = {shown(key): values.get(key) for key in keys if shown(key) not in cell}
        by_epoch = {line["epoch"]: line for line in run.numbers}
        yield {"sweep": run.sweep, "name": run.name, **cell, **told}, list(by_epoch.values())


def step_records(runs: Sequence[Run]) -> list[Record]:
    """Return a record for each time step t of each run's network: accuracy and operations up to it."""
    return [
        {"sweep": run.sweep, "name": run.name, **_cell(run), **line}
        for run in runs
        for line in over_t(run.result or {})
    ]


def alignment_records(runs: Sequence[Run]) -> list[Record]:
    """Return a record for each epoch, mode and layer of which a run measured the alignment with BPTT."""
    return [
        {"sweep": run.sweep, "name": run.name, **_cell(run), **row}
        for run in runs
        for line in run.alignment
        for row in rows(line)
    ]


def ordered(keys: Sequence[str]) -> list[str]:
    """Return the columns of an epoch's numbers in their order: what is looked at most stands first."""
    first = [key for key in _FIRST_OF_EPOCH if key in keys]
    return first + [key for key in keys if key not in first]
