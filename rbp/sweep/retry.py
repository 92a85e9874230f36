"""Start a sweep again from its folders alone: from the frozen configs and the recorded launcher."""

import contextlib
from pathlib import Path
from typing import Any

from rbp.config.launchers import SweeperSettings
from rbp.errors import ConfigError
from rbp.runs.config import read_frozen
from rbp.runs.folder import RunFolder
from rbp.sweep.grid.cell import Cell
from rbp.sweep.launchers.launcher import Launcher
from rbp.sweep.launchers.make import NAMES, make_launcher
from rbp.sweep.start import start
from rbp.sweep.state.sweepfolder import SweepFolder


def retry_runs(folders: list[Path], stale: bool, wait: bool) -> None:
    """Start those of these runs that are not done, failed ones included.

    Args:
        folders: Run folders of one sweep.
        stale: Whether to recompute results of other code than the current one.
        wait: Whether to wait until the jobs have ended.

    Raises:
        ConfigError: A config is damaged, or was made by another version so that the run's name differs.
        SweepFailed: A run fails again.
    """
    sweep = SweepFolder(folders[0].parent.absolute())
    record = sweep.read()
    choices = record["cells"]
    cells = [Cell(read_frozen(folder), choices.get(folder.name) or {}) for folder in folders]
    for cell, folder in zip(cells, folders, strict=True):
        cell.values["runs_dir"], cell.values["sweep"]["name"] = str(sweep.path.parent), sweep.path.name
        if cell.name != folder.name:
            raise ConfigError(
                f"{RunFolder(folder).config}: is the config of {cell.name}; another version of the program "
                "made it: start the sweep anew by launch.py"
            )
    where = Path(str(record.get("working_directory")))
    with contextlib.chdir(where if where.is_dir() else "."):  # paths in the config, such as dataset.root
        start(cells, _launcher(sweep, record), SweeperSettings(retry=True, rerun_stale=stale, wait=wait))


def _launcher(sweep: SweepFolder, record: dict[str, Any]) -> Launcher:
    """Return the launcher that the sweep was last started with."""
    settings = dict(record["launcher"])
    name = settings.pop("name", "inline")
    if name not in NAMES:
        raise ConfigError(f"{sweep.record}: launcher {name}: must be one of {', '.join(NAMES)}")
    return make_launcher(name, settings)
