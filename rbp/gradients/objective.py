"""The loss of a training step: of the time mean of the outputs, or of each step's output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from rbp.rate.errors import InputError

Loss = Callable[[Tensor], Tensor]  # outputs [B, K] -> scalar
Around = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Step:
    """What a training step returns, beside the gradients in `.grad`.

    Attributes:
        loss: The loss, detached, [].
        y: The time mean of the network's outputs, detached, [B, K].
    """

    loss: Tensor
    y: Tensor


def outside_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Switch autocast off inside the block."""
    kind = device.type
    known = torch.amp.is_autocast_available(kind)  # not on the meta device
    if known and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def wide(y: Tensor) -> Tensor:
    """Return outputs in float32 if they are in half precision."""
    return y.float() if y.dtype in (torch.bfloat16, torch.float16) else y


def value_of(loss: Loss, y: Tensor) -> Tensor:
    """Return the loss of outputs [B, K].

    Raises:
        InputError: It is no scalar, or has no gradient although the outputs have one.
    """
    value = loss(y)
    if not isinstance(value, Tensor) or value.dim():
        found = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(type(value).__name__)
        raise InputError(
            f"loss returned {found}: a scalar tensor is needed, such as F.cross_entropy(outputs, labels) or "
            "another mean over the samples"
        )
    if y.requires_grad and not value.requires_grad:
        raise InputError("loss returned a tensor without a gradient: compute it from the outputs, undetached")
    return value


def scaled(value: Tensor, factor: float) -> Tensor:
    """Return value * factor, or the value itself for a factor of 1."""
    return value if factor == 1.0 else value * factor


def mean_of(steps: Sequence[Tensor]) -> Tensor:
    """Return the mean of the steps' tensors."""
    return sum(steps[1:], steps[0]) / len(steps)
