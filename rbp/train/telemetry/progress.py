"""How far a run is, and how long it may still take: what status.json says besides the state."""

import os
import time
from typing import Any

from rbp.train.resume.history import History


class Progress:
    """How far a run is in this process.

    epoch: whole epochs done, of `epochs`. test_acc: of the last of them. step: training steps done, of
    `steps`, also those before the run went on from a checkpoint. All but epochs are None until known.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.epoch: int | None = None
        self.test_acc: float | None = None
        self.step: int | None = None
        self.steps: int | None = None
        self.begun: tuple[int, float] | None = None  # the first step of this process, and when

    def update(self, history: History, steps_per_epoch: int) -> None:
        """As of now; a few assignments, since it is called after every step."""
        self.step = history.epochs * steps_per_epoch + history.part.batches
        self.steps = self.epochs * steps_per_epoch
        self.epoch, self.test_acc = history.epochs, history.last.get("test_acc")
        self.begun = self.begun or (self.step, time.monotonic())

    def as_values(self) -> dict[str, Any]:
        """For status.json; `progress` in [0, 1]; `seconds_left` goes by the speed of this process so far."""
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
    """RBP_JOB_ID, which a launcher sets; else Slurm's, as 123_4 in a job array; else None."""
    env = os.environ
    if "RBP_JOB_ID" in env:
        return env["RBP_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in env and "SLURM_ARRAY_TASK_ID" in env:
        return f"{env['SLURM_ARRAY_JOB_ID']}_{env['SLURM_ARRAY_TASK_ID']}"
    return env.get("SLURM_JOB_ID")
