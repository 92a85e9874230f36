"""`rbp status`: the state of every run, of one sweep or of all."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rbp.cli.grids import Grid, grids
from rbp.cli.picked import PickedRun, add_paths, named_path, paths_and_conditions, pick
from rbp.errors import ConfigError
from rbp.runs.folder import is_run
from rbp.sweep.state.plan import format_counts
from rbp.sweep.state.states import RunState, observe
from rbp.sweep.state.sweepfolder import SweepFolder, sweeps_in
from rbp.terminal.output import Screen, say, show

RUNS = Path("runs")  # where runs lie unless runs_dir says otherwise
_FIGURES = ("test_acc", "best_test_acc", "train_loss", "epochs", "seconds")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rbp status`."""
    add_paths(parser, nargs="*")
    parser.add_argument("--watch", action="store_true", help="stay until no job is at work any more")
    parser.add_argument("--json", action="store_true", help="print a list with an object per run")


def command(args: argparse.Namespace) -> int:
    """Print the states of runs; return the exit code, 1 if a run has failed or was lost.

    Without a path, and for a folder that holds sweeps, print one line per sweep.

    Raises:
        ConfigError: A path holds neither runs nor sweeps.
    """
    paths, conditions = paths_and_conditions(args.words)
    wrong = False
    every: list[dict[str, Any]] = []
    for path in paths or [RUNS]:
        sweeps = _sweeps(path)
        if sweeps and not args.json:
            wrong |= _print_overview(sweeps)
            continue
        for place in sweeps or [path]:
            runs = pick(place, conditions)
            if args.watch:
                _watch(place, runs)
            states = observe([run.folder for run in runs], compare_code=True)
            wrong |= any(state.went_wrong for state in states)
            every += [_as_json(run, state) for run, state in zip(runs, states, strict=True)]
            if not args.json:
                _print(place, runs, states)
    if args.json:
        say(json.dumps(every, indent=2), verbatim=True)
    return int(wrong)


def _sweeps(path: Path) -> list[Path]:
    """Return the sweeps in a folder, or else in its `runs`; none if the folder is itself a run or a sweep.

    Raises:
        ConfigError: There is no such folder, or nothing in it.
    """
    named = named_path(path)
    if is_run(named) or SweepFolder(named).record.exists() or (named.is_dir() and SweepFolder(named).runs()):
        return []
    places = [place for place in (path, path / RUNS) if place.is_dir()]
    found = next(filter(None, map(sweeps_in, places)), [])
    if not found and path == RUNS:
        raise ConfigError(f"{path}: no sweeps here; name a folder such as PATH/runs or PATH/runs/quickstart")
    return found


def _print_overview(sweeps: Sequence[Path]) -> bool:
    """Print a line per sweep; return whether a run has failed or was lost."""
    states: Mapping[Path, list[RunState]] = {
        sweep: observe(SweepFolder(sweep).runs(), compare_code=True) for sweep in sweeps
    }
    width = max(len(str(sweep)) for sweep in sweeps)
    for sweep, its in states.items():
        say(f"{sweep!s:<{width}}  {_count(its)}: {format_counts(its)}")
    return any(state.went_wrong for its in states.values() for state in its)


def _print(path: Path, runs: Sequence[PickedRun], states: list[RunState]) -> None:
    from rbp.sweep.state.watch import Cell, print_states

    screen, found = Screen(), {run.folder: state for run, state in zip(runs, states, strict=True)}
    # Elsewhere than on a terminal, a line says all of its run.
    for grid in grids(runs) if screen.is_terminal else [Grid("", [(run.label, run) for run in runs])]:
        if grid.shared:
            show(f"{grid.shared}:", screen, "bold")
        print_states([Cell(label, run.folder, found[run.folder]) for label, run in grid.runs], screen)
    say(f"{path}: {_count(states)}: {format_counts(states)}")


def _watch(path: Path, runs: Sequence[PickedRun]) -> None:
    from rbp.sweep.state.watch import watch

    watch([(run.label, run.folder) for run in runs], path)


def _count(states: Sequence[RunState]) -> str:
    return "1 run" if len(states) == 1 else f"{len(states)} runs"


def _as_json(run: PickedRun, state: RunState) -> dict[str, Any]:
    result = state.result or {}
    return {
        "sweep": run.folder.absolute().parent.name,
        "run": run.folder.absolute().name,
        "folder": str(run.folder),
        "keys": run.keys,
        "state": state.name,
        "at_work": state.at_work,
        "reason": state.reason,
        "job_id": state.status.job_id,
        "host": state.status.host,
        "progress": state.status.numbers,
        "result": {key: result[key] for key in _FIGURES if key in result} or None,
    }
