"""One epoch of training, with checks for losses and weights that are not finite."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from rbp.data import train_batches
from rbp.errors import TrainingError
from rbp.runs.metrics import step_line
from rbp.train.ranks import Ranks
from rbp.train.resume.history import History, PartialEpoch
from rbp.train.resume.step_boundary import StepBoundary
from rbp.train.state import TrainState, batches_per_epoch
from rbp.train.step.mixup import Target
from rbp.train.step.share import share_of
from rbp.train.step.training_step import StepOutcome, n_parts, training_step

# Batches between two looks at the loss, by device type. Reading a loss waits for the GPU.
LOOK_EVERY = {"cpu": 1, "cuda": 20}


def train_epoch(
    training: TrainState, history: History, boundary: StepBoundary, show: Callable[[int, float, float], None]
) -> None:
    """Train on the remaining batches of the current epoch; afterwards `history.part` covers the whole epoch.

    Args:
        training: The run's state; network, optimizer and random states are updated.
        history: `history.part` says how many batches of the epoch are already done.
        boundary: Called before the first step and after each step; may save a checkpoint.
        show: Called with the batch number (from 1), the mean loss and the accuracy of the epoch so far.

    Raises:
        TrainingError: A loss is not finite.
        Preempted: A stop was requested; the boundary has saved a checkpoint.
    """
    cfg, part, n_batches = training.cfg, history.part, batches_per_epoch(training)
    training.net.train()
    sums = EpochSums(part, training.ranks)
    boundary.save_or_stop(boundary.due())
    world = training.ranks.world
    for x, target, n, parts in _batches(training, history.epochs, part.batches, n_batches):
        with history.costs.measure(
            training.device, training.net, training.optimizer, full=n == cfg.trainer.batch_size
        ) as measured:
            # Gradients are averaged over ranks. In a smaller last batch, ranks may have different numbers of
            # images, so each rank's loss is weighted by its share of the batch.
            number = part.batches + len(sums.waiting)  # from 0
            logged, place = (number + 1) % cfg.trainer.log_every == 0, (history.epochs, number)
            step = training_step(training, x, target, len(x) * world / n, parts, measured, logged, place)
        sums.add(step, len(x))
        due, number = boundary.due(), part.batches + len(sums.waiting)
        if due or number % LOOK_EVERY.get(training.device.type, 1) == 0 or number == n_batches:
            for batch, loss, norm in sums.settle():
                boundary.record.metrics(step_line(history.epochs, batch, n_batches, loss, norm))
            _refuse_infinite(sums, training, history.epochs, n_batches)
            show(number, part.loss / part.images, part.correct / part.images)
        boundary.save_or_stop(due)


def _batches(
    training: TrainState, epoch: int, start: int, stop: int
) -> Iterator[tuple[Tensor, Target, int, int]]:
    """Yield batches `start` to `stop` (exclusive) of an epoch's order.

    Yields:
        This rank's share of the images, mixed if `trainer.mixup` is set, and of their targets; the number of
        images of the whole batch; and the number of parts in which it is computed.
    """
    cfg, ranks, images = training.cfg, training.ranks, training.splits.train
    size = cfg.trainer.batch_size
    mixup = {"alpha": cfg.trainer.mixup, "seed": cfg.seed, "epoch": epoch}
    numbers = range(start, stop)
    sizes = [min(size, len(images) - number * size) for number in numbers]
    parts = [n_parts(n, size // (ranks.world * cfg.trainer.accumulate), ranks.world) for n in sizes]
    shares = [
        share_of(n, ranks, batch=number, parts=several, **mixup)
        for number, n, several in zip(numbers, sizes, parts, strict=True)
    ]
    batches = train_batches(
        images,
        cfg.dataset,
        batch_size=size,
        seed=cfg.seed,
        epoch=epoch,
        start=start,
        wanted=[share.needed for share in shares],
    )
    for (x, y), share, n, several in zip(batches, shares, sizes, parts, strict=True):
        yield *share.take(x, y), n, several


# Number of the batch in its epoch, from 1; its mean loss over all ranks, and the norm of its gradients; None
# where they are not finite.
LoggedStep = tuple[int, float | None, float | None]


class EpochSums:
    """Running sums of an epoch's loss, correct answers and images, added to a `PartialEpoch`.

    Values stay on the device until `settle` adds them in the order of the batches, so that the sums are the
    same to the last bit however often `settle` is called.

    Attributes:
        infinite: The number (from 1) and loss of the first batch whose loss is not finite, or None.
    """

    def __init__(self, part: PartialEpoch, ranks: Ranks) -> None:
        self.part, self.ranks = part, ranks
        self.waiting: list[tuple[StepOutcome, int]] = []
        self.clock = time.perf_counter()
        self.infinite: tuple[int, float] | None = None

    def add(self, step: StepOutcome, size: int) -> None:
        """Queue this rank's share of a batch: what its training step gave, and its number of images."""
        self.waiting.append((step, size))

    def settle(self) -> list[LoggedStep]:
        """Add the queued batches of all ranks to the part; waits for the device and for the other ranks.

        Returns:
            Those of the batches whose gradient norm was asked for.
        """
        part, now = self.part, time.perf_counter()
        part.seconds += now - self.clock
        self.clock = now
        losses = torch.stack([step.loss.double() for step, _ in self.waiting]).tolist()
        correct = torch.stack([step.correct for step, _ in self.waiting]).tolist()
        norms = {n: step.grad_norm for n, (step, _) in enumerate(self.waiting, part.batches + 1)}
        asked = {n: norm for n, norm in norms.items() if norm is not None}
        found = iter(torch.stack([*asked.values()]).tolist() if asked else [])
        logged: list[LoggedStep] = []
        own = [[a * n, c, n] for a, c, (_, n) in zip(losses, correct, self.waiting, strict=True)]
        for loss, right, size in self.ranks.add(own) if own else []:
            part.batches += 1
            if part.batches in asked:
                logged.append((part.batches, _finite(loss / size), _finite(next(found))))
            part.images += int(size)
            part.loss += loss
            part.correct += int(right)
            if self.infinite is None and not math.isfinite(loss):
                self.infinite = part.batches, loss
        self.waiting.clear()
        return logged


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def check_finite(training: TrainState, epoch: int, scores: dict[str, Any]) -> None:
    """Raise TrainingError if losses, weights or statistics are not finite after an epoch.

    The loss alone does not show it: a NaN membrane potential never reaches the threshold, so the network
    falls silent and the loss stays finite.

    Args:
        training: The run's state.
        epoch: Number of the epoch, from 0.
        scores: The epoch's metrics; `val_loss` and `test_loss` are checked if present.
    """
    broken = [f"{key} is {scores[key]}" for key in _LOSSES if not math.isfinite(scores.get(key, 0.0))]
    broken += [name for name, p in training.net.named_parameters() if not bool(p.isfinite().all())]
    # -inf is allowed in buffers, since attention masks contain it.
    buffers = ((name, b) for name, b in training.net.named_buffers() if b.is_floating_point())
    broken += [name for name, buffer in buffers if not bool((buffer < math.inf).all())]
    if broken:
        rate = training.optimizer.param_groups[0]["lr"]
        raise TrainingError(
            f"not finite after epoch {epoch + 1}, at learning rate {rate:g}: {_some(broken)}: try a smaller "
            f"optimizer.lr (now {training.cfg.optimizer.lr:g}), and see that dataset.mean and dataset.std fit"
        )


_LOSSES = ("val_loss", "test_loss")


def _some(names: list[str]) -> str:
    """Return the first three names, and the number of the others."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _refuse_infinite(sums: EpochSums, training: TrainState, epoch: int, n_batches: int) -> None:
    """Raise TrainingError if the loss of a batch is not finite."""
    if sums.infinite is None:
        return
    batch, loss = sums.infinite
    rate = training.optimizer.param_groups[0]["lr"]
    raise TrainingError(
        f"the loss is {loss} in epoch {epoch + 1}, step {batch} of {n_batches}, at learning rate {rate:g}: "
        f"try a smaller optimizer.lr (now {training.cfg.optimizer.lr:g}) or optimizer.warmup_epochs=5"
    )
