"""Manage the files of a sweep in runs/SWEEP/.sweep: its record, copies of the code, and files of its jobs."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rbp.errors import ConfigError
from rbp.files import dump_yaml, load_yaml, write_bytes
from rbp.locks import locked
from rbp.runs.folder import is_run

LOCK_WAIT = 120.0  # seconds to wait for another process; it submits a thousand cells in about ten seconds


@dataclass(frozen=True)
class SweepFolder:
    """The files of one sweep.

    Attributes:
        path: The folder of the sweep, which holds its run folders.
    """

    path: Path

    @property
    def control(self) -> Path:
        """The folder with all files of the sweep itself."""
        return self.path / ".sweep"

    @property
    def record(self) -> Path:
        """The file that records how the sweep was started; see `read` and `note`."""
        return self.control / "sweep.yaml"

    @property
    def code(self) -> Path:
        """The folder with copies of the code that jobs run."""
        return self.control / "code"

    @property
    def jobs(self) -> Path:
        """The folder with the logs and other files of jobs."""
        return self.control / "jobs"

    def runs(self) -> list[Path]:
        """Return the run folders of the sweep, in the order in which they were first started."""
        found = [p for p in self.path.iterdir() if is_run(p)]
        order = {name: number for number, name in enumerate(self.read()["cells"])}
        return sorted(found, key=lambda p: (order.get(p.name, len(order)), p.name))

    def read(self) -> dict[str, Any]:
        """Return the record of the sweep.

        It has at least `cells` (run name -> choices), `launcher` (name and settings) and `earlier` (see
        `note`). Each is empty if it is missing or damaged.
        """
        try:
            content = load_yaml(self.record.read_text("utf-8"))
        except (OSError, ValueError, yaml.YAMLError):  # ValueError covers text that is not UTF-8
            content = None
        found = content if isinstance(content, dict) else {}
        launcher, cells = _keys(found.get("launcher")), _keys(found.get("cells"))
        choices = {name: _keys(chosen) for name, chosen in cells.items()}
        texts = {name: {key: str(value) for key, value in chosen.items()} for name, chosen in choices.items()}
        starts = found.get("earlier")
        earlier = [_keys(start) for start in starts] if isinstance(starts, list) else []
        earlier = [start | {"runs": _texts(start.get("runs"))} for start in earlier]
        return found | {"launcher": launcher, "cells": texts, "earlier": earlier}

    def note(self, values: dict[str, Any], cells: dict[str, dict[str, str]]) -> None:
        """Write the record of a start, keeping the cells of earlier starts.

        Cells that this start leaves out, but an earlier one had, are listed under `earlier`: a list of
        starts, each with its `runs`, `launcher` and `working_directory`.

        Args:
            values: Everything to record except the cells.
            cells: Run name -> choices, for the cells of this start.
        """
        before = self.read()
        starts = [*before["earlier"], {**_place(before), "runs": _runs_of_last_start(before)}]
        left = [start | {"runs": [run for run in start["runs"] if run not in cells]} for start in starts]
        earlier = [start for start in left if start["runs"] and _place(start) != _place(values)]
        content = values | ({"earlier": earlier} if earlier else {}) | {"cells": before["cells"] | cells}
        write_bytes(self.record, dump_yaml(content))

    def start_of(self, run: str) -> dict[str, Any]:
        """Return how a run was last started: `launcher` and `working_directory`, empty if not recorded."""
        return self.starts_of([run])[0]

    def starts_of(self, runs: Sequence[str]) -> list[dict[str, Any]]:
        """Return `start_of` for each run, from one look at the record."""
        record = self.read()
        elsewhere = {run: _place(start) for start in reversed(record["earlier"]) for run in start["runs"]}
        last = _place(record)
        return [elsewhere.get(run, last) for run in runs]

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the sweep's lock inside the block, so that no other process submits its cells.

        Raises:
            ConfigError: Another process holds the lock for longer than LOCK_WAIT seconds, or a file cannot be
                written, by this method or inside the block.
        """
        try:
            self.control.mkdir(parents=True, exist_ok=True)
            with locked(self.control / "lock", wait=LOCK_WAIT) as alone:
                if not alone:
                    raise ConfigError(
                        f"{self.path}: another process has been submitting this sweep for "
                        f"{LOCK_WAIT:.0f} s; wait for it or stop it"
                    )
                yield
        except OSError as error:
            raise ConfigError(
                f"{error.filename or self.control}: cannot be written: {error.strerror or error}; make room, "
                "or choose another folder with runs_dir=PATH"
            ) from error


def sweep_of(path: Path) -> SweepFolder:
    """Return the sweep at a path.

    Raises:
        ConfigError: The path is not the folder of a sweep.
    """
    if not path.is_dir():
        raise ConfigError(f"{path}: no such folder; name the folder of a sweep, such as runs/quickstart")
    sweep = SweepFolder(path)
    if not sweep.record.exists() and not sweep.runs():
        inside = [folder.name for folder in sweeps_in(path)[:5]]
        hint = f"; it holds {', '.join(inside)}" if inside else ""
        raise ConfigError(
            f"{path}: not the folder of a sweep: neither run folders nor .sweep are in it{hint}; "
            "name one such as runs/quickstart"
        )
    return sweep


def sweeps_in(path: Path) -> list[Path]:
    """Return the folders in a folder that hold runs."""
    return [folder for folder in sorted(path.iterdir()) if folder.is_dir() and SweepFolder(folder).runs()]


def _place(start: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a record that says where runs were started."""
    launcher = _keys(start.get("launcher"))
    return {"launcher": launcher, "working_directory": str(start.get("working_directory") or "")}


def _runs_of_last_start(record: dict[str, Any]) -> list[str]:
    elsewhere = {run for start in record["earlier"] for run in start["runs"]}
    return [run for run in record["cells"] if run not in elsewhere]


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _keys(value: Any) -> dict[str, Any]:
    """Return a mapping with strings as keys; anything that is not a dictionary becomes empty."""
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}
