"""The process that follows a run folder and feeds a tracker: python -m rbp.track.follow RUNFOLDER.

It exits after its standard input is closed, which means that the run has ended or its process is dead.
"""

import os
import select
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from rbp.garbage import spare_old_objects
from rbp.locks import locked
from rbp.runs.config import read_config
from rbp.runs.folder import RunFolder
from rbp.runs.metrics import read_epochs
from rbp.runs.result import read_result
from rbp.runs.status import Status, current_status
from rbp.terminal.output import degrade_output
from rbp.track.reader import MetricsReader

LOCK = "tracker.lock"
LOOK_EVERY = 1.0  # seconds
GIVE_UP_AFTER = 300.0  # seconds after the run's end, in case the tracker hangs


class TrackerRun(Protocol):
    """Interface of a tracker's run.

    Attributes:
        last_step: The last training step that was logged, -1 if none was.
        code: Exit code of the following process, by which the trainer sees problems; 0 if there are none.
    """

    last_step: int
    code: int

    def log(self, line: dict[str, Any], epochs: int) -> None:
        """Log a line of metrics.jsonl; `epochs` is the number of epochs of the run."""

    def finish(self, status: Status, figures: dict[str, Any]) -> None:
        """End the tracker's run with the run's final status and the figures that sum it up."""


def follow(folder: Path, mode: str | None = None) -> int:
    """Feed the tracker of the run's config until the run is over; return the exit code.

    Args:
        folder: The run folder.
        mode: wandb's mode; None takes the run's own.
    """
    with locked(folder / LOCK, wait=None):  # the process of an earlier start may still be finishing
        return _follow(folder, mode)


def _follow(folder: Path, mode: str | None) -> int:
    config = read_config(RunFolder(folder).config)
    sink = open_sink(config, folder, mode)
    reader, epochs, over = MetricsReader(folder, sink.last_step), config["trainer"]["epochs"], False
    while not over:
        over = is_over(LOOK_EVERY)  # before reading, so that nothing written until the end is missed
        for line in reader.new_lines():
            sink.log(line, epochs)
    sink.finish(_end(folder), summary_of(folder))
    return sink.code


def _end(folder: Path) -> Status:
    """Return the run's final status; `failed` if its process ended without writing one."""
    status = current_status(folder)
    if status.state not in ("running", "lost"):
        return status
    return replace(status, state="failed", error="killed: its process ended without a last word")


def open_sink(config: dict[str, Any], folder: Path, mode: str | None = None) -> TrackerRun:
    """Open the tracker's run of this run folder: wandb continues an earlier one, TensorBoard starts anew."""
    if config["tracker"]["name"] == "wandb":
        from rbp.track.trackers.wandb_run import WandbRun

        return WandbRun(config, folder, mode or os.environ.get("RBP_MODE", config["tracker"]["mode"]))
    from rbp.track.trackers.tensorboard_run import TensorboardRun

    return TensorboardRun(config, folder)


def summary_of(folder: Path) -> dict[str, Any]:
    """Return the figures of result.json; without one, the last and the best test accuracy so far."""
    if (result := read_result(folder)) is not None:
        return result
    lines = read_epochs(RunFolder(folder).metrics)
    accuracies = [line["test_acc"] for line in lines if "test_acc" in line]
    return {"test_acc": accuracies[-1], "best_test_acc": max(accuracies)} if accuracies else {}


def is_over(seconds: float) -> bool:
    """Wait up to `seconds` for the end of standard input; return whether it has ended."""
    ready, _, _ = select.select([sys.stdin.fileno()], [], [], seconds)
    return bool(ready) and not os.read(sys.stdin.fileno(), 4096)


def begin() -> None:
    """Take a low priority and ignore signals: they are meant for the run, and this process ends after it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    degrade_output()
    spare_old_objects()
    os.nice(max(0, 10 - os.nice(0)))  # the process that started this one may have done so


def give_up_some_day() -> None:
    """Exit the process some time after the end of the run, also if the tracker in the main thread hangs."""
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    select.select([sys.stdin.fileno()], [], [])  # nothing is ever written to stdin, so readable means closed
    time.sleep(GIVE_UP_AFTER)
    print(f"given up {GIVE_UP_AFTER:.0f} s after the end of the run", file=sys.stderr, flush=True)
    os._exit(1)


if __name__ == "__main__":
    begin()
    give_up_some_day()
    sys.exit(follow(Path(sys.argv[1])))
