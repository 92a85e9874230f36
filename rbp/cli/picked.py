"""The runs that a command line names: by folder, and by the keys in which they differ."""

import argparse
import contextlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rbp.errors import ConfigError
from rbp.runs.config import config_to_show
from rbp.runs.differing import labels
from rbp.runs.folder import is_run
from rbp.sweep.state.sweepfolder import SweepFolder, sweep_of


@dataclass(frozen=True)
class PickedRun:
    """A run that a command works on.

    Attributes:
        folder: The run's folder.
        keys: The keys in which the run differs from others of its sweep, with their values as text. Where
            they do not tell it from all others, `run` with the folder's name is one of them.
    """

    folder: Path
    keys: dict[str, str]

    @property
    def label(self) -> str:
        """The keys as text, such as "T=4 seed=0"; the folder's name if there are none."""
        if self.keys.keys() <= {"run"}:
            return self.folder.name
        return " ".join(f"{key}={value}" for key, value in self.keys.items())


def add_paths(parser: argparse.ArgumentParser, nargs: str = "+") -> None:
    """Add the arguments that name runs: folders of sweeps or of runs, and KEY=VALUE to pick some of them."""
    parser.add_argument(
        "words",
        nargs=nargs,
        metavar="PATH [KEY=VALUE]",
        help="runs/SWEEP or runs/SWEEP/RUN; seed=0 picks runs by a key in which they differ",
    )


def paths_and_conditions(arguments: list[str]) -> tuple[list[Path], dict[str, str]]:
    """Split the arguments of a command into folders, and conditions such as seed=0."""
    given = [arg for arg in arguments if "=" in arg and not Path(arg).exists()]
    return [Path(arg) for arg in arguments if arg not in given], dict(
        (key, value) for key, _, value in (arg.partition("=") for arg in given)
    )


def pick(path: Path, conditions: dict[str, str]) -> list[PickedRun]:
    """Return the runs that a path stands for and that fulfil the conditions.

    Raises:
        ConfigError: The path is no run and no sweep, or no run fulfils the conditions.
    """
    named = named_path(path)
    sweep = SweepFolder(named.parent) if is_run(named) else sweep_of(named)
    if not (every := sweep.runs()):
        raise ConfigError(f"{path}: there are no runs in it yet; start the sweep by launch.py")
    runs = [run for run in named_runs(every) if not is_run(named) or run.folder.name == named.name]
    found = [run for run in runs if all(_has(run, key, value) for key, value in conditions.items())]
    if not found:
        keys = ", ".join(dict.fromkeys(key for run in runs for key in run.keys)) or "no key"
        told = " ".join(f"{key}={value}" for key, value in conditions.items())
        raise ConfigError(f"{told}: fits no run in {path}; its runs differ in {keys}")
    return found


def pick_all(arguments: list[str]) -> dict[Path, list[PickedRun]]:
    """Return the runs for each path of a command line.

    Raises:
        ConfigError: No path is given, or one stands for no run.
    """
    paths, conditions = paths_and_conditions(arguments)
    if not paths:
        raise ConfigError("name the folder of a sweep or of a run, such as runs/quickstart")
    return {path: pick(path, conditions) for path in paths}


def named_runs(folders: list[Path]) -> list[PickedRun]:
    """Return all runs of a sweep with the keys in which they differ."""
    configs = {folder: _config(folder) for folder in folders}
    whole = {folder: config for folder, config in configs.items() if config}
    found = dict(zip(whole, labels(list(whole.values())), strict=True))
    keys = [found.get(folder, {}) for folder in folders]
    counts = Counter(map(str, keys))
    return [
        PickedRun(folder, own if counts[str(own)] == 1 else own | {"run": folder.name})
        for folder, own in zip(folders, keys, strict=True)
    ]


def _config(folder: Path) -> dict[str, object]:
    with contextlib.suppress(ValueError):  # a newer version wrote it
        return config_to_show(folder)
    return {}


def named_path(path: Path) -> Path:
    """Return a path that ends in the folder's name, since a run is identified by it; `.` has no name."""
    return path if path.name and ".." not in path.parts else Path(os.path.abspath(path))


def _has(run: PickedRun, key: str, value: str) -> bool:
    own = run.keys.get(key)
    if own is None or own == value:
        return own is not None
    try:
        return float(own) == float(value)
    except ValueError:
        return False
