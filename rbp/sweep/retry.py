"""Start a sweep again from its folders alone: from the frozen configs and the recorded launcher."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rbp.config.launchers import SweeperSettings
from rbp.errors import ConfigError
from rbp.runs.config import read_frozen
from rbp.runs.folder import RunFolder
from rbp.runs.start import read_start
from rbp.sweep.grid.cell import Cell
from rbp.sweep.launchers.launcher import Launcher
from rbp.sweep.launchers.make import NAMES, make_launcher
from rbp.sweep.start import start
from rbp.sweep.state.sweepfolder import SweepFolder


def retry_runs(runs: Mapping[Path, dict[str, str]], stale: bool, wait: bool) -> None:
    """Start those of these runs that are not done, failed ones included.

    Args:
        runs: Run folders of one sweep, with the keys in which each differs from the others.
        stale: Whether to recompute results of other code than the current one.
        wait: Whether to wait until the jobs have ended.

    Raises:
        ConfigError: A config is damaged, or was made by another version so that the run's name differs.
        SweepFailed: A run fails again.
    """
    sweep = SweepFolder(next(iter(runs)).parent.absolute())
    cells = _cells(runs)
    for cell, folder in zip(cells, runs, strict=True):
        cell.values["runs_dir"], cell.values["sweep"]["name"] = str(sweep.path.parent), sweep.path.name
        if cell.name != folder.name:
            raise ConfigError(
                f"{RunFolder(folder).config}: is the config of {cell.name}; another version of the program "
                "made it: start the sweep anew by launch.py"
            )
    settings = SweeperSettings(retry=True, rerun_stale=stale, wait=wait)
    starts = _starts(sweep, list(runs))
    launchers = [_launcher(sweep, started) for started in starts]  # all are checked before any starts
    _refuse_two_folders(starts, cells)
    for number, started in enumerate(starts):
        if number == starts.index(started):
            with _working_in(Path(started["working_directory"])):
                same = [cell for cell, other in zip(cells, starts, strict=True) if other == started]
                start(same, launchers[number], settings)


def _starts(sweep: SweepFolder, folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return how each run was last started: `launcher` and `working_directory`.

    A run says so itself. Without its word (of an earlier version, or killed in between) the sweep's counts.
    """
    of_sweep = sweep.starts_of([folder.name for folder in folders])
    return [_own(folder) or recorded for folder, recorded in zip(folders, of_sweep, strict=True)]


def _own(folder: Path) -> dict[str, Any] | None:
    start = read_start(folder)
    if start is None or start["launcher"].get("name") not in NAMES:
        return None
    return {key: start[key] for key in ("launcher", "working_directory")}


def _cells(runs: Mapping[Path, dict[str, str]]) -> list[Cell]:
    """Return the cells of runs. Raise ConfigError if some have no whole config; the message lists them."""
    cells, problems = [], []
    for folder, keys in runs.items():
        try:
            cells.append(Cell(read_frozen(folder), keys))
        except ConfigError as error:
            problems.append(str(error))
    if problems and cells:
        problems.append(f"the others can be retried by their keys, such as {cells[0].label}")
    if problems:
        raise ConfigError("\n".join(problems))
    return cells


def _refuse_two_folders(starts: list[dict[str, Any]], cells: list[Cell]) -> None:
    """Raise ConfigError if these runs were started in several folders: their code may differ by folder."""
    found = dict.fromkeys(started["working_directory"] for started in starts)
    if len(found) > 1:
        place = next(iter(found))
        there = [cell for cell, of in zip(cells, starts, strict=True) if of["working_directory"] == place]
        raise ConfigError(
            f"these runs were started in several folders ({', '.join(found)}), whose code may differ: name "
            f"those of one of them, such as {there[0].label}"
        )


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """Work in a folder, if it is there: relative paths and packages of a lab's own are found from it."""
    if not folder.is_dir():
        yield
        return
    before, elsewhere = list(sys.path), {"", os.getcwd()}
    with contextlib.chdir(folder):
        sys.path[:] = [entry for entry in before if entry not in elsewhere] + [str(folder)]
        try:
            yield
        finally:
            sys.path[:] = before


def _launcher(sweep: SweepFolder, started: dict[str, Any]) -> Launcher:
    """Return the launcher that a run was last started with; inline where there is no record at all."""
    settings = dict(started["launcher"])
    name, option = settings.pop("name", None), settings.pop("option", None)
    if name is None and not sweep.record.exists():
        name = "inline"
    if name not in NAMES:
        raise ConfigError(
            f"{sweep.record}: launcher {name}: must be one of {', '.join(NAMES)}; start the sweep again by "
            "its command line, which goes on with what is there"
        )
    return make_launcher(name, settings, option)
