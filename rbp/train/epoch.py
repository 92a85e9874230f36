"""One epoch of training."""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rbp.data import train_batches
from rbp.errors import TrainingError
from rbp.train.ranks import Ranks
from rbp.train.resume.history import History, Part
from rbp.train.resume.step_boundary import StepBoundary
from rbp.train.state import TrainState, batches_per_epoch

# Reading a loss waits for the GPU: there it is looked at every so many batches.
LOOK_EVERY = {"cpu": 1, "cuda": 20}


def train_epoch(
    training: TrainState, history: History, boundary: StepBoundary, show: Callable[[int, float, float], None]
) -> None:
    """Train on what is left of the epoch, so that history.part is all of it.

    Raises TrainingError if a loss is not finite, Preempted if the boundary between two steps says so.
    """
    cfg, part, n_batches = training.cfg, history.part, batches_per_epoch(training)
    training.net.train()
    sums = EpochSums(part, training.ranks)
    boundary.act(boundary.due())
    for x, y in _batches(training, history.epochs, part.batches, n_batches):
        n, x, y = len(y), training.ranks.share(x), training.ranks.share(y)
        with history.costs.measure(
            training.device, training.net, training.optimizer, full=n == cfg.trainer.batch_size
        ):
            # Gradients are averaged over ranks, whose shares of a last smaller batch may differ.
            loss, correct = training_step(training, x, y, len(y) * training.ranks.world / n)
        sums.add(loss, correct, len(y))
        due, number = boundary.due(), part.batches + len(sums.waiting)
        if due or number % LOOK_EVERY.get(training.device.type, 1) == 0 or number == n_batches:
            sums.settle()
            _refuse_infinite(sums, training, history.epochs, n_batches)
            show(number, part.loss / part.images, part.correct / part.images)
        boundary.act(due)


def _batches(training: TrainState, epoch: int, start: int, stop: int) -> Iterator[tuple[Tensor, Tensor]]:
    cfg = training.cfg
    batches = train_batches(
        training.splits.train,
        cfg.dataset,
        batch_size=cfg.trainer.batch_size,
        seed=cfg.seed,
        epoch=epoch,
        start=start,
    )
    return itertools.islice(batches, stop - start)


def training_step(training: TrainState, x: Tensor, y: Tensor, weight: float = 1.0) -> tuple[Tensor, Tensor]:
    """Forward, backward, update on images x [B, C, H, W] and labels y [B], whose loss counts `weight` times.

    Returns the mean cross-entropy and the number of right answers, both of no dimension. The published code
    divides the loss by T in rate mode alone (trainer.loss_over_T); what is returned is undivided.
    """
    logits = training.forward(x)
    loss = F.cross_entropy(logits, y)
    if training.cfg.trainer.loss_over_T and training.cfg.grad_mode.name == "rate":
        weight = weight / training.cfg.T
    training.optimizer.zero_grad(set_to_none=True)
    (loss if weight == 1.0 else loss * weight).backward()
    training.optimizer.step()
    return loss.detach(), (logits.detach().argmax(1) == y).sum()


class EpochSums:
    """Adds batches to a part of an epoch. Figures wait on the device until `settle`, in their order: sums are
    the same to the last bit however often somebody looks."""

    def __init__(self, part: Part, ranks: Ranks) -> None:
        self.part, self.ranks = part, ranks
        self.waiting: list[tuple[Tensor, Tensor, int]] = []
        self.clock = time.perf_counter()
        self.infinite: tuple[int, float] | None = (
            None  # the first batch with such a loss, from 1, and the loss
        )

    def add(self, loss: Tensor, correct: Tensor, size: int) -> None:
        """Of this rank's share of one batch: its mean loss, right answers, and images."""
        self.waiting.append((loss, correct, size))

    def settle(self) -> None:
        """Bring the part up to date with all ranks' shares; waits for the device and the ranks."""
        part, now = self.part, time.perf_counter()
        part.seconds += now - self.clock
        self.clock = now
        losses = torch.stack([loss.double() for loss, _, _ in self.waiting]).tolist()
        correct = torch.stack([right for _, right, _ in self.waiting]).tolist()
        own = [[a * n, c, n] for a, c, (_, _, n) in zip(losses, correct, self.waiting, strict=True)]
        for loss, right, size in self.ranks.add(own) if own else []:
            part.batches += 1
            part.images += int(size)
            part.loss += loss
            part.correct += int(right)
            if self.infinite is None and not math.isfinite(loss):
                self.infinite = part.batches, loss
        self.waiting.clear()


def refuse_broken(training: TrainState, epoch: int, scores: dict[str, Any]) -> None:
    """Raise TrainingError if losses, weights or statistics are not finite after epoch (0 is the first).

    Spikes hide it: a membrane potential that is no number never reaches the threshold, so that the network
    falls silent and the loss stays finite.
    """
    broken = [f"{key} is {scores[key]}" for key in _LOSSES if not math.isfinite(scores.get(key, 0.0))]
    broken += [name for name, p in training.net.named_parameters() if not bool(p.isfinite().all())]
    # Of buffers the mask of an attention may hold -inf.
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
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _refuse_infinite(sums: EpochSums, training: TrainState, epoch: int, n_batches: int) -> None:
    if sums.infinite is None:
        return
    batch, loss = sums.infinite
    rate = training.optimizer.param_groups[0]["lr"]
    raise TrainingError(
        f"the loss is {loss} in epoch {epoch + 1}, step {batch} of {n_batches}, at learning rate {rate:g}: "
        f"try a smaller optimizer.lr (now {training.cfg.optimizer.lr:g}) or optimizer.warmup_epochs=5"
    )
