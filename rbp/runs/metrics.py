"""Read metrics.jsonl: a line for each epoch and, every `trainer.log_every` batches of it, one for a step.

Both have `step`, the training steps done, and `epoch`, the epochs done: a whole number in an epoch's line, a
fraction in a step's. The last step of an epoch may have two lines, its own and then the epoch's.
"""

import math
import re
from pathlib import Path
from typing import Any

from rbp.files import read_lines

STEP_LOSS, GRAD_NORM = "step_loss", "grad_norm"  # what a step's line has, and no epoch's
_MARK = f'"{STEP_LOSS}"'.encode()
_NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
_NORM = re.compile(rf'^\{{"epoch": {_NUMBER},.*"{GRAD_NORM}": {_NUMBER}[,}}]'.encode(), re.MULTILINE)


def step_line(epoch: int, batch: int, batches: int, loss: float | None, norm: float | None) -> dict[str, Any]:
    """Return the line of a training step.

    Args:
        epoch: Completed epochs.
        batch: Number of the batch in its epoch, from 1.
        batches: Batches of an epoch.
        loss: Mean loss of the batch; None if it is not finite.
        norm: L2 norm of all gradients before clipping; None if it is not finite.
    """
    where = {"epoch": epoch + batch / batches, "step": epoch * batches + batch}
    return where | {STEP_LOSS: loss, GRAD_NORM: norm}


def is_of_step(line: dict[str, Any]) -> bool:
    """Whether a line is that of a single training step, not that of an epoch."""
    return STEP_LOSS in line


def read_epochs(file: Path) -> list[dict[str, Any]]:
    """Return the lines of epochs in a run's metrics.jsonl; those of steps are not even parsed."""
    return read_lines(file, without=_MARK)


def read_gradient_norms(file: Path) -> dict[int, float]:
    """Return the mean norm of the gradients over the steps of each epoch that have a line in metrics.jsonl.

    A step that a resumed run computed again counts once. Lines are matched rather than parsed, since there
    may be a hundred thousand.
    """
    try:
        found = {float(place): float(norm) for place, norm in _NORM.findall(file.read_bytes())}
    except FileNotFoundError:
        return {}
    of_epoch: dict[int, list[float]] = {}
    for place, norm in found.items():
        of_epoch.setdefault(math.ceil(place), []).append(norm)
    return {epoch: math.fsum(norms) / len(norms) for epoch, norms in sorted(of_epoch.items())}
