"""wandb's own files of a run: one folder each time that the run was started."""

import json
import subprocess
import sys
from pathlib import Path

INSPECT_SECONDS = 60.0


def segments(folder: Path) -> list[Path]:
    """The .wandb files in a run's wandb/, the earliest first: folder names begin with the time."""
    return sorted(folder.glob("*run-*/*.wandb"), key=lambda file: file.parent.name.partition("run-")[2])


def mark_of(file: Path) -> Path:
    """The mark beside a .wandb file that wandb's service has all of it: wandb sync's, and an online run's."""
    return file.with_name(f"{file.name}.synced")


def last_step(folder: Path) -> int:
    """The last step that is in the files; -1 where none is.

    wandb keeps some of what it was given in memory: a kill loses that, so that only its files can tell.
    """
    return max((step for file in segments(folder) for step in steps(file)), default=-1)


def steps(file: Path) -> list[int]:
    """The steps logged in a file, as wandb's own tool reads them; of a damaged one those before that."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=INSPECT_SECONDS).stdout
    except subprocess.TimeoutExpired:
        return []
    found = []
    for line in output.splitlines():
        if '"type":"history"' in line:
            found.append(_step(json.loads(line)))
    return [step for step in found if step is not None]


def _step(record: dict) -> int | None:
    history = record.get("history") or {}
    step = history.get("step")
    return step.get("num") if isinstance(step, dict) else step
