"""wandb's files of a run: each start of the run has written a folder (segment) of its own.

Whether they hold the whole run is a comparison with metrics.jsonl, which has every step.
"""

import json
import subprocess
import sys
from pathlib import Path

from rbp.track.values import metrics_after

INSPECT_SECONDS = 60.0
EMPTY = 8  # bytes up to which a file counts as empty: wandb's header, left by a run killed at once


def segments(folder: Path) -> list[Path]:
    """Return the .wandb files in a run's `wandb` folder, earliest first: folder names begin with the time."""
    return sorted(folder.glob("*run-*/*.wandb"), key=lambda file: file.parent.name.partition("run-")[2])


def written(folder: Path) -> list[Path]:
    """Return the segments of a run that are not empty, earliest first."""
    return [file for file in segments(folder / "wandb") if file.stat().st_size > EMPTY]


def upload_marker(file: Path) -> Path:
    """Return the path of the marker file which says that wandb's service has all of a .wandb file.

    `wandb sync` creates it, and so does rbp after an online run. By itself it does not prove that the steps
    have arrived: see `service_log`.
    """
    return file.with_name(f"{file.name}.synced")


def last_step(folder: Path) -> int:
    """Return the last step in the .wandb files, -1 if there is none.

    Only the files show what survives a kill, since wandb keeps some logged data in memory.
    """
    return max((step for file in segments(folder) for step in steps(file)), default=-1)


def missing_steps(folder: Path) -> list[int]:
    """Return the steps of the run's metrics.jsonl that none of its segments has, in order."""
    wanted = [line["step"] for line in metrics_after(-1, folder)]
    found: set[int] = set()
    for file in reversed(segments(folder / "wandb") if wanted else []):
        found.update(steps(file))
        if found.issuperset(wanted):
            break
    return [step for step in wanted if step not in found]


def reaches_end(folder: Path) -> bool:
    """Whether the latest segment has the last step of metrics.jsonl; False if there is no step yet."""
    wanted, files = metrics_after(-1, folder), segments(folder / "wandb")
    return bool(wanted and files) and wanted[-1]["step"] in steps(files[-1])


def steps(file: Path) -> list[int]:
    """Return the steps logged in a .wandb file, as read by wandb's own tool.

    Of a damaged file, only the steps before the damage are returned.
    """
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    try:
        output = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=INSPECT_SECONDS
        ).stdout
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
