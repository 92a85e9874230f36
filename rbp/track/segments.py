"""wandb's files of a run: each start of the run has written a folder (segment) of its own.

Whether they hold the whole run is a comparison with metrics.jsonl, which has every step.
"""

import functools
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

from rbp.track.reader import metrics_after

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
    """Return the steps logged in a .wandb file; of a damaged one, only those before the damage."""
    found = [_step(record) for record in _records(file, "history")]
    return [step for step in found if step is not None]


def has_artifact(file: Path) -> bool:
    """Whether an artifact is logged in a .wandb file."""
    return bool(_records(file, "artifact"))


def _records(file: Path, kind: str) -> list[dict]:
    """Return the records of a kind in a .wandb file, as read by wandb's own tool."""
    found = [json.loads(line) for line in inspected(file).splitlines() if f'"type":"{kind}"' in line]
    return [record for record in found if record.get("type") == kind]


def inspected(file: Path) -> str:
    """Return all records of a .wandb file as lines of JSON; "" if that takes too long."""
    # The short way is what wandb's command starts, but without importing wandb, which takes a second. It
    # is to report nothing to wandb.
    public: list[str] = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    short = [str(_core()), "leet", "inspect", "--no-observability", "--json", "--run-file", str(file)]
    output = ""
    for command in (short, public):
        try:
            output = subprocess.run(
                command, capture_output=True, encoding="utf-8", errors="replace", timeout=INSPECT_SECONDS
            ).stdout
        except (OSError, subprocess.TimeoutExpired):
            continue
        if '"type":"header"' in output:  # which every file begins with: the command is understood
            break
    return output


@functools.cache
def _core() -> Path:
    """Return where the program that does wandb's work is in the known versions of wandb."""
    spec = importlib.util.find_spec("wandb")
    place = Path(spec.origin).parent if spec is not None and spec.origin else Path("wandb")
    return place / "bin" / "wandb-core"


def _step(record: dict) -> int | None:
    history = record.get("history") or {}
    step = history.get("step")
    return step.get("num") if isinstance(step, dict) else step
