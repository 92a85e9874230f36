"""Submit cells as jobs that outlive this process: write their configs and copy the code first."""

import contextlib
import os
import time
from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rbp.config.launchers import SweeperSettings
from rbp.errors import ConfigError, UserError
from rbp.runs.config import write_config
from rbp.runs.folder import RunFolder
from rbp.runs.older_results import archive_result, restore_result
from rbp.runs.result import code_of
from rbp.runs.start import write_start
from rbp.runs.status import mark, read_status, run_lock
from rbp.sweep.grid.cell import Cell
from rbp.sweep.launchers.launcher import Launcher
from rbp.sweep.launchers.snapshot import take_snapshots
from rbp.sweep.state.plan import Plan, make_plan
from rbp.sweep.state.states import RunState, observe
from rbp.sweep.state.sweepfolder import SweepFolder
from rbp.sweep.state.watch import watch
from rbp.terminal.output import say

WRITERS = 16  # threads that write into run folders, since each write waits for the disk, twice per cell


class Submitter(Launcher):
    """The base class of launchers whose jobs outlive this process."""

    @abstractmethod
    def submit(
        self, folders: list[Path], sweep: SweepFolder, code: list[Path], submitted: float
    ) -> list[str]:
        """Start or queue the runs in these folders.

        Args:
            folders: The run folders, with frozen configs in them.
            sweep: The sweep that the runs belong to.
            code: The folders with copies of the code, for the start of the import path.
            submitted: When the runs are submitted, in seconds since 1970.

        Returns:
            The job id of each run.
        """

    def run(self, sweep: SweepFolder, plan: Plan, settings: SweeperSettings) -> list[RunState]:
        cells = plan.cells
        if plan.todo:
            with sweep.locked():
                todo = make_plan(cells, settings).todo  # another process may have submitted them meanwhile
                if todo:
                    submit_cells(todo, self, sweep)
                    self.note_start(sweep, cells)
                    say(f"{len(todo)} submitted to {self.option}.")
        if settings.wait:
            watch([(cell.label, cell.folder) for cell in cells], sweep.path)
        return make_plan(cells, settings).states


def submit_cells(cells: list[Cell], launcher: Submitter, sweep: SweepFolder) -> None:
    """Write the configs of cells into their folders, copy the code, and submit the runs.

    The caller must hold the sweep's lock.

    Args:
        cells: The cells to submit.
        launcher: Submits the runs.
        sweep: The sweep that the cells belong to.

    Raises:
        ConfigError: The launcher cannot submit the runs; none of them runs then.
    """
    if odd := sorted(set(str(sweep.path.absolute())) & {os.pathsep, "%"}):
        raise ConfigError(
            f"{sweep.path.absolute()}: has {' and '.join(odd)}, which Python's search path or Slurm reads as "
            "something else; choose another folder with runs_dir=PATH"
        )
    submitted = time.time()
    sweep.jobs.mkdir(parents=True, exist_ok=True)
    code = take_snapshots(sweep.code.absolute(), (cell.values for cell in cells))
    states = observe([cell.folder for cell in cells])
    with ThreadPoolExecutor(WRITERS) as writers:
        list(writers.map(_freeze, cells, states))
        folders = [cell.folder.absolute() for cell in cells]
        try:
            ids = launcher.submit(folders, sweep, code, submitted)
        except (UserError, OSError):
            list(writers.map(_put_back, cells, states))
            raise
        list(writers.map(write_start, folders, [launcher.how_started()] * len(folders)))
        list(writers.map(mark_queued, folders, ids, [submitted] * len(ids)))


def _freeze(cell: Cell, state: RunState) -> None:
    if state.result:
        archive_result(cell.folder, code_of(state.result) or "unknown")
    # The preflight check has already downloaded the data; a hundred jobs must not do so at the same time.
    write_frozen(cell.folder, cell.values | {"dataset": cell.values["dataset"] | {"download": False}})


def _put_back(cell: Cell, state: RunState) -> None:
    if state.result:
        restore_result(cell.folder, code_of(state.result) or "unknown")
    elif state.name == "new":  # otherwise a retry would take it for a run of the sweep
        RunFolder(cell.folder).config.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it holds something else
            cell.folder.rmdir()


def write_frozen(folder: Path, values: dict[str, Any]) -> None:
    """Write the config that a job is to run into the run's folder, which is created if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    write_config(RunFolder(folder).config, values)


def mark_queued(folder: Path, job_id: str, submitted: float) -> None:
    """Mark a run as queued, unless its job has already started.

    Args:
        folder: The run's folder.
        job_id: Id of the job that is to train the run.
        submitted: When the job was submitted, in seconds since 1970.
    """
    with run_lock(folder) as free:
        if free and read_status(folder).heartbeat < submitted:
            mark(folder, "queued", job_id)
