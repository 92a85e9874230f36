"""One training step: forward, backward and optimizer update on one batch, at once or in parts."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from rbp.train.state import TrainState
from rbp.train.step.mixup import Target


def n_parts(images: int, part: int, world: int) -> int:
    """Return the number of parts of a batch, the same on all ranks, as these meet in every part.

    A part has at most `part` images. In a smaller last batch it may have one more, so that no part is empty
    on a rank, nor a single image (over all ranks), which has no variance over the batch.

    Args:
        images: Images of the whole batch, at least one a rank.
        part: Images of a part of a full batch, on one rank.
        world: Number of ranks.
    """
    smallest_share, largest_share = images // world, -(-images // world)
    fewest = 2 if world == 1 and part > 1 else 1  # of a part, on one rank
    return max(1, min(-(-largest_share // part), smallest_share // fewest))


def training_step(
    training: TrainState,
    x: Tensor,
    target: Target,
    weight: float = 1.0,
    parts: int = 1,
    measured: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> tuple[Tensor, Tensor]:
    """Run forward, backward and optimizer update on one batch.

    The published code divides the loss by T in rate mode only (`trainer.loss_over_T`). `trainer.clip_grad`
    acts on the gradients of the whole batch, averaged over ranks.

    Args:
        training: The run's state.
        x: Images [B, C, H, W], or frames [B, T, C, H, W].
        target: What their outputs are to be.
        weight: Factor of the loss in the backward pass.
        parts: Number of parts in which the gradient is computed, so that one of them is in memory at a time.
            It is the gradient of the whole batch's mean loss; layers that mix a batch see a part.
        measured: Makes the context in which each part's forward and backward pass runs.

    Returns:
        The mean loss, neither weighted nor divided by T, and the number of correct answers; both are scalar
        tensors on the device.
    """
    cfg = training.cfg
    if cfg.trainer.loss_over_T and cfg.grad_mode.name == "rate":
        weight = weight / cfg.T
    training.optimizer.zero_grad(set_to_none=True)
    losses, correct = [], []
    shares = zip(x.tensor_split(parts), target.split(parts), strict=True)
    for number, (x_part, target_part) in enumerate(shares, 1):
        share = len(x_part) / len(x)
        with measured(), training.gradients_averaged(now=number == parts):
            loss, right = _backward(training, x_part, target_part, weight * share)
        losses.append(loss * share if parts > 1 else loss)
        correct.append(right)
    if (largest := cfg.trainer.clip_grad) is not None:
        clip_grad_norm_(training.net.parameters(), largest)
    training.optimizer.step()
    return torch.stack(losses).sum(), torch.stack(correct).sum()


def _backward(training: TrainState, x: Tensor, target: Target, weight: float) -> tuple[Tensor, Tensor]:
    """Add the gradients of a part; return its mean loss and its number of correct answers."""
    outputs = training.forward(x)
    correct = target.correct(outputs.detach())  # before the loss, which may change what it is given
    loss = target.loss(training.loss, outputs)
    (loss if weight == 1.0 else loss * weight).backward()
    return loss.detach(), correct
