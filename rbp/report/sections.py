"""Prepare the sections of the page as plain values for its template."""

from typing import Any

from rbp.config.text import duration
from rbp.report.comparison.axes import Axes
from rbp.report.comparison.rows import cut
from rbp.report.comparison.settings import settings, shown, text_of
from rbp.report.facts import Facts, SweepFacts
from rbp.report.paths import shown_path
from rbp.report.read import MISSING, Run
from rbp.report.texts.table import Table

_RUN_FIGURES = {
    "test acc (%)": ("test_acc", 100, ".2f"),
    "best (%)": ("best_test_acc", 100, ".2f"),
    "step (ms)": ("step_seconds", 1000, ",.4g"),
    "MiB": ("peak_memory_bytes", 2**-20, ",.4g"),
    "firing": ("firing_rate", 1, ".3f"),
}


def figures_of(table: Table) -> dict[str, Any]:
    """Return a table of figures for the page; a row may have a note with the reasons for blanks."""
    groups = list(dict.fromkeys(group for group, _ in table.figures))
    columns = {group: [of for g, of in table.figures if g == group] for group in groups}
    found = zip(table.rows, table.notes, table.sure, strict=True)
    rows = [{"cells": _cells(table, row, note, sure), "note": note} for row, note, sure in found]
    return {"titles": table.keys, "columns": columns, "rows": rows, "about": table.about}


def _cells(table: Table, row: tuple[str, ...], note: str, sure: bool) -> list[dict[str, str]]:
    def look(index: int) -> str:
        words = ["start" if index < len(table.keys) else "figure"]
        words += ["sure"] if sure and index == table.difference else []
        return " ".join(words + (["noted"] if note else []))

    columns = enumerate(zip(table.titles, row, strict=True))
    return [{"look": look(index), "title": title, "text": text} for index, (title, text) in columns]


def unfinished(runs: list[Run]) -> list[tuple[str, ...]]:
    """Return the runs that are not done: name, state, epoch, latest accuracy and error."""
    waiting = sorted((run for run in runs if run.result is None), key=lambda run: (run.state, run.name))
    return [(run.name, run.state, _epoch(run), _latest(run), cut(run.error or "", 300)) for run in waiting]


def _epoch(run: Run) -> str:
    early = ", stopped early" if run.result and run.result.get("stopped_early") else ""
    return f"{run.epoch} of {run.epochs}{early}" if run.epochs else str(run.epoch)


def _latest(run: Run) -> str:
    return f"{100 * run.curve[max(run.curve)]:.2f} %" if run.curve else ""


def sweeps(facts: Facts) -> list[dict[str, Any]]:
    """Return name, one-line summary, varied keys and configuration of each sweep."""
    return [
        {
            "name": sweep.name,
            "summary": _summary(sweep),
            "varied": {key: cut(", ".join(values), 400) for key, values in sweep.varied.items()},
            "config": sweep.config,
        }
        for sweep in facts.sweeps.values()
    ]


def _summary(sweep: SweepFacts) -> str:
    states = ", ".join(f"{count} {state}" for state, count in sweep.states.items())
    wall = (
        "" if sweep.seconds is None else f"; {duration(sweep.seconds)} from first start to last sign of life"
    )
    busy = f"; {duration(sweep.busy)} of training and evaluation" if sweep.busy else ""
    return f"{shown_path(sweep.folder)}: {states}{wall}{busy}"


def all_runs(runs: list[Run]) -> dict[str, Any]:
    """Return the table of all runs, one row per run."""
    heads = ("run", "sweep", "state", "epoch", *_RUN_FIGURES, "took")
    rows = [(r.name, r.sweep, r.state, _epoch(r), *_run_figures(r), _took(r)) for r in runs]
    return {"heads": heads, "rows": rows}


def _run_figures(run: Run) -> list[str]:
    values = [(run.figure(key), unit, form) for key, unit, form in _RUN_FIGURES.values()]
    return ["" if value is None else format(unit * value, form) for value, unit, form in values]


def _took(run: Run) -> str:
    seconds = run.figure("seconds")
    return "" if seconds is None else duration(seconds)


def shared(runs: list[Run], axes: Axes) -> dict[str, str]:
    """Return the settings of note that all runs share, by their keys."""
    differ = {axes.compare, axes.x, *axes.facets, *axes.beside} if len(runs) > 1 else set()
    found = [settings(run, axes.unfold) for run in runs if MISSING not in run.other_settings]
    keys = dict.fromkeys(key for values in found for key in values if key.startswith(_OF_NOTE))
    kept = [key for key in keys if key not in differ and not key.endswith("_target_")]
    # What another network or data set implies differs without standing among the differing keys.
    texts = {shown(key): {text_of(values, key) for values in found} for key in kept}
    return {key: value for key, (value, *others) in texts.items() if not others}


# Keys and beginnings of keys.
_OF_NOTE = (
    *("dataset.name", "dataset.augment", "dataset.val_split", "dataset.frames", "arch.", "T", "step_mode"),
    *("grad_mode", "neuron.", "loss.", "optimizer.", "trainer.epochs", "trainer.batch_size"),
    *("trainer.precision", "trainer.headline", "trainer.mixup", "trainer.accumulate", "trainer.clip_grad"),
)
