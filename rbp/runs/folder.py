"""Name the files in a run's folder, and find run folders."""

import os
from collections.abc import Iterator
from pathlib import Path

from rbp.errors import UserError


class _Inside:
    """The path of a file in a run's folder, as an attribute."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: "RunFolder", kind: type) -> Path:
        return run.path / self.name


class RunFolder:
    """The paths of one run's files. The file names are a stable interface: external scripts read them."""

    # Paths are made when they are asked for: a report makes thousands of these, for a file each.
    config = _Inside("config.yaml")
    start = _Inside("start.json")
    status = _Inside("status.json")
    metrics = _Inside("metrics.jsonl")
    result = _Inside("result.json")
    log = _Inside("log.txt")
    lock = _Inside("lock")
    checkpoints = _Inside("checkpoints")
    wandb = _Inside("wandb")

    def __init__(self, path: Path) -> None:
        self.path = path


def find_runs(paths: list[Path]) -> list[Path]:
    """Return every run folder below the paths, resolved and without duplicates.

    Raises:
        UserError: A path is not a folder, or there are no runs.
    """
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path}: no such folder; name a sweep's folder such as runs/quickstart")
    found = {folder.resolve(): None for path in paths for folder in _below(path)}
    if not found:
        raise UserError(f"{', '.join(map(str, paths))}: there are no runs in it")
    return list(found)


def _below(path: Path) -> Iterator[Path]:
    files = {"config.yaml", "status.json", "result.json"}
    seen: set[str] = set()  # a symbolic link may point to a parent folder
    for parent, inside, names in os.walk(path, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:
            inside.clear()
            continue
        seen.add(real)
        if files.intersection(names):
            inside.clear()
            yield Path(parent)
        else:
            inside[:] = sorted(name for name in inside if not name.startswith("."))


def is_run(path: Path) -> bool:
    """Whether a path is the folder of one run; its files may be damaged."""
    run = RunFolder(path)
    return any(file.exists() for file in (run.status, run.config, run.result))
