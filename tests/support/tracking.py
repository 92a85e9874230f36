"""Runs that a tracker follows, without training: folders in their true formats that grow line by line, and
what wandb has kept of them.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rbp.files import append_line, write_json
from rbp.runs.folder import RunFolder
from rbp.track import TrackerProcess
from rbp.track.segments import segments
from tests.support.run_folders import result_of, status_of, write_run

RATES = {"layer1.0.sn": 0.1, "2": 0.2, "head": 0.9}


def line(epoch: int) -> dict[str, Any]:
    """As the trainer writes it, with a test accuracy that tells the epoch."""
    scores = {"train_loss": 1 / epoch, "test_acc": epoch / 100, "test_loss": 2 / epoch, "train_acc": 0.5}
    where = {"epoch": epoch, "step": 7 * epoch, "images": 64 * 7 * epoch, "lr": 0.1 / epoch}
    speed = {"seconds": 1.5, "images_per_second": 298.7}
    return where | scores | speed | {"firing_rate": 0.3, "firing_rates": RATES}


def new_run(sweep: Path, tracker: str = "wandb", mode: str = "offline", **changes: Any) -> Path:
    """A running run without an epoch."""
    names = {"tracker__name": tracker, "tracker__mode": mode, "sweep__name": sweep.name, **changes}
    return write_run(sweep, accuracy=None, state="running", curve=(), **names)


def follow(folder: Path, epochs: range, end: str = "done", error: str | None = None) -> int | None:
    """A process's part of a run: these epochs, then the state that it ends with; the follower's exit code."""
    tracker = TrackerProcess(config_of(folder), folder)
    with tracker:
        tracker.start()
        for epoch in epochs:
            append_line(RunFolder(folder).metrics, line(epoch))
        finish(folder, epochs.stop - 1, end, error)
    return tracker.process.returncode if tracker.process else None


def finish(folder: Path, epochs: int, state: str, error: str | None) -> None:
    """What a process writes at its end, after so many epochs."""
    run = RunFolder(folder)
    write_json(run.status, status_of(run) | {"state": state, "error": error})
    if state == "done":
        extra = {"step_seconds": 0.2, "peak_memory_bytes": 1000, "best_test_acc": 0.99}
        write_json(run.result, result_of(config_of(folder), epochs / 100, epochs) | extra)


def config_of(folder: Path) -> Any:
    return OmegaConf.load(RunFolder(folder).config)


def records(folder: Path) -> list[list[dict[str, Any]]]:
    """What is in each of the run's wandb files, as wandb's own tool reads it."""
    return [_inspect(file) for file in segments(folder / "wandb")]


def _inspect(file: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in told.splitlines()]


def histories(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record["history"]["item"] for record in found if record["type"] == "history"]
