"""What is written into a run's folder by others than the run itself: queued, cancelled, failed for it."""

import os
import shutil
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rbp.config.versions import FORMAT
from rbp.locks import alone
from rbp.runs.folder import RunFolder, read_json, write_config, write_json


def mark(folder: Path, state: str, job_id: str | None = None, error: str | None = None) -> None:
    """Write a state into status.json; what the run itself said of its progress stays."""
    run, now = RunFolder(folder), time.time()
    before = read_json(run.status)
    kept = before if isinstance(before, dict) else {}
    told = {
        "format": FORMAT,
        "state": state,
        "heartbeat": now,
        "started": kept.get("started"),
        "ended": None if state == "queued" else now,
        "host": kept.get("host"),
        "pid": kept.get("pid"),
        "job_id": job_id or (None if state == "queued" else kept.get("job_id")),
        "error": error,
    }
    write_json(run.status, kept | told)


def freeze_in(folder: Path, values: dict[str, Any]) -> None:
    """Write the config that a job is to run; made anew so that nothing typed later changes it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_config(RunFolder(folder).config, values)


def mark_queued(folder: Path, job_id: str, submitted: float) -> None:
    """Say that a job is to come, unless it has come already."""
    with unless_at_work(folder) as free:
        status = read_json(RunFolder(folder).status)
        heartbeat = status.get("heartbeat") if isinstance(status, dict) else None
        begun = isinstance(heartbeat, int | float) and heartbeat >= submitted
        if free and not begun:
            mark(folder, "queued", job_id)


def unless_at_work(folder: Path) -> AbstractContextManager[bool]:
    """Hold a run's lock; False where a process works in the folder."""
    return alone(RunFolder(folder).lock)


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
