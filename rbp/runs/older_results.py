"""Move the result of an earlier version of the code aside, and back."""

import os
import shutil
from pathlib import Path

from rbp.runs.folder import RunFolder


def archive_result(folder: Path, code: str) -> None:
    """Move a stale result and the files it came from into older-CODE, to make room for a new run.

    Args:
        folder: The run's folder.
        code: Hash of the code that computed the result.
    """
    run, older = RunFolder(folder), folder / f"older-{code}"
    shutil.rmtree(older, ignore_errors=True)
    older.mkdir()
    for path in (run.result, run.metrics, run.alignment, run.checkpoints, run.log, run.wandb):
        if path.exists():
            os.rename(path, older / path.name)


def restore_result(folder: Path, code: str) -> None:
    """Undo `archive_result`, if the new run could not be submitted."""
    older = folder / f"older-{code}"
    for path in older.iterdir():
        os.rename(path, folder / path.name)
    older.rmdir()
