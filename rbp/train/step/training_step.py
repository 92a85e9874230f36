"""One training step: forward, backward and optimizer update on one batch, at once or in parts."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, get_total_norm

from rbp.seeds import stream
from rbp.train.state import TrainState
from rbp.train.step.mixup import Target


class StepOutcome(NamedTuple):
    """What one training step gave, as scalar tensors on the device.

    Attributes:
        loss: The mean loss, neither weighted nor divided by T.
        correct: Number of correct answers.
        grad_norm: L2 norm of all gradients together, as they were before clipping; None if nobody asked.
    """

    loss: Tensor
    correct: Tensor
    grad_norm: Tensor | None


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
    with_norm: bool = False,
    place: tuple[int, int] = (0, 0),
) -> StepOutcome:
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
        measured: Makes the context in which each graph is made and differentiated: that of a part or, with an
            online gradient mode, of one of its time steps.
        with_norm: Whether to return the norm of the gradients, which are left as they are.
        place: Numbers of the epoch and of the batch in it, from 0. With the seed, they alone say which time
            steps are drawn (`grad_mode.backprop_steps`), the same in all parts and on all ranks.
    """
    cfg = training.cfg
    if cfg.trainer.loss_over_T and cfg.grad_mode.name == "rate":
        weight = weight / cfg.T
    training.optimizer.zero_grad(set_to_none=True)
    losses, correct = [], []
    shares = zip(x.tensor_split(parts), target.split(parts), strict=True)
    for number, (x_part, target_part) in enumerate(shares, 1):
        share = len(x_part) / len(x)
        draw = stream(cfg.seed, "backprop steps", *place)
        how = {"scale": weight * share, "generator": draw, "around": measured}
        with training.gradients_averaged(now=number == parts):
            step = training.backward(x_part, partial(target_part.loss, training.loss), **how)
        losses.append(step.loss * share if parts > 1 else step.loss)
        correct.append(target_part.correct(step.y))
    grad_norm = None
    if with_norm:  # of the whole batch: its parts are added up, and ranks averaged
        grad_norm = get_total_norm(p.grad for p in training.net.parameters() if p.grad is not None)
    if (largest := cfg.trainer.clip_grad) is not None:
        clip_grad_norm_(training.net.parameters(), largest)
    training.optimizer.step()
    return StepOutcome(torch.stack(losses).sum(), torch.stack(correct).sum(), grad_norm)
