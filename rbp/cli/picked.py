"""The runs that a command line names: by folder, and by the keys in which they differ."""

import argparse
import contextlib
import difflib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rbp.config.dotted import ABSENT, find
from rbp.config.text import text
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


# Key -> the values that are asked for, any of which fits.
Conditions = dict[str, list[str]]


def paths_and_conditions(words: list[str]) -> tuple[list[Path], Conditions]:
    """Split the arguments of a command into folders, and conditions such as seed=0 or seed=0,1."""
    conditions: Conditions = {}
    paths = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or Path(word).exists():
            paths.append(Path(word))
        else:
            conditions.setdefault(key, []).extend(_values(value))
    return paths, conditions


def _values(text: str) -> list[str]:
    """Return the values of a condition; a list such as [0.9,0.999] is one value."""
    return [text] if text.startswith("[") else [value.strip().strip("'\"") for value in text.split(",")]


def pick(path: Path, conditions: Conditions) -> list[PickedRun]:
    """Return the runs that a path stands for and that fulfil the conditions.

    Raises:
        ConfigError: The path is no run and no sweep, or no run fulfils the conditions.
    """
    named = named_path(path)
    sweep = SweepFolder(named.parent) if is_run(named) else sweep_of(named)
    if not (every := sweep.runs()):
        raise ConfigError(f"{path}: there are no runs in it yet; start the sweep by launch.py")
    found = [run for run in named_runs(every) if not is_run(named) or run.folder.name == named.name]
    for key, values in conditions.items():
        fitting = [run for run in found if _has(run, key, values)]
        if not fitting:
            raise ConfigError(f"{key}={','.join(values)}: {_what_there_is(path, key, found)}")
        found = fitting
    return found


def _what_there_is(path: Path, key: str, runs: list[PickedRun]) -> str:
    """Return why a condition fits no run, and what would."""
    there = dict.fromkeys(value for run in runs if (value := _value(run, key)) is not None)
    if there:
        return f"fits no run in {path}; there {key} is {', '.join(there)}"
    keys = list(dict.fromkeys(key for run in runs for key in run.keys))
    near = [known for known in keys if known.rpartition(".")[2] == key]
    near = near or difflib.get_close_matches(key, keys, 1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"no such key of the runs in {path}; {meant}they differ in {', '.join(keys) or 'no key'}"


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


def _has(run: PickedRun, key: str, values: list[str]) -> bool:
    own = _value(run, key)
    return own is not None and any(_same(own, value) for value in values)


def _value(run: PickedRun, key: str) -> str | None:
    """Return the value of a key as text, even if no runs differ in it; None if there is no such key."""
    if key in run.keys:
        return run.keys[key]
    found = find(_config(run.folder), key, ABSENT)
    if isinstance(found, Mapping):
        found = found.get("name", ABSENT)
    return None if found is ABSENT else text(found)


def _same(one: str, other: str) -> bool:
    try:
        return one == other or float(one) == float(other)
    except ValueError:
        return False
