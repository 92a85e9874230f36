"""Prepare the folders of runs that a launcher submits."""

import os
import shutil
from pathlib import Path
from typing import Any

from rbp.runs.config import write_config
from rbp.runs.folder import RunFolder
from rbp.runs.status import mark, read_status, run_lock


def freeze_in(folder: Path, values: dict[str, Any]) -> None:
    """Write the config that a job is to run into the run's folder, which is created if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    write_config(RunFolder(folder).config, values)


def mark_queued(folder: Path, job_id: str, submitted: float) -> None:
    """Mark a run as queued, unless its job has already started.

    Args:
        folder: The run's folder.
        job_id: Id of the job that is to train the run.
        submitted: When the job was submitted, in seconds since 1970.
    """
    with run_lock(folder) as free:
        if free and read_status(folder).heartbeat < submitted:
            mark(folder, "queued", job_id)


def archive_result(folder: Path, code: str) -> None:
    """Move a stale result and the files it came from into older-CODE, to make room for a new run.

    Args:
        folder: The run's folder.
        code: Hash of the code that computed the result.
    """
    run, older = RunFolder(folder), folder / f"older-{code}"
    shutil.rmtree(older, ignore_errors=True)
    older.mkdir()
    for path in (run.result, run.metrics, run.checkpoints, run.log, run.wandb):
        if path.exists():
            os.rename(path, older / path.name)


def restore_result(folder: Path, code: str) -> None:
    """Undo `archive_result`, if the new run could not be submitted."""
    older = folder / f"older-{code}"
    for path in older.iterdir():
        os.rename(path, folder / path.name)
    older.rmdir()
