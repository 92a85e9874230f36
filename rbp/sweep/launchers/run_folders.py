"""What a launcher does to the folders of the runs that it submits."""

import os
import shutil
from pathlib import Path
from typing import Any

from rbp.runs.config import write_config
from rbp.runs.folder import RunFolder
from rbp.runs.status import mark, read_status, unless_busy


def freeze_in(folder: Path, values: dict[str, Any]) -> None:
    """Write the config that a job is to run; made anew so that nothing typed later changes it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_config(RunFolder(folder).config, values)


def mark_queued(folder: Path, job_id: str, submitted: float) -> None:
    """Say that a job is to come, unless it has come already."""
    with unless_busy(folder) as free:
        if free and read_status(folder).heartbeat < submitted:
            mark(folder, "queued", job_id)


def put_aside(folder: Path, code: str) -> None:
    """Move a stale result, and all that led to it, out of the way of the run that takes its place."""
    run, older = RunFolder(folder), folder / f"older-{code}"
    shutil.rmtree(older, ignore_errors=True)
    older.mkdir()
    for path in (run.result, run.metrics, run.checkpoints, run.log, run.wandb):
        if path.exists():
            os.rename(path, older / path.name)


def put_back(folder: Path, code: str) -> None:
    """Undo put_aside, where no run is to take the place after all."""
    older = folder / f"older-{code}"
    for path in older.iterdir():
        os.rename(path, folder / path.name)
    older.rmdir()
