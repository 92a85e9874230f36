"""What a sweep keeps beside its run folders, in runs/SWEEP/.sweep: who it is, its code, its jobs' files."""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rbp.errors import ConfigError
from rbp.runfolder import RunFolder, read_json, write_bytes

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
        found = [
            p for p in self.path.iterdir() if RunFolder(p).status.exists() or RunFolder(p).config.exists()
        ]
        order = {name: number for number, name in enumerate(self.read().get("cells") or {})}
        return sorted(found, key=lambda p: (order.get(p.name, len(order)), p.name))

    def read(self) -> dict[str, Any]:
        """The record; empty where there is none."""
        try:
            content = yaml.load(self.record.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except (OSError, yaml.YAMLError):
            return {}
        return content if isinstance(content, dict) else {}

    def note(self, values: dict[str, Any], cells: dict[str, dict[str, str]]) -> None:
        """Write the record of this start; cells of earlier starts stay in it."""
        known = self.read().get("cells") or {}
        write_bytes(self.record, dump_yaml(values | {"cells": known | cells}))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """While inside, no other process submits cells of this sweep; waits for one that does.

        Raises ConfigError where the folder cannot be written, or the other takes too long.
        """
        try:
            self.control.mkdir(parents=True, exist_ok=True)
            stream = (self.control / "lock").open("a")
        except OSError as error:
            raise ConfigError(
                f"{self.control}: cannot be written: {error.strerror}; choose another folder with "
                "runs_dir=PATH"
            ) from error
        with stream:
            end = time.monotonic() + LOCK_WAIT
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise ConfigError(
                            f"{self.path}: another process has been submitting this sweep for "
                            f"{LOCK_WAIT:.0f} s; wait for it or stop it"
                        ) from None
                    time.sleep(0.1)
            yield


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


def is_run(path: Path) -> bool:
    """Whether a path is the folder of one run."""
    return any(read_json(file) is not None for file in (RunFolder(path).status, RunFolder(path).result))


def dump_yaml(values: Any) -> bytes:
    """As YAML that people read, by the fast writer where PyYAML has it."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(values, Dumper=dumper, sort_keys=False, allow_unicode=True, width=110).encode()
