"""Progress of a run and its estimated remaining time, as written to status.json."""

import os
import time
from typing import Any

from rbp.train.resume.history import History


class Progress:
    """The progress of a run.

    Everything but `epochs` is None until known.

    Attributes:
        epochs: Number of epochs of the run.
        epoch: Completed epochs.
        test_acc: Test accuracy of the last completed epoch.
        step: Training steps done, including those before the run was resumed.
        steps: Training steps of the whole run.
        begun: The step count at which this process began, and the time of it (`time.monotonic`).
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.epoch: int | None = None
        self.test_acc: float | None = None
        self.step: int | None = None
        self.steps: int | None = None
        self.begun: tuple[int, float] | None = None

    def update(self, history: History, steps_per_epoch: int) -> None:
        """Update from the run's history.

        Called after every step, so it does no more than a few assignments.
        """
        self.step = history.epochs * steps_per_epoch + history.part.batches
        self.steps = self.epochs * steps_per_epoch
        self.epoch, self.test_acc = history.epochs, history.last.get("test_acc")
        self.begun = self.begun or (self.step, time.monotonic())

    def as_values(self) -> dict[str, Any]:
        """Return the values for status.json.

        `progress` is in [0, 1]; `seconds_left` is estimated from the speed of this process so far.
        """
        progress = None if self.step is None or not self.steps else self.step / self.steps
        return {
            "epoch": self.epoch,
            "epochs": self.epochs,
            "test_acc": self.test_acc,
            "step": self.step,
            "steps": self.steps,
            "progress": progress,
            "seconds_left": self._seconds_left(),
        }

    def _seconds_left(self) -> float | None:
        if self.begun is None or self.step is None or self.steps is None or self.step <= self.begun[0]:
            return None
        per_step = (time.monotonic() - self.begun[1]) / (self.step - self.begun[0])
        return per_step * (self.steps - self.step)


def job_id() -> str | None:
    """Return the scheduler's job id: RBP_JOB_ID if a launcher set it, else Slurm's, else None.

    In a Slurm job array it has the form 123_4.
    """
    env = os.environ
    if "RBP_JOB_ID" in env:
        return env["RBP_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in env and "SLURM_ARRAY_TASK_ID" in env:
        return f"{env['SLURM_ARRAY_JOB_ID']}_{env['SLURM_ARRAY_TASK_ID']}"
    return env.get("SLURM_JOB_ID")
