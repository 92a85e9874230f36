"""Run a sweep from its cells to its table of results; cells that are done are skipped."""

import sys
import traceback
from pathlib import Path

from rbp.config.launchers import SweeperSettings
from rbp.errors import ConfigError, SweepFailed, UserError
from rbp.sweep.grid.cell import Cell
from rbp.sweep.launchers.inline import attempt, begins
from rbp.sweep.launchers.launcher import Launcher
from rbp.sweep.preflight import preflight
from rbp.sweep.state.failures import UNKNOWN, Failure, failure_lines
from rbp.sweep.state.plan import Plan, make_plan
from rbp.sweep.state.price import price
from rbp.sweep.state.states import RunState
from rbp.sweep.state.sweepfolder import SweepFolder
from rbp.sweep.state.table import Row, print_table
from rbp.terminal.output import say


def start(cells: list[Cell], launcher: Launcher, settings: SweeperSettings) -> None:
    """Run a sweep, or evaluate its cells if they have eval_only=true.

    Args:
        cells: The cells, all of one sweep.
        launcher: Runs the cells.
        settings: Which of the cells to run, and whether to wait for them.

    Raises:
        ConfigError: A cell or the launcher cannot run as configured.
        SweepFailed: A cell has failed, is lost, or (with settings.wait) has not finished.
    """
    if cells[0].values["eval_only"]:
        _evaluate(cells, launcher)
        return
    sweep = SweepFolder(cells[0].folder.parent)
    plan = make_plan(cells, settings)
    if settings.dry_run:
        preflight(plan.todo, devices=False, trials=True, data=False)
        _show(plan)
        for line in price(plan.todo, Path(cells[0].values["runs_dir"])).lines():
            say(line)
        return
    launcher.check(plan.todo)
    preflight(plan.todo, devices=launcher.here, trials=True)
    say(plan.summary())
    if launcher.name == "inline" and plan.todo and not settings.wait:
        say("These cells run in this process, which waits for them: hydra/launcher=inline.")
    _finish(sweep, cells, launcher.run(sweep, plan, settings), settings)


def _evaluate(cells: list[Cell], launcher: Launcher) -> None:
    if launcher.name != "inline":
        raise ConfigError(
            f"hydra/launcher={launcher.option}: evaluation runs here; leave it out with eval_only"
        )
    preflight(cells)
    rows: list[Row] = []
    for number, cell in enumerate(cells, 1):
        say(f"[{number}/{len(cells)}] {cell.label}: {begins(cell)}")
        rows.append(attempt(cell, rows))
    print_table(rows)
    _raise_for([row.label for row in rows if row.error])


def _show(plan: Plan) -> None:
    """Print what a start would do."""
    todo = {cell.name for cell in plan.todo}
    for cell, state in zip(plan.cells, plan.states, strict=True):
        will = "to run" if cell.name in todo else state.name
        reason = f"  ({state.reason})" if state.reason and not state.went_wrong else ""
        say(f"{will:<10} {cell.label}{reason}  {cell.folder}")
    for line in failure_lines(_failures(plan)):
        say(line)
    say(f"{plan.summary()} {len(plan.todo)} to run; nothing was started.")


def _failures(plan: Plan) -> list[Failure]:
    pairs = zip(plan.cells, plan.states, strict=True)
    return [Failure(c.label, s.name, s.reason or UNKNOWN, c.name, c.folder) for c, s in pairs if s.went_wrong]


def _finish(sweep: SweepFolder, cells: list[Cell], states: list[RunState], settings: SweeperSettings) -> None:
    """Print the table of all cells and where to find more; raise SweepFailed if cells did not finish."""
    print_table([_row(cell, state) for cell, state in zip(cells, states, strict=True)])
    say(f"Files: {sweep.path}")
    if any(state.is_done for state in states) and not any(state.at_work for state in states):
        _report(sweep)
    if any(state.at_work for state in states):
        say("Jobs go on by themselves.")
        say(f"  to look: rbp status {sweep.path}")
        say(f"  to stop: rbp cancel {sweep.path}")
    stale = sum(state.name == "stale" for state in states)
    if stale:
        say(f"{stale} computed by other code than this; rerun_stale=true computes them again.")
    _raise_for(
        [cell.label for cell, state in zip(cells, states, strict=True) if state.went_wrong], sweep.path
    )
    unfinished = [
        f"{cell.label} ({state.name})"
        for cell, state in zip(cells, states, strict=True)
        if not (state.is_done or state.at_work)
    ]
    if unfinished and settings.wait:
        raise SweepFailed(
            f"{len(unfinished)} of the cells did not end: {', '.join(unfinished[:5])}; "
            "the same command goes on with them"
        )


def _report(sweep: SweepFolder) -> None:
    """Write the report. An error in it is printed, not raised: the results are valid without a report."""
    from rbp.report import write_report

    try:
        say(f"Report: {write_report([sweep.path])}")
    except UserError as error:
        say(f"no report: {error}", sys.stderr)
    except Exception:
        traceback.print_exc()


def _row(cell: Cell, state: RunState) -> Row:
    if state.went_wrong:
        folder = cell.folder if cell.folder.exists() else None
        return Row(cell.choices, cell.name, None, state.reason or UNKNOWN, state.name, folder)
    return Row(cell.choices, cell.name, state.result, state=state.name)


def _raise_for(failed: list[str], sweep: Path | None = None) -> None:
    if failed:
        others = f" and {len(failed) - 1} more" if failed[1:] else ""
        again = f"; to run them again: rbp retry {sweep}" if sweep else ""
        raise SweepFailed(f"{len(failed)} of the cells failed: {failed[0]}{others}{again}")
