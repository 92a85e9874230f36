"""The process that follows one run folder and feeds a tracker: python -m rbp.track.follow RUNFOLDER.

It ends when its standard input does: the run is over then, or its process is dead.
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

from rbp.files import read_lines
from rbp.locks import locked
from rbp.runs.config import read_config
from rbp.runs.folder import RunFolder
from rbp.runs.result import read_result
from rbp.runs.status import Status, current_status

LOCK = "tracker.lock"
LOOK_EVERY = 1.0  # seconds
GIVE_UP_AFTER = 300.0  # seconds after the run's end, for whatever hangs


class Sink(Protocol):
    """A tracker's run. `last_step`: of what it was told; `code`: the exit code to tell the trainer by."""

    last_step: int
    code: int

    def log(self, line: dict[str, Any], epochs: int) -> None:
        """Take a line of metrics.jsonl, of a run of so many epochs."""

    def finish(self, status: Status, figures: dict[str, Any]) -> None:
        """The run is over: what it ended as, and the figures that sum it up."""


def follow(folder: Path) -> int:
    """Feed the tracker of the run's config until the run is over; returns the exit code."""
    with locked(folder / LOCK, wait=None):  # an earlier start's may still be finishing
        return _follow(folder)


def _follow(folder: Path) -> int:
    config = read_config(RunFolder(folder).config)
    sink = open_sink(config, folder)
    step, epochs, over = sink.last_step, config["trainer"]["epochs"], False
    while not over:
        over = _is_over(LOOK_EVERY)  # first, so that nothing written before the end is missed
        for line in _lines_after(step, folder):
            sink.log(line, epochs)
            step = line["step"]
    sink.finish(_end(folder), summary_of(folder))
    return sink.code


def _end(folder: Path) -> Status:
    """What the run ended as; its process is gone, whatever it says last."""
    status = current_status(folder)
    if status.state not in ("running", "lost"):
        return status
    return replace(status, state="failed", error="killed: its process ended without a last word")


def open_sink(config: dict[str, Any], folder: Path) -> Sink:
    """The tracker's run for this run: a new one, or the one it had before."""
    if config["tracker"]["name"] == "wandb":
        from rbp.track.wandb_run import WandbRun

        return WandbRun(config, folder, os.environ.get("RBP_MODE", config["tracker"]["mode"]))
    from rbp.track.tensorboard_run import TensorboardRun

    return TensorboardRun(folder)


def _lines_after(step: int, folder: Path) -> list[dict[str, Any]]:
    """Lines of later steps, in order; a line redone after a kill has a step that was there before."""
    found = []
    for line in read_lines(RunFolder(folder).metrics):
        if isinstance(line.get("step"), int) and line["step"] > step:
            found.append(line)
            step = line["step"]
    return found


def summary_of(folder: Path) -> dict[str, Any]:
    """The figures of result.json; of a run that has none, the last line and the best accuracy so far."""
    if (result := read_result(folder)) is not None:
        return result
    lines = read_lines(RunFolder(folder).metrics)
    accuracies = [line["test_acc"] for line in lines if "test_acc" in line]
    return {"test_acc": accuracies[-1], "best_test_acc": max(accuracies)} if accuracies else {}


def _is_over(seconds: float) -> bool:
    """Wait so long for the end of standard input."""
    ready, _, _ = select.select([sys.stdin.fileno()], [], [], seconds)
    return bool(ready) and not os.read(sys.stdin.fileno(), 4096)


def main() -> int:
    """Behave: let the run go first, and end with it rather than by the signals that are meant for it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(10)
    threading.Thread(target=_watch, daemon=True).start()
    return follow(Path(sys.argv[1]))


def _watch() -> None:
    """From another thread, since what hangs may be the tracker in the main one."""
    select.select([sys.stdin.fileno()], [], [])  # nothing is ever written: readable means ended
    time.sleep(GIVE_UP_AFTER)
    print(f"given up {GIVE_UP_AFTER:.0f} s after the end of the run", file=sys.stderr, flush=True)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
