"""hydra/launcher=inline: run cells one after another in this process; also used for single runs."""

import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from rbp.config.launchers import SweeperSettings
from rbp.errors import ConfigError, FolderBusy, UserError
from rbp.provenance import code_version
from rbp.runs.folder import RunFolder
from rbp.runs.older_results import archive_result
from rbp.runs.result import code_of, in_short, read_result
from rbp.sweep.grid.cell import Cell
from rbp.sweep.grid.config_tree import print_tree
from rbp.sweep.launchers import crew
from rbp.sweep.launchers.launcher import Launcher
from rbp.sweep.preflight import preflight
from rbp.sweep.state.plan import Plan, make_plan
from rbp.sweep.state.states import RunState, observe
from rbp.sweep.state.sweepfolder import SweepFolder
from rbp.sweep.state.table import Row, print_table
from rbp.terminal.output import say


class Inline(Launcher):
    """A launcher that runs one cell after another in this process."""

    name, option, here = "inline", "inline", True

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        if values:
            raise ConfigError(f"hydra.launcher.{next(iter(values))}: hydra/launcher=inline has no keys")

    def check(self, cells: list[Cell]) -> None:
        record_code(cells)

    def settings(self) -> dict[str, Any]:
        return {}

    def run(self, sweep: SweepFolder, plan: Plan, settings: SweeperSettings) -> list[RunState]:
        """Run the cells to do, and return the states of all cells.

        Each cell's state is read again just before its turn, since another process may have run it meanwhile.
        """
        if plan.todo:
            with sweep.locked():
                self.note_start(sweep, plan.cells)
        rows, todo = list[Row](), {cell.name for cell in plan.todo}
        for number, cell in enumerate(plan.cells, 1):
            if cell.name not in todo or not make_plan([cell], settings).todo:
                continue
            _make_room(cell)
            say(f"[{number}/{len(plan.cells)}] {cell.label}: {begins(cell)}")
            rows.append(attempt(cell, rows))
        errors = {row.name: row.error for row in rows}
        states = make_plan(plan.cells, settings).states
        # A run that failed before it began has written no status, so that its state would still be "new".
        return [
            RunState("failed", reason=error)
            if state.name == "new" and (error := errors.get(cell.name))
            else state
            for cell, state in zip(plan.cells, states, strict=True)
        ]


def _make_room(cell: Cell) -> None:
    """Move a stale result out of the way."""
    (state,) = observe([cell.folder])
    if state.result:
        archive_result(cell.folder, code_of(state.result) or "unknown")


def record_code(cells: list[Cell]) -> None:
    """Compute the code version of each cell before any of that code is imported.

    Files may be edited while this process trains, and the recorded version must be that of the code it runs.
    """
    for cell in cells:
        code_version(cell.values)


def train_cell(cell: Cell) -> dict[str, Any]:
    """Train a cell in its folder, or evaluate it if it has eval_only=true; return the result."""
    from rbp.train import evaluate, train

    crew.tell(cell)
    if cell.values["eval_only"]:
        return evaluate(cell.cfg, cell.folder)
    return train(cell.cfg, cell.folder, start=Inline().how_started())


def run_one(cell: Cell) -> None:
    """Train or evaluate a single run unless it is done, and print its result and where its files are.

    Raises:
        UserError: The run cannot start or fails.
    """
    evaluates = cell.values["eval_only"]
    result = None if evaluates else read_result(cell.folder)
    if result is not None:
        say(f"{cell.name} is done already.")
    else:
        record_code([cell])
        preflight([cell], trials=_may_hide_steps(cell))
        print_tree(cell.cfg)
        say(begins(cell))
        result = train_cell(cell)
        if not evaluates:
            say(f"{cell.name}: {in_short(result)}")
    print_table([Row(cell.choices, cell.name, result)])
    say(_evaluated(cell, result) if evaluates else f"Files: {cell.folder}")


def _may_hide_steps(cell: Cell) -> bool:
    """Whether the loss wants each step's output of a network that is given all steps at once."""
    return cell.values["loss"].get("over") == "steps" and cell.values["step_mode"] == "m"


def attempt(cell: Cell, before: Sequence[Row]) -> Row:
    """Run a cell of a grid and return its row of the table.

    A failure is printed and recorded in the row rather than raised, so that the other cells still run. One of
    the same kind as that of a cell before is not told at length again.
    """
    try:
        result = train_cell(cell)
        say(_evaluated(cell, result) if cell.values["eval_only"] else f"{cell.label}: {in_short(result)}")
        return Row(cell.choices, cell.name, result)
    except FolderBusy as error:
        say(f"left alone: {error}")
        return Row(cell.choices, cell.name, None, state="running")
    except UserError as error:
        message = str(error)
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        if not _has_logged(cell, message):
            traceback.print_exc()
    folder = None if cell.values["eval_only"] else cell.folder
    row = Row(cell.choices, cell.name, None, message, folder=folder)
    failures = [other.failure for other in [*before, row] if other.failure]
    first = next(other for other in failures if other.kind == failures[-1].kind)
    like = f" like {first.label}" if first is not failures[-1] else f": {message}"
    say(f"{cell.label}: failed{like}")
    return row


def _has_logged(cell: Cell, message: str) -> bool:
    """Whether the run's log tells this failure, with its traceback, so that a screen need not."""
    log = RunFolder(cell.folder).log
    return not cell.values["eval_only"] and log.exists() and f"failed: {message}" in log.read_text("utf-8")


def begins(cell: Cell) -> str:
    """Return a line that says what is about to happen to a cell."""
    if cell.values["eval_only"]:
        return f"evaluating {cell.values['checkpoint'] or cell.folder}"
    verb = "going on with" if (cell.folder / "checkpoints").exists() else "training in"
    return f"{verb} {cell.folder}"


def _evaluated(cell: Cell, result: dict[str, Any]) -> str:
    """Return a message that names the evaluated checkpoint, and its config if that is another one."""
    message = f"Checkpoint: {result['checkpoint']}, epoch {result['epochs']}"
    if "val_acc" in result:
        message += f", val acc {100 * result['val_acc']:.2f}%"
    if result["made_with"] != cell.name:
        message += f"\nIt was made with another config, {result['made_with']}, and evaluated as {cell.name}"
    return message
