"""What a sweep keeps beside its run folders, in runs/SWEEP/.sweep: who it is, its code, its jobs' files."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rbp.errors import ConfigError
from rbp.files import dump_yaml, load_yaml, write_bytes
from rbp.locks import locked
from rbp.runs.folder import is_run

LOCK_WAIT = 120.0  # seconds; a submission of a thousand cells takes some ten


@dataclass(frozen=True)
class SweepFolder:
    """The files of one sweep."""

    path: Path

    @property
    def control(self) -> Path:
        return self.path / ".sweep"

    @property
    def record(self) -> Path:
        return self.control / "sweep.yaml"

    @property
    def code(self) -> Path:
        return self.control / "code"

    @property
    def jobs(self) -> Path:
        return self.control / "jobs"

    def runs(self) -> list[Path]:
        """The folders of its runs, in the order in which they were first submitted."""
        found = [p for p in self.path.iterdir() if is_run(p)]
        order = {name: number for number, name in enumerate(self.read()["cells"])}
        return sorted(found, key=lambda p: (order.get(p.name, len(order)), p.name))

    def read(self) -> dict[str, Any]:
        """The record: at least `cells` (name -> choices) and `launcher`, empty where they are damaged."""
        try:
            content = load_yaml(self.record.read_text())
        except (OSError, ValueError, yaml.YAMLError):  # ValueError: text that is not UTF-8
            content = None
        found = content if isinstance(content, dict) else {}
        launcher, cells = _keys(found.get("launcher")), _keys(found.get("cells"))
        choices = {name: _keys(chosen) for name, chosen in cells.items()}
        texts = {name: {key: str(value) for key, value in chosen.items()} for name, chosen in choices.items()}
        return found | {"launcher": launcher, "cells": texts}

    def note(self, values: dict[str, Any], cells: dict[str, dict[str, str]]) -> None:
        """Write the record of this start; cells of earlier starts stay in it."""
        write_bytes(self.record, dump_yaml(values | {"cells": self.read()["cells"] | cells}))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """While inside, no other process submits cells of this sweep; waits for one that does.

        Raises ConfigError where a file cannot be written, here or inside, or the other takes too long.
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
    """The sweep at a path. Raises ConfigError where there is none."""
    if not path.is_dir():
        raise ConfigError(f"{path}: no such folder; name the folder of a sweep, such as runs/quickstart")
    sweep = SweepFolder(path)
    if not sweep.record.exists() and not sweep.runs():
        inside = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))[:5]
        hint = f"; it holds {', '.join(inside)}" if inside else ""
        raise ConfigError(
            f"{path}: not the folder of a sweep: neither run folders nor .sweep are in it{hint}; "
            "name one such as runs/quickstart"
        )
    return sweep


def _keys(value: Any) -> dict[str, Any]:
    """A mapping as it should be, whatever was read."""
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}
