"""Runs that a tracker follows, without training: folders in their true formats that grow line by line, and
what wandb has kept of them.
"""

import itertools
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rbp.files import append_line, write_json
from rbp.runs.folder import RunFolder
from rbp.runs.metrics import step_line
from rbp.track import TrackerProcess
from rbp.track.segments import inspected, segments
from tests.support.run_folders import result_of, status_of, steps_and_energy, write_run
from tests.support.waiting import wait_for

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


def with_steps(epoch: int) -> list[dict[str, Any]]:
    """An epoch of seven batches: a step in the middle, the last step, and the epoch."""
    steps = [step_line(epoch - 1, batch, 7, 1 / (10 * epoch + batch), float(batch)) for batch in (4, 7)]
    return [*steps, line(epoch)]


def follow(
    folder: Path,
    epochs: range,
    end: str = "done",
    error: str | None = None,
    lines: Callable[[int], list[dict[str, Any]]] = lambda epoch: [line(epoch)],
) -> int | None:
    """A process's part of a run: these epochs, then the state that it ends with; the follower's exit code."""
    tracker = TrackerProcess(config_of(folder), folder)
    with tracker:
        tracker.start()
        for values in itertools.chain.from_iterable(map(lines, epochs)):
            append_line(RunFolder(folder).metrics, values)
        finish(folder, epochs.stop - 1, end, error)
    return tracker.process.returncode if tracker.process else None


@contextmanager
def begun(folder: Path, epochs: int, until: Callable[[], Any]) -> Iterator[subprocess.Popen[bytes]]:
    """The tracker's process of a run that has trained so many epochs, from when `until` is true on."""
    with TrackerProcess(config_of(folder), folder) as tracker:
        tracker.start()
        for epoch in range(1, epochs + 1):
            append_line(RunFolder(folder).metrics, line(epoch))
        wait_for(until)
        assert tracker.process is not None
        yield tracker.process


def finish(folder: Path, epochs: int, state: str, error: str | None) -> None:
    """What a process writes at its end, after so many epochs."""
    run = RunFolder(folder)
    write_json(run.status, status_of(run) | {"state": state, "error": error})
    if state == "done":
        extra: dict[str, Any] = {
            "step_seconds": 0.2,
            "peak_memory_bytes": 1000,
            "best_test_acc": 0.99,
            "best_epoch": 2,
        }
        extra |= steps_and_energy([0.5, 0.25, epochs / 100], 1.5)
        write_json(run.result, result_of(config_of(folder), epochs / 100, epochs) | extra)


def config_of(folder: Path) -> Any:
    return OmegaConf.load(RunFolder(folder).config)


def records(folder: Path) -> list[list[dict[str, Any]]]:
    """What is in each of the run's wandb files, as wandb's own tool reads it."""
    return [list(map(json.loads, inspected(file).splitlines())) for file in segments(folder / "wandb")]


def histories(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record["history"]["item"] for record in found if record["type"] == "history"]
