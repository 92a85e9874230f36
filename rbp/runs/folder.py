"""Name the files in a run's folder, and find run folders."""

import os
import re
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
    alignment = _Inside("alignment.jsonl")
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
    seen: set[str] = set()  # a symbolic link may point to a parent folder
    for parent, inside, names in os.walk(path, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:
            inside.clear()
            continue
        seen.add(real)
        if _files_of_a_run(Path(parent)).intersection(names):
            inside.clear()
            yield Path(parent)
        else:
            inside[:] = sorted(name for name in inside if not name.startswith("."))


def is_run(path: Path) -> bool:
    """Whether a path is the folder of one run; its files may be damaged."""
    return any((path / name).exists() for name in _files_of_a_run(path))


def _files_of_a_run(path: Path) -> set[str]:
    """Return the files any of which makes a folder that of a run. Others have a config.yaml too, as conf."""
    named_by_identity = re.search(r"-[0-9a-f]{8}$", os.path.basename(os.path.abspath(path)))
    return {"status.json", "result.json", *(["config.yaml"] if named_by_identity else [])}
