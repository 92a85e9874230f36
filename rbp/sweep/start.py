"""A sweep from its cells to its table: what is done is skipped, the rest runs here or elsewhere."""

import sys
import traceback
from pathlib import Path

from rbp.config.launchers import SweeperSettings
from rbp.errors import ConfigError, SweepFailed, UserError
from rbp.output import say
from rbp.sweep.grid.cells import Cell
from rbp.sweep.launchers.inline import attempt, begins, note_code
from rbp.sweep.launchers.launcher import Launcher, note_start, submit_cells
from rbp.sweep.launchers.preflight import preflight
from rbp.sweep.state.marks import put_aside
from rbp.sweep.state.plan import Plan, make_plan
from rbp.sweep.state.states import State, code_of, observe
from rbp.sweep.state.sweepfolder import SweepFolder
from rbp.sweep.state.table import Row, print_table
from rbp.sweep.state.watch import watch


def start(cells: list[Cell], launcher: Launcher | None, settings: SweeperSettings) -> None:
    """Run a sweep; launcher None: in this process. Raises SweepFailed if a cell has failed or is lost."""
    if cells[0].values["eval_only"]:
        _evaluate(cells, launcher)
        return
    sweep = SweepFolder(cells[0].folder.parent)
    plan = make_plan(cells, settings)
    if settings.dry_run:
        _show(plan)
        return
    if launcher:
        launcher.check(plan.todo)
    else:
        note_code(plan.todo)
    preflight(plan.todo, devices=launcher is None or launcher.here)
    say(plan.told())
    if launcher is None:
        states = _run_here(sweep, plan, settings)
    else:
        states = _run_elsewhere(sweep, plan, launcher, settings)
    _finish(sweep, cells, states, settings)


def _evaluate(cells: list[Cell], launcher: Launcher | None) -> None:
    if launcher is not None:
        raise ConfigError(
            f"hydra/launcher={launcher.name}: evaluation runs here; leave it out with eval_only"
        )
    preflight(cells)
    rows = []
    for number, cell in enumerate(cells, 1):
        say(f"[{number}/{len(cells)}] {cell.label}: {begins(cell)}")
        rows.append(attempt(cell))
    print_table(rows)
    _raise_for([row.name for row in rows if row.error])


def _show(plan: Plan) -> None:
    """What a start would do."""
    todo = {cell.name for cell in plan.todo}
    for cell, state in zip(plan.cells, plan.states, strict=True):
        will = "to run" if cell.name in todo else state.name
        reason = f"  ({state.reason})" if state.reason else ""
        say(f"{will:<10} {cell.label}  {cell.folder}{reason}")
    say(f"{plan.told()} {len(plan.todo)} to run; nothing was started.")


def _run_here(sweep: SweepFolder, plan: Plan, settings: SweeperSettings) -> list[State]:
    """One cell after another; each is looked at once more, as another process may have had it meanwhile."""
    if plan.todo:
        with sweep.locked():
            note_start(sweep, plan.cells, "inline", {})
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
        State("failed", reason=error) if state.name == "new" and (error := errors.get(cell.name)) else state
        for cell, state in zip(plan.cells, states, strict=True)
    ]


def _make_room(cell: Cell) -> None:
    """Put a stale result aside."""
    (state,) = observe([cell.folder])
    if state.result:
        put_aside(cell.folder, code_of(state.result) or "unknown")


def _run_elsewhere(
    sweep: SweepFolder, plan: Plan, launcher: Launcher, settings: SweeperSettings
) -> list[State]:
    cells = plan.cells
    if plan.todo:
        with sweep.locked():
            todo = make_plan(cells, settings).todo  # another start may have been quicker
            if todo:
                submit_cells(todo, launcher, sweep)
                note_start(sweep, cells, launcher.name, launcher.settings())
                say(f"{len(todo)} submitted to {launcher.name}.")
    if settings.wait:
        watch(cells, sweep.path)
    return make_plan(cells, settings).states


def _finish(sweep: SweepFolder, cells: list[Cell], states: list[State], settings: SweeperSettings) -> None:
    """The table of all cells, and where to look further."""
    print_table([_row(cell, state) for cell, state in zip(cells, states, strict=True)])
    say(f"Files: {sweep.path}")
    if any(state.is_done for state in states) and not any(state.at_work for state in states):
        _report(sweep)
    if any(state.at_work for state in states):
        say(f"Jobs go on by themselves. To look: rbp status {sweep.path}; to stop: rbp cancel {sweep.path}")
    stale = sum(state.name == "stale" for state in states)
    if stale:
        say(f"{stale} computed by other code than this; rerun_stale=true computes them again.")
    _raise_for([cell.name for cell, state in zip(cells, states, strict=True) if state.went_wrong], sweep.path)
    unfinished = [
        f"{cell.name} ({state.name})"
        for cell, state in zip(cells, states, strict=True)
        if not (state.is_done or state.at_work)
    ]
    if unfinished and settings.wait:
        raise SweepFailed(
            f"{len(unfinished)} of the cells did not end: {', '.join(unfinished[:5])}; "
            "the same command goes on with them"
        )


def _report(sweep: SweepFolder) -> None:
    """Write the comparison; what goes wrong with it takes nothing from the results."""
    from rbp.report import write_report

    try:
        say(f"Report: {write_report([sweep.path])}")
    except UserError as error:
        say(f"no report: {error}", sys.stderr)
    except Exception:
        traceback.print_exc()


def _row(cell: Cell, state: State) -> Row:
    if state.went_wrong:
        log = cell.folder / "log.txt"
        reason = f"{state.reason or 'no reason is known'} (log: {log})" if log.exists() else state.reason
        return Row(cell.choices, cell.name, None, reason or "no reason is known", state=state.name)
    return Row(cell.choices, cell.name, state.result, state=state.name)


def _raise_for(failed: list[str], sweep: Path | None = None) -> None:
    if failed:
        again = f"; retry=true, or rbp retry {sweep}, runs them again" if sweep else ""
        raise SweepFailed(f"{len(failed)} of the cells failed: {', '.join(failed[:5])}{again}")
