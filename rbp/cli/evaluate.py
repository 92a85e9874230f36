"""`rbp eval`: evaluate the trained weights of runs, with their own configs or with keys changed."""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rbp.errors import ConfigError, UserError
from rbp.runs.checkpoints import WEIGHTS, choose_checkpoint
from rbp.runs.config import read_frozen
from rbp.runs.folder import RunFolder, find_runs
from rbp.runs.metrics import read_epochs
from rbp.runs.result import read_result
from rbp.terminal.output import Screen, say
from rbp.terminal.tables import Number, Table
from rbp.working_directory import import_from_here

# Heading -> how a run's number is shown; columns without a number are left out.
COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "test acc": lambda found: _percent(found["test_acc"]),
    "in training": lambda found: _percent(found["acc_in_training"]),
    "top-5": lambda found: _percent(found.get("test_top5")),
    "val acc": lambda found: _percent(found.get("val_acc")),
    "loss": lambda found: f"{found['test_loss']:.4f}",
    "firing": lambda found: "" if found["firing_rate"] is None else f"{found['firing_rate']:.3f}",
    "acc over t": lambda found: " ".join(f"{100 * acc:.1f}" for acc in found["test_acc_over_t"] or []),
    "additions": lambda found: _number(found, "additions"),
    "MACs": lambda found: _number(found, "macs"),
    "uJ": lambda found: _number(found, "energy_uj"),
    "uJ as ANN": lambda found: _number(found, "ann", "energy_uj"),
}


@dataclass
class Evaluation:
    """What became of one run.

    Attributes:
        folder: The run's folder.
        scores: What `rbp.train.evaluate` returns, with `weights` (best, last) and `acc_in_training`.
        changes: The keys that were changed, with their values before and now.
        notes: What the reader of the scores should know.
        error: Why there are no scores; "" if there are.
    """

    folder: Path
    scores: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    error: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rbp eval`."""
    parser.usage = "rbp eval RUN [RUN ...] [KEY=VALUE ...] [--weights best|last] [--json]"
    parser.epilog = (
        "Writes nothing. KEY=VALUE changes the config that a run was trained with, such as T=8, step_mode=s, "
        "dataset.root=PATH, neuron.v_threshold=0.9 or trainer.device=cpu."
    )
    parser.add_argument(
        "words", nargs="+", metavar="RUN", help="runs/SWEEP/RUN, or runs/SWEEP for each of it"
    )
    parser.add_argument("--weights", choices=tuple(WEIGHTS), help="of which epoch (the one that counts)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def command(args: argparse.Namespace) -> int:
    """Evaluate every run named, print one table, and return the exit code: 1 if a run has no scores.

    Raises:
        UserError: There is no such run, an override is wrong, or the only run cannot be evaluated.
    """
    runs, overrides = _sorted_out(args.words)
    import_from_here()
    if args.json:  # what is printed on the way, such as of a download, must not be part of the object
        with contextlib.redirect_stdout(sys.stderr):
            found = _evaluate_all(runs, overrides, args.weights)
        say(json.dumps(_as_json(found), indent=2), verbatim=True)
    else:
        found = _evaluate_all(runs, overrides, args.weights)
        _print(found)
    return int(any(evaluation.error for evaluation in found))


def _sorted_out(words: list[str]) -> tuple[list[Path], list[str]]:
    """Return the runs and the overrides among the arguments; a folder that exists is no override."""
    overrides = [word for word in words if "=" in word and not Path(word).exists()]
    paths = [Path(word).expanduser() for word in words if word not in overrides]
    if not paths:
        raise ConfigError(f"{' '.join(words)}: name a run's folder too, such as runs/SWEEP/RUN")
    return find_runs(paths), overrides


def _evaluate_all(runs: list[Path], overrides: list[str], weights: str | None) -> list[Evaluation]:
    if len(runs) == 1:
        return [_evaluate(runs[0], overrides, weights)]
    _refuse_wrong(runs, overrides)
    found = []
    for number, run in enumerate(runs, 1):
        say(f"[{number}/{len(runs)}] {run.name}", sys.stderr)
        try:
            found.append(_evaluate(run, overrides, weights))
        except UserError as error:  # the others are still evaluated
            found.append(Evaluation(run, error=str(error)))
    return found


def _refuse_wrong(runs: list[Path], overrides: list[str]) -> None:
    """Raise ConfigError if an override is wrong for a run, before the first is evaluated."""
    from rbp.cli.changed_config import changed

    for run in runs:
        try:
            values = read_frozen(run)
        except ConfigError:  # told when it is this run's turn
            continue
        try:
            changed(values, overrides)
        except ConfigError as error:
            raise ConfigError(f"{run.name}: {error}") from error


def _evaluate(folder: Path, overrides: list[str], weights: str | None) -> Evaluation:
    from rbp.cli.changed_config import changed
    from rbp.sweep.grid.cell import Cell
    from rbp.sweep.preflight.places import check_device
    from rbp.train import evaluate
    from rbp.train.load import check_run

    run, before = RunFolder(check_run(folder)), read_frozen(folder)
    values, changes = changed(before, overrides)
    file = choose_checkpoint(run.checkpoints, before["trainer"], weights)
    cfg = Cell(values | {"eval_only": True, "checkpoint": str(file)}).cfg
    check_device(cfg)
    scores = evaluate(cfg, folder)
    scores["weights"] = next(name for name, other in WEIGHTS.items() if other == file.name)
    scores["acc_in_training"] = _in_training(run, scores)
    return Evaluation(folder, scores, changes, _notes(folder, scores, unchanged=not changes))


def _in_training(run: RunFolder, scores: dict[str, Any]) -> float | None:
    """Return the test accuracy that training noted for the checkpoint's epoch; None in mid-epoch."""
    if "part" in scores:
        return None
    lines = read_epochs(run.metrics)
    return next((line.get("test_acc") for line in lines if line.get("epoch") == scores["epochs"]), None)


def _notes(folder: Path, scores: dict[str, Any], unchanged: bool) -> list[str]:
    """Return what should make a reader doubt that these are the scores of the run as it was trained."""
    from rbp.provenance.code import why_stale

    stale = why_stale(read_result(folder) or {})
    notes = [f"not the code that trained it: {stale}"] if stale else []
    notes += _figures_missing(scores)
    before = scores["acc_in_training"]
    if unchanged and before is not None and before != scores["test_acc"]:
        notes.append("not the accuracy that training found: other data, code, device or versions")
    return notes


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}%"


def _number(found: dict[str, Any], *keys: str) -> str:
    """Return a number of an image's operations."""
    value: Any = found["operations"]
    for key in keys if value is not None else ():
        value = value[key]
    return "" if value is None else f"{value:.4g}" if value < 1e4 else f"{value:,.0f}"


def _figures_missing(scores: dict[str, Any]) -> list[str]:
    """Return which figures are unknown or incomplete, and why."""
    notes = [f"{key} is unknown: {why}" for key, why in scores["why_null"].items()]
    if scores["operations"] is not None:
        missing = scores["operations"]["not_counted"].items()
        notes += [f"operations of {name} are missing: {why}" for name, why in missing]
    return notes


def _as_json(found: list[Evaluation]) -> dict[str, Any]:
    return {
        "runs": [
            {"run": str(one.folder), "changed": one.changes, "notes": one.notes}
            | (one.scores or {"error": one.error})
            for one in found
        ]
    }


def _print(found: list[Evaluation]) -> None:
    """Print the table of all runs with scores, then notes and errors."""
    done = [one for one in found if one.scores]
    numbers = [[show(one.scores) for show in COLUMNS.values()] for one in done]
    kept = [i for i in range(len(COLUMNS)) if any(line[i] for line in numbers)]
    if done:
        Table(
            ["run", "weights"],
            [list(COLUMNS)[i] for i in kept],
            [[one.folder.name, _weights(one.scores)] for one in done],
            [[Number(line[i]) for i in kept] for line in numbers],
        ).print(Screen(highlight=False))
    notes = [(one.folder.name, note) for one in done for note in [*_changes(one), *one.notes]]
    for note in dict.fromkeys(note for _, note in notes):
        having = [name for name, other in notes if other == note]
        say(note if len(having) == len(done) else f"{', '.join(having)}: {note}")
    for one in found:
        if one.error:
            say(f"NOT EVALUATED {one.folder.name}: {one.error}")


def _changes(one: Evaluation) -> list[str]:
    from rbp.cli.changed_config import shown

    return [f"changed: {shown(one.changes)}"] if one.changes else []


def _weights(scores: dict[str, Any]) -> str:
    """Return which checkpoint it was, such as "best, epoch 7"."""
    some = f" + {scores['part']['batches']} batches" if "part" in scores else ""
    return f"{scores['weights']}, epoch {scores['epochs']}{some}"
