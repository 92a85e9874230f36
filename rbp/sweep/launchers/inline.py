"""Cells one after another in this process; single runs too."""

import traceback
from collections.abc import Mapping
from typing import Any

from rbp.config.launchers import SweeperSettings
from rbp.errors import ConfigError, FolderBusy, UserError
from rbp.output import say
from rbp.provenance import code_version
from rbp.runs.result import code_of, read_result
from rbp.sweep.grid.cell import Cell
from rbp.sweep.grid.config_tree import print_tree
from rbp.sweep.launchers.launcher import Launcher
from rbp.sweep.launchers.preflight import preflight
from rbp.sweep.launchers.run_folders import put_aside
from rbp.sweep.state.plan import Plan, make_plan
from rbp.sweep.state.states import RunState, observe
from rbp.sweep.state.sweepfolder import SweepFolder
from rbp.sweep.state.table import Row, print_table


class Inline(Launcher):
    """One cell after another, in this process."""

    name, here = "inline", True

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        if values:
            raise ConfigError(f"hydra.launcher.{next(iter(values))}: hydra/launcher=inline has no keys")

    def check(self, cells: list[Cell]) -> None:
        note_code(cells)

    def settings(self) -> dict[str, Any]:
        return {}

    def run(self, sweep: SweepFolder, plan: Plan, settings: SweeperSettings) -> list[RunState]:
        """Each cell is looked at once more, as another process may have had it meanwhile."""
        if plan.todo:
            with sweep.locked():
                self.note_start(sweep, plan.cells)
        errors, todo = {}, {cell.name for cell in plan.todo}
        for number, cell in enumerate(plan.cells, 1):
            if cell.name not in todo or not make_plan([cell], settings).todo:
                continue
            _make_room(cell)
            say(f"[{number}/{len(plan.cells)}] {cell.label}: {begins(cell)}")
            errors[cell.name] = attempt(cell).error
        states = make_plan(plan.cells, settings).states
        # A run that could not even begin has written nothing.
        return [
            RunState("failed", reason=error)
            if state.name == "new" and (error := errors.get(cell.name))
            else state
            for cell, state in zip(plan.cells, states, strict=True)
        ]


def _make_room(cell: Cell) -> None:
    """Put a stale result aside."""
    (state,) = observe([cell.folder])
    if state.result:
        put_aside(cell.folder, code_of(state.result) or "unknown")


def note_code(cells: list[Cell]) -> None:
    """Look at the code of cells that this process trains before it imports any, as files may be edited."""
    for cell in cells:
        code_version(cell.values)


def train_cell(cell: Cell) -> dict[str, Any]:
    """Train a cell in its folder, or evaluate it; returns the result."""
    from rbp.train import evaluate, train

    return (evaluate if cell.values["eval_only"] else train)(cell.cfg, cell.folder)


def run_one(cell: Cell) -> None:
    """A single run: its result, and where the files lie."""
    evaluates = cell.values["eval_only"]
    result = None if evaluates else read_result(cell.folder)
    if result is not None:
        say(f"{cell.name} is done already.")
    else:
        note_code([cell])
        preflight([cell])
        print_tree(cell.cfg)
        say(begins(cell))
        result = train_cell(cell)
    print_table([Row(cell.choices, cell.name, result)])
    say(_evaluated(cell, result) if evaluates else f"Files: {cell.folder}")


def attempt(cell: Cell) -> Row:
    """Run a cell of a grid; a failure is told and kept, so that it does not hide the others."""
    try:
        result = train_cell(cell)
        if cell.values["eval_only"]:
            say(_evaluated(cell, result))
        return Row(cell.choices, cell.name, result)
    except FolderBusy as error:
        say(f"left alone: {error}")
        return Row(cell.choices, cell.name, None, state="running")
    except UserError as error:
        message = str(error)
    except Exception as error:
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
    say(f"FAILED {cell.label}: {message}")
    where = "" if cell.values["eval_only"] else f" (log: {cell.folder / 'log.txt'})"
    return Row(cell.choices, cell.name, None, message + where)


def begins(cell: Cell) -> str:
    """What is about to happen to a cell."""
    if cell.values["eval_only"]:
        return f"evaluating {cell.values['checkpoint'] or cell.folder}"
    verb = "going on with" if (cell.folder / "checkpoints").exists() else "training in"
    return f"{verb} {cell.folder}"


def _evaluated(cell: Cell, result: dict[str, Any]) -> str:
    """Which checkpoint a result is of, and whether it was made with another config than this one."""
    message = f"Checkpoint: {result['checkpoint']}, epoch {result['epochs']}"
    if "val_acc" in result:
        message += f", val acc {100 * result['val_acc']:.2f}%"
    if result["made_with"] != cell.name:
        message += f"\nIt was made with another config, {result['made_with']}, and evaluated as {cell.name}"
    return message
