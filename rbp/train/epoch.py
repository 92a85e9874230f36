"""One epoch of training."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rbp.data import n_train_batches, train_batches
from rbp.errors import TrainingError
from rbp.train.costs import Costs
from rbp.train.job import Job

# Reading a loss waits for the GPU: there it is looked at every so many batches.
LOOK_EVERY = {"cpu": 1, "cuda": 20}


@dataclass
class EpochResult:
    """Means over the epoch's images, and how many there were."""

    loss: float
    accuracy: float
    images: int


def batches_per_epoch(job: Job) -> int:
    """Training batches an epoch, trainer.limit_batches considered."""
    n = n_train_batches(job.splits.train, job.cfg.trainer.batch_size)
    return min(n, job.cfg.trainer.limit_batches or n)


def train_epoch(job: Job, epoch: int, costs: Costs, show: Callable[[int, float, float], None]) -> EpochResult:
    """Train on every batch of epoch (0 is the first). Raises TrainingError if a loss is not finite."""
    cfg, n_batches = job.cfg, batches_per_epoch(job)
    job.net.train()
    sums = _Sums(n_batches, job.device)
    batches = train_batches(
        job.splits.train, cfg.dataset, batch_size=cfg.trainer.batch_size, seed=cfg.seed, epoch=epoch
    )
    for number, (x, y) in enumerate(itertools.islice(batches, n_batches), 1):
        full = len(y) == cfg.trainer.batch_size
        with costs.measure(job.device, job.net, job.optimizer, full):
            loss, correct = training_step(job, x, y)
        sums.add(loss, correct, len(y))
        if number % LOOK_EVERY.get(job.device.type, 1) == 0 or number == n_batches:
            _refuse_infinite(sums, job, epoch)
            show(number, *sums.means())
    return EpochResult(*sums.means(), sums.images)


def training_step(job: Job, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Forward, backward, update on images x [B, C, H, W] and labels y [B].

    Returns the mean cross-entropy and the number of right answers, both of no dimension. The published code
    divides the loss by T in rate mode alone (trainer.loss_over_T); what is returned is undivided.
    """
    logits = job.forward(x)
    loss = F.cross_entropy(logits, y)
    divided = job.cfg.trainer.loss_over_T and job.cfg.grad_mode == "rate"
    job.optimizer.zero_grad(set_to_none=True)
    (loss / job.cfg.T if divided else loss).backward()
    job.optimizer.step()
    return loss.detach(), (logits.detach().argmax(1) == y).sum()


class _Sums:
    """Losses of each batch and right answers so far, kept on the device until they are looked at."""

    def __init__(self, n_batches: int, device: torch.device) -> None:
        self.losses = torch.zeros(n_batches, dtype=torch.float64, device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)
        self.sizes: list[int] = []

    def add(self, loss: Tensor, correct: Tensor, size: int) -> None:
        self.losses[len(self.sizes)] = loss
        self.correct += correct
        self.sizes.append(size)

    @property
    def images(self) -> int:
        return sum(self.sizes)

    def means(self) -> tuple[float, float]:
        """Loss and accuracy over the images so far."""
        losses = self.losses[: len(self.sizes)].tolist()
        loss = sum(a * n for a, n in zip(losses, self.sizes, strict=True)) / self.images
        return loss, self.correct.item() / self.images


def refuse_broken(job: Job, epoch: int, scores: dict[str, Any]) -> None:
    """Raise TrainingError if losses, weights or statistics are not finite after epoch (0 is the first).

    Spikes hide it: a membrane potential that is no number never reaches the threshold, so that the network
    falls silent and the loss stays finite.
    """
    broken = [f"{key} is {scores[key]}" for key in _LOSSES if not math.isfinite(scores.get(key, 0.0))]
    broken += [name for name, p in job.net.named_parameters() if not bool(p.isfinite().all())]
    # Of buffers the mask of an attention may hold -inf.
    buffers = ((name, b) for name, b in job.net.named_buffers() if b.is_floating_point())
    broken += [name for name, buffer in buffers if not bool((buffer < math.inf).all())]
    if broken:
        rate = job.optimizer.param_groups[0]["lr"]
        raise TrainingError(
            f"not finite after epoch {epoch + 1}, at learning rate {rate:g}: {_some(broken)}: try a smaller "
            f"optimizer.lr (now {job.cfg.optimizer.lr:g}), and see that dataset.mean and dataset.std fit"
        )


_LOSSES = ("val_loss", "test_loss")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _refuse_infinite(sums: _Sums, job: Job, epoch: int) -> None:
    done = len(sums.sizes)
    bad = (~torch.isfinite(sums.losses[:done])).nonzero().flatten().tolist()
    if not bad:
        return
    rate = job.optimizer.param_groups[0]["lr"]
    raise TrainingError(
        f"the loss is {sums.losses[bad[0]].item()} in epoch {epoch + 1}, step {bad[0] + 1} of "
        f"{len(sums.losses)}, at learning rate {rate:g}: try a smaller optimizer.lr "
        f"(now {job.cfg.optimizer.lr:g}) or optimizer.warmup_epochs=5"
    )
