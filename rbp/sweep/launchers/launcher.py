"""Where the cells of a grid run: in this process, in others of this machine, on a Slurm cluster."""

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from rbp import __version__
from rbp.config.launchers import LocalSettings, SlurmSettings, read_settings
from rbp.cores import usable_cores
from rbp.errors import ConfigError, UserError
from rbp.sweep.grid.cells import Cell
from rbp.sweep.launchers import pool, slurm
from rbp.sweep.launchers.snapshot import take_snapshot
from rbp.sweep.state.marks import freeze_in, mark_queued, put_aside, put_back
from rbp.sweep.state.states import State, code_of, observe
from rbp.sweep.state.sweepfolder import SweepFolder

WRITERS = 16  # threads that write into run folders: each waits for the disk, twice a cell


class Launcher(Protocol):
    """Runs cells in processes that go on without this one."""

    name: str
    here: bool  # on this machine, so that its devices can be checked

    def check(self, cells: list[Cell]) -> None:
        """Raise ConfigError where these cells cannot be submitted."""

    def submit(self, folders: list[Path], sweep: SweepFolder, code: Path, submitted: float) -> list[str]:
        """Start or queue the runs in these folders; returns the job id of each."""

    def settings(self) -> dict[str, Any]:
        """Plain values, from which `make_launcher` makes the same again."""


class Local:
    """Processes side by side on this machine."""

    name, here = "local", True

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = read_settings(LocalSettings, values)

    def check(self, cells: list[Cell]) -> None:
        for device in dict.fromkeys(str(cell.values["trainer"]["device"]) for cell in cells):
            if device.startswith("cuda:"):
                raise ConfigError(
                    f"trainer.device={device}: hydra/launcher=local gives every process a GPU of its own; "
                    "choose cuda or auto"
                )

    def submit(self, folders: list[Path], sweep: SweepFolder, code: Path, submitted: float) -> list[str]:
        slots = pool.share_out(self.values, _gpus(), usable_cores())
        log = sweep.jobs / f"local-{time.strftime('%Y%m%d-%H%M%S')}.log"
        return [pool.start_pool(folders, slots, log, code, submitted)] * len(folders)

    def settings(self) -> dict[str, Any]:
        return vars(self.values)


class Slurm:
    """Jobs on a cluster."""

    name, here = "slurm", False

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = read_settings(SlurmSettings, values)

    def check(self, cells: list[Cell]) -> None:
        slurm.check_settings(self.values)
        ranks = self.values.ranks
        for size in dict.fromkeys(cell.values["trainer"]["batch_size"] for cell in cells):
            if size % ranks:
                raise ConfigError(
                    f"trainer.batch_size={size}: is the whole batch of a cell, and must be a multiple of its "
                    f"{ranks} tasks (hydra.launcher.nodes={self.values.nodes}, tasks={self.values.tasks})"
                )

    def submit(self, folders: list[Path], sweep: SweepFolder, code: Path, submitted: float) -> list[str]:
        return slurm.submit(self.values, folders, sweep.jobs, sweep.path.name, code, submitted)

    def settings(self) -> dict[str, Any]:
        return vars(self.values)


def make_launcher(name: str, values: Mapping[str, Any]) -> Launcher | None:
    """The launcher of this name; None: in this process. Raises ConfigError for a wrong setting."""
    if name == "inline":
        return None
    kinds: dict[str, type[Local] | type[Slurm]] = {"local": Local, "slurm": Slurm}
    return kinds[name](values)


def submit_cells(cells: list[Cell], launcher: Launcher, sweep: SweepFolder) -> None:
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


def _freeze(cell: Cell, state: State) -> None:
    if state.result:
        put_aside(cell.folder, code_of(state.result) or "unknown")
    # Data was looked at, and fetched, here: not by a hundred jobs at once.
    freeze_in(cell.folder, cell.values | {"dataset": cell.values["dataset"] | {"download": False}})


def _put_back(cell: Cell, state: State) -> None:
    if state.result:
        put_back(cell.folder, code_of(state.result) or "unknown")


def note_start(sweep: SweepFolder, cells: list[Cell], launcher: str, settings: dict[str, Any]) -> None:
    """Write down what was started, for those who look at the folder later."""
    first = cells[0].values["sweep"]
    sweep.note(
        {
            "name": sweep.path.name,
            "about": first["about"],
            "started": time.strftime("%Y-%m-%d %H:%M:%S"),
            "working_directory": os.getcwd(),
            "launcher": {"name": launcher, **settings},
            "code": {"version": __version__},
        },
        {cell.name: cell.choices for cell in cells},
    )


def _gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (told := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [part for part in told.split(",") if part.strip()]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]
