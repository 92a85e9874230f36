"""Submit cells to processes that go on without this one: freeze them in their folders, copy the code."""

import os
import time
from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rbp.config.launchers import SweeperSettings
from rbp.errors import ConfigError, UserError
from rbp.output import say
from rbp.runs.result import code_of
from rbp.sweep.grid.cell import Cell
from rbp.sweep.launchers.launcher import Launcher
from rbp.sweep.launchers.run_folders import freeze_in, mark_queued, put_aside, put_back
from rbp.sweep.launchers.snapshot import take_snapshot
from rbp.sweep.state.plan import Plan, make_plan
from rbp.sweep.state.states import RunState, observe
from rbp.sweep.state.sweepfolder import SweepFolder
from rbp.sweep.state.watch import watch

WRITERS = 16  # threads that write into run folders: each waits for the disk, twice a cell


class Submitter(Launcher):
    """A launcher whose jobs go on without this process."""

    @abstractmethod
    def submit(self, folders: list[Path], sweep: SweepFolder, code: Path, submitted: float) -> list[str]:
        """Start or queue the runs in these folders; returns the job id of each.

        Args:
            folders: of the runs, with their frozen configs.
            sweep: whose runs they are.
            code: the copy of the code that they run.
            submitted: seconds since 1970.
        """

    def run(self, sweep: SweepFolder, plan: Plan, settings: SweeperSettings) -> list[RunState]:
        cells = plan.cells
        if plan.todo:
            with sweep.locked():
                todo = make_plan(cells, settings).todo  # another start may have been quicker
                if todo:
                    submit_cells(todo, self, sweep)
                    self.note_start(sweep, cells)
                    say(f"{len(todo)} submitted to {self.name}.")
        if settings.wait:
            watch(cells, sweep.path)
        return make_plan(cells, settings).states


def submit_cells(cells: list[Cell], launcher: Submitter, sweep: SweepFolder) -> None:
    """Freeze the cells in their folders, copy the code, and hand both to the launcher.

    Call it with the sweep's lock held. Raises ConfigError where the launcher refuses; nothing runs then.
    """
    if odd := sorted(set(str(sweep.path.absolute())) & {os.pathsep, "%"}):
        raise ConfigError(
            f"{sweep.path.absolute()}: has {' and '.join(odd)}, which Python's search path or Slurm reads as "
            "something else; choose another folder with runs_dir=PATH"
        )
    submitted = time.time()
    sweep.jobs.mkdir(parents=True, exist_ok=True)
    code = take_snapshot(sweep.code.absolute())
    states = observe([cell.folder for cell in cells])
    with ThreadPoolExecutor(WRITERS) as writers:
        list(writers.map(_freeze, cells, states))
        folders = [cell.folder.absolute() for cell in cells]
        try:
            ids = launcher.submit(folders, sweep, code, submitted)
        except (UserError, OSError):
            list(writers.map(_put_back, cells, states))
            raise
        list(writers.map(mark_queued, folders, ids, [submitted] * len(ids)))


def _freeze(cell: Cell, state: RunState) -> None:
    if state.result:
        put_aside(cell.folder, code_of(state.result) or "unknown")
    # Data was looked at, and fetched, here: not by a hundred jobs at once.
    freeze_in(cell.folder, cell.values | {"dataset": cell.values["dataset"] | {"download": False}})


def _put_back(cell: Cell, state: RunState) -> None:
    if state.result:
        put_back(cell.folder, code_of(state.result) or "unknown")
